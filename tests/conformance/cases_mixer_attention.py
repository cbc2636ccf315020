"""The attention family under test: name → options, small enough that a few tokens cross every boundary."""

from __future__ import annotations

CASES: list[tuple[str, dict]] = [
    ("attention", {"heads": 2}),
    ("attention", {"heads": 4, "kv_heads": 2, "rotary_base": 0.0}),
    ("attention", {"heads": 2, "bias": True, "query_key_norm": "layer", "rotary_columns": 3}),
    ("attention", {"heads": 2, "query_key_norm": "sphere", "rotary_columns": 2, "rotary_front": 0}),
    ("forgetting", {"heads": 2}),
    ("forgetting", {"heads": 4, "kv_heads": 2, "rotary_base": 10.0}),
    ("path", {"heads": 2}),
    ("path", {"heads": 4, "kv_heads": 2, "rank": 3, "convolution": 1}),
    ("moba", {"heads": 2, "block": 2, "blocks": 2}),
    ("moba", {"heads": 4, "kv_heads": 2, "block": 3, "blocks": 3}),
    ("nsa", {"heads": 2, "block": 2, "blocks": 4, "window": 3}),
    ("nsa", {"heads": 4, "kv_heads": 2, "block": 3, "blocks": 3}),
    ("local", {"heads": 2, "window": 4}),
    ("local", {"heads": 2, "kv_heads": 1, "window": 2}),
    ("strided", {"stride": 3}),
    ("strided", {"stride": 4, "heads": 4, "kv_heads": 2}),
    ("fixed", {"heads": 2, "block": 4, "summary": 2}),
    ("fixed", {"heads": 4, "kv_heads": 2, "block": 3, "summary": 1}),
    ("reformer", {"heads": 2, "buckets": 4}),
    ("reformer", {"heads": 1, "buckets": 2, "rounds": 3, "rotary_base": 0}),
    ("performer", {"heads": 2, "features": 12}),
    ("performer", {"heads": 4, "kv_heads": 2, "rotary_base": 0}),
    ("gau", {"key_width": 6}),
    ("gau", {"key_width": 6, "activation": "laplace", "normalisation": "length", "relative_bias": True}),
    ("flash_quad", {"key_width": 6}),
    ("flash_quad", {"key_width": 6, "normalisation": "constant", "constant": 4, "rotary_base": 0}),
    ("flash", {"key_width": 6, "group": 4}),
    ("flash", {"key_width": 6, "group": 3, "normalisation": "group", "activation": "laplace"}),
    ("flash", {"key_width": 6, "group": 1, "normalisation": "constant", "constant": 4}),
    ("flash", {"key_width": 6, "group": 3, "shift": True, "turned": 2}),
]
"""Causal mixers: every law holds for each row."""

BIDIRECTIONAL: list[tuple[str, dict]] = [
    ("attention", {"heads": 2, "causal": False}),
    ("local", {"heads": 2, "window": 4, "causal": False}),
    ("linformer", {"heads": 2, "length": 30, "rank": 3}),
    ("linformer", {"heads": 4, "kv_heads": 2}),
    ("reformer", {"heads": 2, "buckets": 4, "causal": False}),
    ("performer", {"heads": 2, "causal": False}),
    ("gau", {"key_width": 6, "causal": False}),
    ("flash_quad", {"key_width": 6, "causal": False}),
    ("flash", {"key_width": 6, "group": 4, "causal": False}),
    ("flash", {"key_width": 6, "group": 3, "causal": False, "normalisation": "group"}),
    ("flash", {"key_width": 6, "group": 3, "causal": False, "shift": True, "joined": False}),
]
"""Those that see the whole sequence: packing, padding and gradients."""

TOLERANCES: dict[str, tuple[float, float]] = {
    "moba": (1e-5, 2.0),  # of two blocks that a query likes alike, rounding may choose the other
    "nsa": (1e-5, 2.0),
    "reformer": (1e-5, 2.0),  # a query near the border of two buckets may be rounded into the other one
}
"""The largest error of float32 and of bfloat16 against float64, relative to the largest output, where the
default does not hold: (1e-5, 3e-2)."""
