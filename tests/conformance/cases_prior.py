"""The priors under test: name, what is built, and over which codes; each small enough to enumerate."""

from __future__ import annotations

import dataclasses

import torch

from caselli.order import ORDERS, Grid
from caselli.prior import Alphabet, LayerConfig, Prior, PriorConfig, build
from caselli.quantizer import MultiScale

GRID = Grid(2, 2)
SEVERAL = Grid(1, 2, codebooks=2)

MODULATED = {
    "layer": LayerConfig(norm="layer_bare", modulation=True, head_bias=True, activation="gelu_exact"),
    "mixer_options": {"query_key_norm": "layer", "bias": True},
}
GATED = {
    "layer": LayerConfig(norm="rms", activation="swiglu", bias=False, positions="none"),
    "mixer_options": {"rotary_columns": 2},
}
BERT = {
    "layer": LayerConfig(
        norm="layer_offset", norm_place="after", final_norms=0, epsilon=1e-12, front=True, entrance=True
    )
}

CASES: dict[str, tuple[dict, Grid, tuple[int, ...]]] = {
    "autoregressive": ({}, GRID, (3,)),
    "autoregressive, hybrid": ({"mixer": ["mamba2", "local"]}, GRID, (3,)),
    "autoregressive, delayed": ({"order": "delayed"}, SEVERAL, (2, 4)),
    "autoregressive, gated": (GATED, GRID, (3,)),
    "autoregressive, modulated": (MODULATED, GRID, (3,)),
    "autoregressive, no MLP": (
        {"mixer": "mamba", "expansion": 0, "layer": LayerConfig(modulation=True, final_norms=2)},
        GRID,
        (3,),
    ),
    "masked, BERT": ({"kind": "masked"} | BERT, GRID, (3,)),
    "random_order, modulated": (
        {"kind": "random_order", "prior_options": {"lead": True, "timed": True}} | MODULATED,
        GRID,
        (3,),
    ),
    "masked": ({"kind": "masked"}, GRID, (3,)),
    "masked, recurrent": ({"kind": "masked", "mixer": "mamba2"}, GRID, (3,)),
    "masked, several": ({"kind": "masked"}, SEVERAL, (2, 4)),
    "masked_places": ({"kind": "masked_places"}, SEVERAL, (2, 4)),
    "masked_places, bits": (
        {
            "kind": "masked_places",
            "prior_options": {"bits": True, "place_bias": True},
            "layer": LayerConfig(exit=True),
        },
        SEVERAL,
        (4, 4),
    ),
    "random_order": ({"kind": "random_order"}, GRID, (3,)),
    "random_order, recurrent": ({"kind": "random_order", "mixer": "gla"}, GRID, (3,)),
    "random_order, several": ({"kind": "random_order"}, SEVERAL, (2, 4)),
    "parallel_order": ({"kind": "parallel_order"}, GRID, (3,)),
    "parallel_order, recurrent": ({"kind": "parallel_order", "mixer": "linear"}, GRID, (3,)),
    "parallel_order, several": ({"kind": "parallel_order", "prior_options": {"steps": 2}}, SEVERAL, (2, 4)),
    "parallel": ({"kind": "parallel"}, SEVERAL, (2, 4)),
    "parallel, no delay": ({"kind": "parallel", "prior_options": {"delay": 0}}, SEVERAL, (2, 4)),
    "parallel, one codebook": ({"kind": "parallel"}, GRID, (3,)),
    "pixel_cnn": ({"kind": "pixel_cnn"}, GRID, (3,)),
    "pixel_cnn, kernel": ({"kind": "pixel_cnn", "prior_options": {"kernel": 5}}, Grid(1, 4), (3,)),
    "pixel_cnn, several": ({"kind": "pixel_cnn"}, SEVERAL, (2, 4)),
    "autoregressive, growing": ({}, GRID, (4,)),
    "autoregressive, bits": ({"head": "bits", "head_options": {"group_bits": 1}}, GRID, (4,)),
    "autoregressive, masked bits": ({"head": "masked_bits", "head_options": {"rounds": 2}}, GRID, (6,)),
    "masked, bits": ({"kind": "masked", "head": "bits", "head_options": {"group_bits": 1}}, GRID, (4,)),
    "parallel, bits": ({"kind": "parallel", "head": "bits"}, SEVERAL, (4, 4)),
    "parallel_order, bits": (
        {"kind": "parallel_order", "head": "bits", "head_options": {"group_bits": 1}},
        GRID,
        (4,),
    ),
    "pixel_cnn, independent bits": ({"kind": "pixel_cnn", "head": "independent_bits"}, GRID, (4,)),
    "next_scale": ({"kind": "next_scale"}, Grid(1, 4, flat=True), (3,)),
    "next_scale, several": ({"kind": "next_scale"}, Grid(1, 3, codebooks=2, flat=True), (3, 3)),
}


SCALES = {
    "next_scale": {"scales": (1, (1, 3)), "options": {"codebook_size": 3}},
    "next_scale, several": {
        "scales": (1, (1, 2)),
        "quantizer": "grouped",
        "options": {"groups": 2, "options": {"codebook_size": 3}},
    },
}
"""The quantizers of the next-scale priors."""


LEVELS = {4: (2, 2), 6: (3, 2)}
"""Levels of the codes' digits, for heads of bits."""


def alphabet_of(grid: Grid, sizes: tuple[int, ...], order: str = "raster", classes: int = 2) -> Alphabet:
    """Slots and places of a grid."""
    read = ORDERS[order]()
    places = tuple(map(tuple, read.position(grid).tolist()))
    levels = LEVELS.get(sizes[0], ()) if len(set(sizes)) == 1 else ()
    return Alphabet(sizes, tuple(read.codebook(grid).tolist()), places=places, classes=classes, levels=levels)


def built(name: str, **changes) -> Prior:
    """A prior away from its nearly uniform start, in float64."""
    torch.manual_seed(0)
    options, grid, sizes = CASES[name]
    config = PriorConfig(**({"width": 32, "depth": 2} | options | changes))
    alphabet = alphabet_of(grid, sizes, config.order)
    if name.endswith("growing"):
        alphabet = dataclasses.replace(alphabet, limits=(2, 2, 3, 4))
    quantizer = MultiScale(width=4, **SCALES[name]) if name in SCALES else None
    prior = build(config, alphabet, quantizer).double().eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        prior.head.weight.mul_(6)
    return prior
