"""The attention family under test: name → options, small enough that a few tokens cross every boundary."""

from __future__ import annotations

CASES: list[tuple[str, dict]] = [
    ("attention", {"heads": 2}),
    ("attention", {"heads": 4, "kv_heads": 2, "rotary_base": 0.0}),
    ("local", {"heads": 2, "window": 4}),
    ("local", {"heads": 2, "kv_heads": 1, "window": 2}),
    ("strided", {"stride": 3}),
    ("strided", {"stride": 4, "heads": 4, "kv_heads": 2}),
    ("fixed", {"heads": 2, "block": 4, "summary": 2}),
    ("fixed", {"heads": 4, "kv_heads": 2, "block": 3, "summary": 1}),
]
"""Causal mixers: every law holds for each row."""

BIDIRECTIONAL: list[tuple[str, dict]] = [
    ("attention", {"heads": 2, "causal": False}),
    ("local", {"heads": 2, "window": 4, "causal": False}),
]
"""Those that see the whole sequence: packing, padding and gradients."""

TOLERANCES: dict[str, tuple[float, float]] = {}
"""The largest error of float32 and of bfloat16 against float64, relative to the largest output, where the
default does not hold: (1e-5, 3e-2)."""
