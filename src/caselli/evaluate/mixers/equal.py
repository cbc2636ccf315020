"""The options with which every mixer has the same state, where it can have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from caselli.errors import UserError
from caselli.mixer import MIXERS, Mixer

Options = dict[str, Any]


def _heads(width: int, state: int) -> Options:
    return {"heads": width // state}


EQUAL_STATE: dict[str, Callable[[int, int], Options]] = {
    "attention": _heads,
    "forgetting": _heads,
    "local": lambda width, state: {"heads": width // state, "window": state // 2},
    "strided": lambda width, state: {"heads": width // state, "stride": state // 4},
    "fixed": lambda width, state: {"heads": width // state, "block": state // 4},
    "linformer": lambda width, state: {"heads": width // state, "rank": state},
    "reformer": _heads,
    "performer": lambda width, state: {"heads": width // state, "features": state},
    "gau": lambda width, state: {"key_width": state, "expansion": 1},
    "flash_quad": lambda width, state: {"key_width": state, "expansion": 1},
    "flash": lambda width, state: {"key_width": state, "expansion": 1, "group": state // 4},
    "linear": _heads,
    "retention": lambda width, state: {"heads": width // state, "value_factor": 1},
    "gla": lambda width, state: {"heads": width // state, "key_factor": 1},
    "hgrn2": _heads,
    "mamba": lambda width, state: {"state_size": state // 2},
    "mamba2": lambda width, state: {"state_size": state // 2, "head_width": state},
    "mamba3": lambda width, state: {"state_size": state // 2, "head_width": state},
    "delta_net": _heads,
    "gated_delta_net": lambda width, state: {"heads": width // state, "value_factor": 1},
    "kda": _heads,
    "gated_delta_net2": _heads,
    "comba": lambda width, state: {"heads": width // state, "value_factor": 1},
    "gated_delta_product": lambda width, state: {"heads": width // state, "convolution": 2},
    "lru": lambda width, state: {"state_size": width},
    "s4d": lambda width, state: {"state_size": state},
    "s4": lambda width, state: {"state_size": state},
    "rwkv4": lambda width, state: {},
    "rwkv5": _heads,
    "rwkv6": lambda width, state: _heads(width, state) | {"shift_rank": width // 8, "decay_rank": width // 4},
    "rwkv7": lambda width, state: _heads(width, state) | {"rank": width // 4},
}
"""Of a width E and a state of S numbers a channel, E · S a layer.

A mixer that keeps all tokens (attention, strided, fixed, reformer, gau, flash_quad) has a larger one, RWKV-4
and LRU a smaller one, those with a short convolution or token shift keep a few tokens beside it; Linformer
has none."""


def equal_mixer(name: str, width: int, state: int, length: int) -> Mixer:
    """A mixer with E · S numbers of state, for sequences of up to `length` tokens.

    Example:
        >>> sum(tensor.numel() for tensor in equal_mixer("s4", 32, 8, 64).initial_state(1).tensors())
        256
    """
    if state < 8 or state % 8 or width % state:
        raise UserError(
            f"width {width} and a state of {state} numbers a channel were given",
            "a multiple of 8 that divides the width was expected",
        )
    options = EQUAL_STATE[name](width, state)
    if name == "linformer":
        options["length"] = length
    return MIXERS[name](width, **options)
