"""The orders under test: name → keyword options, one row per variant worth its own test."""

from __future__ import annotations

CASES: list[tuple[str, dict]] = [
    ("raster", {}),
    ("serpentine", {}),
    ("hilbert", {}),
    ("halton", {}),
    ("delayed", {}),
    ("delayed", {"delay": 0}),
    ("delayed", {"delay": 3}),
]
