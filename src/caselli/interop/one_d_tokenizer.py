"""Priors of 1d-tokenizer: RAR, and MaskGIT as ImageBert."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.interop.layout import Codes, Converted, Hints, Names, PriorFamily, count, refuse, shape_of
from caselli.interop.parts import depth_of, divided, expansion_of, heads_of, joined, reordered
from caselli.prior import LayerConfig, PriorConfig
from caselli.weights import Weights

RAR_NAMES = Names(
    places={
        "cls_token": "cls",
        "embeddings.": "entries.",
        "pos_embed": "place",
        "target_aware_pos_embed": "aim",
        "timesteps_embeddings": "time",
        "blocks.#.norm1.": "blocks.#.norm1.",
        "blocks.#.norm2.": "blocks.#.norm2.",
        "blocks.#.attn.q_norm.": "blocks.#.mixer.query_key_norm.query.",
        "blocks.#.attn.k_norm.": "blocks.#.mixer.query_key_norm.key.",
        "blocks.#.attn.": "blocks.#.mixer.",
        "blocks.#.mlp.fc1.": "blocks.#.up.",
        "blocks.#.mlp.fc2.": "blocks.#.down.",
        "blocks.#.adaLN_modulation.1.": "blocks.#.modulation.project.",
        "adaln_before_head.adaLN_modulation.1.": "final.",
        "lm_head.": "head.",
    },
    parts={"proj": "output"},
    dropped=("attn_mask",),
)
BERT_NAMES = Names(
    places={
        "embeddings.word_embeddings.": "entries.",
        "embeddings.position_embeddings.": "place.",
        "embeddings.token_type_embeddings.": "type.",
        "embeddings.LayerNorm.": "entrance.norm.",
        "encoder.layer.#.attention.self.": "blocks.#.mixer.",
        "encoder.layer.#.attention.output.dense.": "blocks.#.mixer.output.",
        "encoder.layer.#.attention.output.LayerNorm.": "blocks.#.norm1.",
        "encoder.layer.#.intermediate.dense.": "blocks.#.up.",
        "encoder.layer.#.output.dense.": "blocks.#.down.",
        "encoder.layer.#.output.LayerNorm.": "blocks.#.norm2.",
        "lm_head.": "head.",
    },
    dropped=("embeddings.position_ids",),
)
RAR_LAYER = LayerConfig(
    norm="layer_offset",
    epsilon=1e-6,
    final_norm="layer_bare",
    activation="gelu_exact",
    head_bias=True,
    modulation=True,
    front=True,
)
BERT_LAYER = LayerConfig(
    norm="layer_offset",
    norm_place="after",
    epsilon=1e-12,
    final_norms=0,
    activation="gelu_exact",
    head_bias=True,
    front=True,
    entrance=True,
)


class RAR(PriorFamily):
    """RAR: any order of the codes, with positions of what comes next, modulated by label and step."""

    signs = ("blocks.0.attn.qkv.weight", "target_aware_pos_embed", "timesteps_embeddings", "cls_token")

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights, classes = entries(RAR_NAMES.rename(weights), codes)
        width, length = shape_of(weights, "code.weight")[1], codes.positions
        weights = divided(weights, "qkv", {"query": width, "key_value": -1})
        for name in ("cls", "place", "aim", "time", "final.weight", "final.bias"):
            shape_of(weights, name)
        place, aim = weights.pop("place")[0], weights.pop("aim")[0]
        if len(place) < length + 2:
            raise UserError(
                f"a prior of {len(place) - 2} positions was given for {length} codes a picture",
                "a size that it was trained at was expected",
                "name it with --size",
            )
        weights |= {
            "lead": torch.cat((weights.pop("cls")[0], place[:1])),
            "front": place[1:2],
            "position.weight": place[2 : 2 + length],
            "target.weight": aim[2 : 2 + length],
            "time": weights["time"][0, : length + 1],
            "modulation.project.weight": reordered(weights.pop("final.weight"), (1, 0)),
            "modulation.project.bias": reordered(weights.pop("final.bias"), (1, 0)),
        }
        weights.pop("mask")
        each = shape_of(weights, "blocks.0.mixer.query_key_norm.query.weight")[0]
        config = PriorConfig(
            kind="random_order",
            prior_options={"lead": True, "timed": True},
            mixer_options={
                "heads": width // each,
                "rotary_base": 0.0,
                "bias": True,
                "query_key_norm": "layer",
            },
            width=width,
            depth=depth_of(weights, count(weights, "blocks.")),
            expansion=expansion_of(weights, "blocks.0.up.weight", width),
            layer=RAR_LAYER,
        )
        return Converted(config, weights, classes)


class ImageBert(PriorFamily):
    """MaskGIT as 1d-tokenizer's ImageBert: a BERT over codes, with the label in front."""

    signs = ("encoder.layer.0.attention.self.query.weight", "embeddings.word_embeddings.weight")

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights = joined(BERT_NAMES.rename(weights), ("key", "value"), "key_value")
        weights, classes = entries(weights, codes)
        width, length = shape_of(weights, "code.weight")[1], codes.positions
        for name in ("place.weight", "type.weight"):
            shape_of(weights, name)
        place = weights.pop("place.weight")
        if len(place) < length + 1:
            raise UserError(
                f"a prior of {len(place) - 1} positions was given for {length} codes a picture",
                "a size that it was trained at was expected",
                "name it with --size",
            )
        weights |= {
            "front": place[:1],
            "position.weight": place[1 : 1 + length],
            "entrance.vector": weights.pop("type.weight")[0],
        }
        config = PriorConfig(
            kind="masked",
            prior_options={"schedule": "arccos"},
            mixer_options={"heads": heads_of(hints, width, 48), "rotary_base": 0.0, "bias": True},
            width=width,
            depth=depth_of(weights, count(weights, "blocks.")),
            expansion=expansion_of(weights, "blocks.0.up.weight", width),
            layer=BERT_LAYER,
        )
        return Converted(config, weights, classes)


def entries(weights: Weights, codes: Codes) -> tuple[Weights, int]:
    """Embeddings of codes, of the mask and of labels, from those of one table; and the number of labels."""
    table = weights.pop("entries.weight", None)
    if table is None:
        refuse("missing", ["the embeddings"])
    if len(table) < codes.size + 2:
        raise UserError(
            f"{len(table)} embeddings were given over {codes.size} codes",
            f"at least {codes.size + 2} were expected: codes, the mask, labels and no label",
        )
    found = {
        "code.weight": table[: codes.size],
        "mask": table[codes.size],
        "conditioner.label.weight": table[codes.size + 1 :],
    }
    return weights | found, len(table) - codes.size - 2
