"""LlamaGen's GPT, conditioned on labels or captions."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.interop.layout import Codes, Converted, Hints, Names, PriorFamily, count, shape_of
from caselli.interop.parts import depth_of, divided, expansion_of, halved_pairs, heads_of, joined, side_of
from caselli.prior import LayerConfig, PriorConfig
from caselli.weights import Weights

PUBLISHED_HEADS = {3200: 32}
"""Width of a published model whose heads are not of 64 channels → its heads."""
NAMES = Names(
    places={
        "tok_embeddings.": "code.",
        "cls_embedding.embedding_table.": "conditioner.label.",
        "cls_embedding.cap_proj.fc1.": "conditioner.up.",
        "cls_embedding.cap_proj.fc2.": "conditioner.down.",
        "cls_embedding.uncond_embedding": "conditioner.null",
        "layers.#.attention_norm.": "blocks.#.norm1.",
        "layers.#.ffn_norm.": "blocks.#.norm2.",
        "layers.#.attention.": "blocks.#.mixer.",
        "layers.#.feed_forward.": "blocks.#.",
        "norm.": "norm.",
        "output.": "head.",
    },
    parts={"wo": "output", "w2": "down"},
)
LAYER = LayerConfig(norm="rms", activation="swiglu", bias=False, positions="none")


class LlamaGenGPT(PriorFamily):
    """LlamaGen's GPT with labels: rotary positions by row and column, a class token in front, SwiGLU."""

    signs = (
        "layers.0.attention.wqkv.weight",
        "tok_embeddings.weight",
        "cls_embedding.embedding_table.weight",
    )

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights, config = gpt(weights, hints, codes)
        return Converted(config, weights, shape_of(weights, "conditioner.label.weight")[0] - 1)


class LlamaGenCaptions(PriorFamily):
    """LlamaGen's GPT with captions: the features of T5's tokens in front, those of a short one at the end."""

    signs = (
        "layers.0.attention.wqkv.weight",
        "tok_embeddings.weight",
        "cls_embedding.cap_proj.fc1.weight",
    )

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        if not hints.text:
            raise UserError(
                "a prior over captions was given without its text encoder",
                "the local folder of the T5 that it was trained with was expected",
                "name it with --text",
            )
        weights, config = gpt(weights, hints, codes)
        tokens = shape_of(weights, "conditioner.null")[0]
        front = {"rotary_front": tokens, "rotary_filled": True}
        config = dataclasses.replace(
            config,
            mixer_options=config.mixer_options | front,
            text="transformers",
            text_form="tokens",
            text_length=tokens,
            text_path=hints.text,
        )
        return Converted(config, weights)


def gpt(weights: Weights, hints: Hints, codes: Codes) -> tuple[Weights, PriorConfig]:
    """The network behind what stands in front: weights under our names, and the configuration."""
    weights = joined(NAMES.rename(weights), ("w1", "w3"), "up")
    entries, width = shape_of(weights, "code.weight")
    if entries != codes.size:
        raise UserError(
            f"a prior over {entries} codes and a codebook of {codes.size} were given",
            "one number was expected",
        )
    heads = heads_of(hints, width, width // PUBLISHED_HEADS.get(width, width // 64 or 1))
    each = width // heads
    kv_heads = (shape_of(weights, "blocks.0.mixer.wqkv.weight")[0] - width) // (2 * each)
    weights = turned(divided(weights, "wqkv", {"query": width, "key_value": -1}), heads, kv_heads)
    config = PriorConfig(
        mixer="attention",
        mixer_options={"heads": heads, "kv_heads": kv_heads, "rotary_columns": side_of(codes)},
        width=width,
        depth=depth_of(weights, count(weights, "blocks.")),
        expansion=expansion_of(weights, "blocks.0.up.weight", width, 2),
        layer=LAYER,
    )
    return weights, config


def turned(weights: Weights, heads: int, kv_heads: int) -> Weights:
    """Queries and keys whose rotary pairs lie half a head apart."""
    found = {}
    for name, value in weights.items():
        if name.endswith(".query.weight"):
            value = halved_pairs(value, heads)
        if name.endswith(".key_value.weight"):
            keys, values = value.chunk(2)
            value = torch.cat((halved_pairs(keys, kv_heads), values))
        found[name] = value
    return found
