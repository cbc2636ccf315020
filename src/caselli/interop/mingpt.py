"""Priors of taming-transformers: minGPT over a VQGAN's codes."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.interop.layout import Codes, Converted, Hints, Names, PriorFamily, count, shape_of
from caselli.interop.parts import depth_of, expansion_of, heads_of, joined
from caselli.prior import LayerConfig, PriorConfig
from caselli.weights import Weights

PUBLISHED_HEADS = {1664: 16}
"""Width of a published model whose heads are not of 64 channels → its heads."""
NAMES = Names(
    places={
        "tok_emb.": "code.",
        "pos_emb": "position.weight",
        "blocks.#.ln1.": "blocks.#.norm1.",
        "blocks.#.ln2.": "blocks.#.norm2.",
        "blocks.#.attn.": "blocks.#.mixer.",
        "blocks.#.mlp.0.": "blocks.#.up.",
        "blocks.#.mlp.2.": "blocks.#.down.",
        "ln_f.": "norm.",
        "head.": "head.",
    },
    parts={"proj": "output"},
)
LAYER = LayerConfig(norm="layer_offset", activation="gelu_exact")


class MinGPT(PriorFamily):
    """taming-transformers' minGPT over the codes of its VQGAN, with labels or without.

    The label is a code of the same vocabulary in front of the sequence; without labels that is code 0. No
    tensor tells how many labels there are: `--classes`.
    """

    signs = ("blocks.0.attn.key.weight", "tok_emb.weight", "pos_emb", "blocks.0.mlp.2.weight")

    @classmethod
    def positions(cls, weights: Weights) -> int:
        return weights["pos_emb"].shape[1]

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights = {name: value for name, value in weights.items() if not name.endswith("attn.mask")}
        weights = joined(NAMES.rename(weights), ("key", "value"), "key_value")
        table, width = weights["code.weight"], shape_of(weights, "code.weight")[1]
        classes = hints.classes or 0
        _check(len(table), classes, shape_of(weights, "position.weight")[1], codes)
        null = table[:1] if not classes else table.new_full((1, width), torch.nan)
        weights["conditioner.label.weight"] = torch.cat((table[:classes], null))
        weights["position.weight"] = weights["position.weight"][0, : codes.positions]
        config = PriorConfig(
            mixer="attention",
            mixer_options={
                "heads": heads_of(hints, width, width // PUBLISHED_HEADS.get(width, width // 64 or 1)),
                "rotary_base": 0.0,
                "bias": True,
            },
            width=width,
            depth=depth_of(weights, count(weights, "blocks.")),
            expansion=expansion_of(weights, "blocks.0.up.weight", width),
            layer=LAYER,
        )
        return Converted(config, weights, classes)


def _check(entries: int, classes: int, positions: int, codes: Codes) -> None:
    if entries != codes.size:
        raise UserError(
            f"a prior over {entries} codes and a codebook of {codes.size} were given",
            "one number was expected",
        )
    if classes > entries:
        raise UserError(f"classes {classes} was given", f"at most {entries}, its vocabulary, was expected")
    if positions < codes.positions:
        raise UserError(
            f"a prior of {positions} positions was given for {codes.positions} codes a picture",
            "a size that it was trained at was expected",
            "name it with --size",
        )
