"""VAR: the multi-scale VQGAN, and the next-scale prior over its codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy
import torch

from caselli.errors import UserError
from caselli.interop.layout import (
    Codes,
    Converted,
    Hints,
    Names,
    PriorFamily,
    TokenizerFamily,
    count,
    only,
    refuse,
    reverse,
    shape_of,
)
from caselli.interop.parts import depth_of, divided, expansion_of, reordered
from caselli.interop.taming import NAMES as TAMING
from caselli.interop.vqgan import vqgan_tokenizer
from caselli.prior import LayerConfig, PriorConfig
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

PUBLISHED_SCALES = {
    16: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    32: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}
"""Side of the latents → sides of the maps."""
BRANCHES = (4, 2, 0, 5, 3, 1)
"""Its order of gates, scales and shifts of both branches in Caselli's."""
TOKENIZER_NAMES = Names(
    places={"quantize.quant_resi.qresi_ls.#.": "phi.#."} | TAMING.places,
    parts=TAMING.parts,
    dropped=("quantize.ema_vocab_hit_SV",),
)
NAMES = Names(
    places={
        "class_emb.": "conditioner.label.",
        "pos_start": "start",
        "pos_1LC": "position.weight",
        "lvl_embed.": "level.",
        "word_embed.": "input.",
        "blocks.#.attn.q_bias": "blocks.#.mixer.query.bias",
        "blocks.#.attn.zero_k_bias": "blocks.#.mixer.key.bias",
        "blocks.#.attn.v_bias": "blocks.#.mixer.value.bias",
        "blocks.#.attn.scale_mul_1H11": "blocks.#.mixer.query_key_norm.log_scale",
        "blocks.#.attn.": "blocks.#.mixer.",
        "blocks.#.ada_lin.1.": "blocks.#.modulation.project.",
        "blocks.#.ffn.fc1.": "blocks.#.up.",
        "blocks.#.ffn.fc2.": "blocks.#.down.",
        "head_nm.ada_lin.1.": "modulation.project.",
        "head.": "head.",
    },
    parts={"proj": "output"},
    dropped=("lvl_1L", "attn_bias_for_masking"),
)
LAYER = LayerConfig(norm="layer_bare", epsilon=1e-6, modulation=True, head_bias=True)


class VARTokenizer(TokenizerFamily):
    """VAR's VQGAN: maps of codes from coarse to fine, each refined by one of its convolutions.

    No tensor tells the sides of the maps: the published ones, or `--scales`.
    """

    signs = ("encoder.down.0.block.0.conv1.weight", "quantize.quant_resi.qresi_ls.0.weight")

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        weights = reverse(TOKENIZER_NAMES.rename(only(files)), "decoder.levels.")
        phi = count(weights, "phi.")
        found = vqgan_tokenizer({n: w for n, w in weights.items() if not n.startswith("phi.")}, hints, {})
        scales = hints.scales or _published(hints, found.config.factor)
        options = {
            "quantizer": "vq",
            "options": found.config.quantizer_options,
            "scales": scales,
            "convolutions": phi,
            "assigned": assigned(phi, len(scales)),
            "commitment": hints.beta(),
        }
        placed = {
            n.replace("phi.", "quantizer.convolutions."): w for n, w in weights.items() if n[:4] == "phi."
        }
        for name, value in found.weights.items():
            placed[name.replace("quantizer.", "quantizer.shared.")] = value
        config = dataclasses.replace(found.config, quantizer="multi_scale", quantizer_options=options)
        return Converted(config, placed)


def _published(hints: Hints, factor: int) -> tuple[int, ...]:
    side = (hints.size or 256) // factor
    if side not in PUBLISHED_SCALES:
        raise UserError(
            f"a VAR tokenizer for latents of side {side} was given",
            "the sides of its maps too were expected",
            "name them with --scales, such as 1,2,3,4",
        )
    return PUBLISHED_SCALES[side]


def assigned(number: int, scales: int) -> list[int]:
    """The convolution of each scale, nearest on the way; ties are decided as by the published code.

    Example:
        >>> assigned(4, 10)
        [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    """
    edge = 1 / 3 / number if number == 4 else 1 / 2 / number
    # the last bits of its ticks decide between two that are equally near
    ticks = numpy.linspace(edge, 1 - edge, number)
    return [int(numpy.argmin(numpy.abs(ticks - k / max(1, scales - 1)))) for k in range(scales)]


class VAR(PriorFamily):
    """VAR's prior: a scale at a time, the label as the first scale's token and in every normalisation."""

    signs = ("blocks.0.attn.mat_qkv.weight", "pos_1LC", "lvl_embed.weight", "word_embed.weight")

    @classmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        weights = NAMES.rename(weights)
        width, depth = shape_of(weights, "input.weight")[0], depth_of(weights, count(weights, "blocks."))
        length = shape_of(weights, "position.weight")[1]
        if length != codes.positions:
            raise UserError(
                f"a prior of {length} codes and a tokenizer of {codes.positions} a picture were given",
                "one number was expected",
                "name the size with --size, or the maps' sides with --scales",
            )
        weights["position.weight"], weights["start"] = weights["position.weight"][0], weights["start"][0]
        for layer in range(depth):
            place = f"blocks.{layer}."
            biases = [f"{place}mixer.{part}.bias" for part in ("key", "value")]
            refuse("missing", [name for name in biases if name not in weights])
            weights[f"{place}mixer.key_value.bias"] = torch.cat([weights.pop(name) for name in biases])
            scale = f"{place}mixer.query_key_norm.log_scale"
            shape_of(weights, scale)
            weights[scale] = weights[scale].flatten()
        weights = divided(weights, "mat_qkv", {"query": width, "key_value": -1})
        for name in [name for name in weights if "modulation.project." in name]:
            weights[name] = reordered(weights[name], BRANCHES if name.startswith("blocks.") else (1, 0))
        heads = len(weights["blocks.0.mixer.query_key_norm.log_scale"])
        config = PriorConfig(
            kind="next_scale",
            prior_options={"label_first": True, "levels": True},
            mixer_options={"heads": heads, "bias": True, "query_key_norm": "sphere"},
            width=width,
            depth=depth,
            expansion=expansion_of(weights, "blocks.0.up.weight", width),
            layer=LAYER,
        )
        return Converted(config, weights, shape_of(weights, "conditioner.label.weight")[0] - 1)
