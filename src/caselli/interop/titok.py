"""Checkpoints of 1d-tokenizer's TiTok."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caselli.interop.layout import Converted, Hints, Names, TokenizerFamily, count, only, reverse, shape_of
from caselli.interop.maskgit_vqgan import double
from caselli.interop.parts import channels_first
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

TRANSFORMER = {
    "positional_embedding": "positions",
    "latent_token_positional_embedding": "token_positions",
    "class_embedding": "whole",
    "ln_pre.": "transformer.before.",
    "ln_post.": "transformer.behind.",
    "transformer.#.attn.in_proj_weight": "transformer.blocks.#.query_key_value.weight",
    "transformer.#.attn.in_proj_bias": "transformer.blocks.#.query_key_value.bias",
    "transformer.#.attn.out_proj.": "transformer.blocks.#.output.",
    "transformer.#.ln_1.": "transformer.blocks.#.norm1.",
    "transformer.#.ln_2.": "transformer.blocks.#.norm2.",
    "transformer.#.mlp.c_fc.": "transformer.blocks.#.up.",
    "transformer.#.mlp.c_proj.": "transformer.blocks.#.down.",
}
"""Names of a Transformer's parts."""
NAMES = Names(
    places={
        f"{half}.{old}": f"{half}.{new}"
        for half in ("encoder", "decoder")
        for old, new in TRANSFORMER.items()
    }
    | {
        "latent_tokens": "encoder.tokens",
        "quantize.embedding.": "quantizer.codebook.vectors.",
        "encoder.patch_embed.": "encoder.patches.",
        "encoder.conv_out.": "encoder.last.",
        "decoder.decoder_embed.": "decoder.first.",
        "decoder.mask_token": "decoder.mask",
        "decoder.ffn.0.": "decoder.picture.pixels.",
        "decoder.ffn.2.": "decoder.picture.down.",
        "decoder.conv_out.": "decoder.picture.last.",
        "pixel_quantize.embedding.": "decoder.picture.codebook.",
        "pixel_decoder.conv_in.": "decoder.picture.decoder.first.",
        "pixel_decoder.mid.#.": "decoder.picture.decoder.middle.#.",
        "pixel_decoder.up.#.block.#.": "decoder.picture.decoder.levels.#.#.",
        "pixel_decoder.up.#.upsample_conv.": "decoder.picture.decoder.doubles.#.",
        "pixel_decoder.norm_out.": "decoder.picture.decoder.norm.",
        "pixel_decoder.conv_out.": "decoder.picture.decoder.last.",
    },
    parts={"nin_shortcut": "skip"},
)
DECODER = "decoder.picture.decoder."


class TiTokTokenizer(TokenizerFamily):
    """TiTok: codes on one axis, of a decoder of pixels or of the codes of MaskGIT's VQGAN.

    With the latter, tokens and channels are in each other's order before the last projection, as its first
    models have them. Heads are of 64 channels.
    """

    signs = ("latent_tokens", "encoder.transformer.0.attn.in_proj_weight", "decoder.mask_token")
    arithmetic = {"use_l2_norm": (True,), "quantize_mode": ("vq",)}

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        weights = {_plain(name): value for name, value in NAMES.rename(only(files)).items()}
        tokens, width = shape_of(weights, "encoder.tokens")
        patches = shape_of(weights, "encoder.patches.weight")
        places = shape_of(weights, "encoder.positions")[0] - 1
        for name in ("encoder.last.weight", "decoder.mask"):
            shape_of(weights, name)
        coded = "decoder.picture.down.weight" in weights
        options = {
            "tokens": tokens,
            "model_width": width,
            "depth": count(weights, "encoder.transformer.blocks."),
            "heads": hints.heads or max(1, width // 64),
            "reshaped": coded,
        }
        if coded:
            weights, more = _coded(weights)
            options |= more | {"groups": hints.groups or 32}
        else:
            for kind in ("weight", "bias"):
                name = f"decoder.picture.pixels.{kind}"
                shape_of(weights, name)
                weights[name] = channels_first(weights[name], patches[-1])
        weights["encoder.last.weight"] = weights["encoder.last.weight"].flatten(1)
        weights["decoder.mask"] = weights["decoder.mask"][0]
        codes, latent = shape_of(weights, "quantizer.codebook.vectors")
        config = TokenizerConfig(
            architecture="titok",
            architecture_options=options,
            size=math.isqrt(places) * patches[-1],
            factor=patches[-1],
            channels=patches[1],
            patch=1,
            latent_width=latent,
            quantizer="vq",
            quantizer_options={
                "codebook_size": codes,
                "distance": "cosine",
                "commitment": hints.beta(),
                "codebook_weight": 1.0,
                "update": "gradient",
                "kmeans_steps": 0,
                "restart_threshold": 0.0,
            },
        )
        return Converted(config, weights)


def _plain(name: str) -> str:
    return name.replace("quantizer.codebook.vectors.weight", "quantizer.codebook.vectors")


def _coded(weights: Weights) -> tuple[Weights, dict]:
    """A decoder by the codes of another VQGAN, its levels counted from the coarsest."""
    weights = {n.replace("picture.pixels.", "picture.up."): w for n, w in weights.items()}
    levels = count(weights, f"{DECODER}levels.")
    channels = [shape_of(weights, f"{DECODER}levels.{i}.0.conv2.weight")[0] for i in range(levels)]
    weights = reverse(weights, f"{DECODER}levels.")
    weights = {double(name, f"{DECODER}doubles.", levels): value for name, value in weights.items()}
    codes, width = shape_of(weights, "decoder.picture.codebook.weight")
    blocks = count(weights, f"{DECODER}levels.0.")
    sizes = {"pixel_codes": codes, "pixel_width": width, "pixel_blocks": blocks}
    return weights, sizes | {"pixel_channels": tuple(channels)}
