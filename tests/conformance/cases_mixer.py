"""The mixers under test: name → options, small enough that a few tokens cross every boundary."""

from __future__ import annotations

from caselli.mixer import MIXERS, Mixer
from tests.conformance import cases_mixer_attention as attention

WIDTH = 8

CASES: list[tuple[str, dict]] = [
    *attention.CASES,
    ("linear", {"heads": 2}),
    ("linear", {"feature_map": "squared_relu"}),
    ("linear", {"feature_map": "relu", "normalise": False}),
    ("linear", {"feature_map": "softmax", "heads": 4}),
    ("linear", {"feature_map": "identity", "normalise": False}),
    ("linear", {"feature_map": "taylor", "key_width": 3}),
    ("retention", {"heads": 2}),
    ("gla", {"heads": 2}),
    ("hgrn2", {"heads": 2}),
    ("hgrn2", {"least": 0.3}),
    ("lasad", {"heads": 2, "columns": 3}),
    ("lasad", {"columns": 5, "before": 0}),
    ("mamba", {"state_size": 3}),
    ("mamba", {"state_size": 2, "expand": 1, "convolution": 1}),
    ("mamba", {"state_size": 2, "bias": True, "convolution_bias": False}),
    ("mamba2", {"head_width": 4, "state_size": 3}),
    ("mamba2", {"head_width": 8, "state_size": 2, "bias": True, "convolution_bias": False}),
    ("mamba2", {"head_width": 4, "state_size": 3, "groups": 2, "convolution": 2}),
    ("mamba3", {"head_width": 4, "state_size": 6}),
    ("mamba3", {"head_width": 8, "state_size": 4, "rank": 3, "turning": 1.0, "normalise": True}),
    ("mamba3", {"head_width": 4, "state_size": 4, "rank": 2, "groups": 2}),
    ("delta_net", {"heads": 2}),
    ("gated_delta_net", {"heads": 2}),
    ("kda", {"heads": 2}),
    ("kda", {"heads": 2, "value_factor": 2, "rank": 3, "bound": -5.0, "most": 2.0}),
    ("gated_delta_net2", {"heads": 2}),
    ("gated_delta_net2", {"value_factor": 2, "most": 2.0, "convolution": 1}),
    ("comba", {"heads": 2}),
    ("gated_delta_product", {"heads": 2}),
    ("gated_delta_product", {"steps": 3, "value_factor": 2, "most": 1.0}),
    ("log_linear", {"heads": 2}),
    ("log_linear", {"rule": "decay", "value_factor": 2, "levels": 3}),
    ("mesa_net", {"heads": 2}),
    ("mesa_net", {"value_factor": 2, "least": 0.5, "convolution": 1}),
    ("lru", {"state_size": 5}),
    ("lru", {"least": 0.4, "greatest": 0.9, "phase": 0.3}),
    ("s4d", {"state_size": 6}),
    ("s4d", {"state_size": 4, "initial": "inv", "discretisation": "bilinear"}),
    ("s4d", {"state_size": 4, "initial": "legs"}),
    ("s4d", {"state_size": 4, "initial": "real"}),
    ("s4d", {"state_size": 4, "initial": "quad"}),
    ("s4d", {"state_size": 4, "discretisation": "dss", "summed": 16}),
    ("s4", {"state_size": 6}),
    ("s4", {"state_size": 4, "measure": "legt"}),
    ("rwkv4", {}),
    ("rwkv5", {"heads": 2}),
    ("rwkv6", {"heads": 2, "shift_rank": 2, "decay_rank": 3}),
    ("rwkv7", {"heads": 2, "rank": 3}),
]
"""Causal mixers: every law holds for each row."""

BIDIRECTIONAL: list[tuple[str, dict]] = [
    *attention.BIDIRECTIONAL,
    ("linear", {"heads": 2, "causal": False}),
    ("linear", {"feature_map": "identity", "normalise": False, "causal": False}),
]
"""Those that see the whole sequence: packing, padding and gradients."""

DEFAULT_TOLERANCE = (1e-5, 3e-2)

TOLERANCES: dict[str, tuple[float, float]] = {
    **attention.TOLERANCES,
}
"""The largest error of float32 and of bfloat16 against float64, relative to the largest output, where the
default does not hold."""


def build(case: tuple[str, dict]) -> Mixer:
    name, options = case
    return MIXERS[name](WIDTH, **options)


def label(case: tuple[str, dict]) -> str:
    name, options = case
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])
