"""MaskBit's priors: over bits without a table of codes, and its predecessor with tables."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.interop.layout import Codes, Converted, Hints, Names, PriorFamily, count, refuse, shape_of
from caselli.interop.parts import depth_of, divided, expansion_of, heads_of
from caselli.prior import LayerConfig, PriorConfig
from caselli.shapes import Float, Tensor
from caselli.weights import Weights

NAMES = Names(
    places={
        "class_emb.": "conditioner.label.",
        "input_proj.": "cells.project.",
        "tok_emb_list.#.": "table.#.",
        "pos_emb": "place",
        "first_layer.0.": "entrance.norm.",
        "transformer.layers.#.0.mha.in_proj_weight": "blocks.#.mixer.query_key_value.weight",
        "transformer.layers.#.0.mha.in_proj_bias": "blocks.#.mixer.query_key_value.bias",
        "transformer.layers.#.0.mha.out_proj.": "blocks.#.mixer.output.",
        "transformer.layers.#.0.norm.": "blocks.#.norm1.",
        "transformer.layers.#.1.net.0.": "blocks.#.up.",
        "transformer.layers.#.1.net.2.": "blocks.#.down.",
        "transformer.layers.#.1.norm.": "blocks.#.norm2.",
        "norm_after_transformer.": "norm.0.",
        "last_layer.0.": "last.0.",
        "last_layer.2.": "last.2.",
        "prediction_layer.": "head.",
        "bias.": "biases.",
    },
    dropped=("bits_to_indices",),
)


class MaskBit(PriorFamily):
    """MaskBit: a masked Transformer whose inputs are bits, and whose codes are drawn in parts."""

    signs = ("transformer.layers.0.0.mha.in_proj_weight", "input_proj.weight", "prediction_layer.weight")

    @classmethod
    def codebooks(cls, weights: Weights) -> int:
        bits = shape_of(weights, "input_proj.weight")[1]
        entries = shape_of(weights, "prediction_layer.weight")[0]
        fitting = (q for q in range(1, bits + 1) if bits % q == 0 and q << (bits // q) == entries)
        found = next(fitting, None)
        if found is None:
            refuse("misshapen", ["prediction_layer.weight"])
        return found

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        books = cls.codebooks(weights)
        bits = shape_of(weights, "input_proj.weight")[1] // books
        _expect(codes, books, 1 << bits)
        weights, config = transformer(NAMES.rename(weights), hints, codes, {"bits": True}, head_bias=True)
        project = weights["cells.project.weight"]
        weights["cells.project.weight"] = turned_bits(project, 1, books)
        return Converted(config, weights, shape_of(weights, "conditioner.label.weight")[0] - 1)


class MaskBitTable(PriorFamily):
    """The Transformer that MaskBit is compared with: tables of codes, which are the head's weights too."""

    signs = ("transformer.layers.0.0.mha.in_proj_weight", "tok_emb_list.0.weight")

    @classmethod
    def codebooks(cls, weights: Weights) -> int:
        return count(weights, "tok_emb_list.")

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        books = cls.codebooks(weights)
        names = [f"tok_emb_list.{q}.weight" for q in range(books)]
        _expect(codes, books, shape_of(weights, names[0])[0] - 1)
        weights, config = transformer(NAMES.rename(weights), hints, codes, {"place_bias": True})
        tables = [weights.pop(f"table.{q}.weight") for q in range(books)]
        for q in range(books):
            shape_of(weights, f"biases.{q}")
        table = torch.cat([table[:-1] for table in tables])
        weights |= {
            "cells.code.weight": table,
            "cells.mask": torch.stack([table[-1] for table in tables]),
            "head.weight": table,
            "bias": torch.cat([weights.pop(f"biases.{q}") for q in range(books)], 1),
        }
        return Converted(config, weights, shape_of(weights, "conditioner.label.weight")[0] - 1)


def transformer(
    weights: Weights, hints: Hints, codes: Codes, options: dict[str, bool], head_bias: bool = False
) -> tuple[Weights, PriorConfig]:
    """The common network: the label behind the codes, blocks of BERT, a layer in front of the head."""
    width, places = shape_of(weights, "conditioner.label.weight")[1], codes.positions
    weights = divided(weights, "query_key_value", {"query": width, "key_value": -1})
    shape_of(weights, "place")
    place = weights.pop("place")[0]
    if len(place) != places + 1:
        raise UserError(
            f"a prior of {len(place) - 1} positions was given for {places} codes a picture",
            "the size that it was trained at was expected",
            "name it with --size",
        )
    first = "norm.0.weight" in weights
    for part, behind in (("last.0.", 0), ("last.2.", 2)):
        for kind in ("weight", "bias"):
            shape_of(weights, f"{part}{kind}")
            weights[f"norm.{int(first) + behind}.{kind}"] = weights.pop(f"{part}{kind}")
    weights |= {
        "front": place[-1:],
        "position.weight": place[:-1],
        "entrance.vector": torch.zeros(width, dtype=place.dtype),
    }
    config = PriorConfig(
        kind="masked_places",
        prior_options={"schedule": "arccos", **options},
        mixer_options={"heads": heads_of(hints, width), "rotary_base": 0.0, "bias": True},
        width=width,
        depth=depth_of(weights, count(weights, "blocks.")),
        expansion=expansion_of(weights, "blocks.0.up.weight", width),
        layer=LayerConfig(
            norm="layer_offset",
            norm_place="before" if first else "after",
            epsilon=1e-12,
            final_norms=int(first),
            activation="gelu_exact",
            head_bias=head_bias,
            front=True,
            entrance=True,
            exit=True,
        ),
    )
    return weights, config


def turned_bits(x: Float[Tensor, "..."], axis: int, books: int) -> Float[Tensor, "..."]:
    """Bits of several codebooks whose first is the least, with the most significant first.

    Example:
        >>> turned_bits(torch.arange(6), 0, 2)
        tensor([2, 1, 0, 5, 4, 3])
    """
    return x.unflatten(axis, (books, -1)).flip(axis + 1).flatten(axis, axis + 1)


def _expect(codes: Codes, books: int, size: int) -> None:
    if (codes.codebooks, codes.size) != (books, size):
        raise UserError(
            f"a prior over {books} codebooks of {size} and a tokenizer of {codes.codebooks} of {codes.size} "
            "were given",
            "the same codes were expected",
            "import MaskBit's tokenizer with it, or a run with --tokenizer.quantizer lfq and its codebooks",
        )
