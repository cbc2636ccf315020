"""The orders under test: name → keyword options, one row per variant worth its own test."""

from __future__ import annotations

CASES: list[tuple[str, dict]] = [
    ("raster", {}),
    ("serpentine", {}),
    ("hilbert", {}),
    ("delayed", {}),
    ("delayed", {"delay": 0}),
    ("delayed", {"delay": 3}),
]
