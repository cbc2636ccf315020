"""The resamplers under test: name → keyword options, one row per variant worth its own test."""

from __future__ import annotations

ANY_SCALE = {"nearest", "nearest_exact", "bilinear", "bicubic", "area", "max", "average"}
"""Those that serve fractions; the others say so when built."""

UPSAMPLER_CASES: list[tuple[str, dict]] = [
    ("nearest", {}),
    ("nearest_exact", {}),
    ("bilinear", {}),
    ("bicubic", {}),
    ("area", {}),
    ("pixel_shuffle", {}),
    ("transposed", {}),
    ("unpooling", {}),
    ("zero_insertion", {}),
    ("carafe", {}),
    ("carafe", {"taps": 3, "compressed_width": 4}),
    ("dysample", {}),
    ("dysample", {"groups": 1}),
]

DOWNSAMPLER_CASES: list[tuple[str, dict]] = [
    ("strided", {}),
    ("space_to_depth", {}),
    ("max", {}),
    ("average", {}),
    ("blur", {}),
    ("blur", {"taps": 3}),
]
