"""Checkpoints of diffusers: VQModel and AutoencoderKL."""

from __future__ import annotations

from collections.abc import Sequence

from caselli.interop.layout import Converted, Hints, Names, TokenizerFamily, only
from caselli.interop.vqgan import legacy, vqgan_tokenizer
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

NAMES = Names(
    places={
        "quant_conv.": "encoder.to_latents.",
        "post_quant_conv.": "decoder.from_latents.",
        "quantize.embedding.": "codebook.",
        "encoder.conv_in.": "encoder.first.",
        "encoder.conv_norm_out.": "encoder.norm.",
        "encoder.conv_out.": "encoder.last.",
        "encoder.down_blocks.#.resnets.#.": "encoder.levels.#.steps.#.0.",
        "encoder.down_blocks.#.attentions.#.": "encoder.levels.#.steps.#.1.",
        "encoder.down_blocks.#.downsamplers.0.": "encoder.levels.#.resample.",
        "encoder.mid_block.resnets.0.": "encoder.middle.0.",
        "encoder.mid_block.attentions.0.": "encoder.middle.1.",
        "encoder.mid_block.resnets.1.": "encoder.middle.2.",
        "decoder.conv_in.": "decoder.first.",
        "decoder.conv_norm_out.": "decoder.norm.",
        "decoder.conv_out.": "decoder.last.",
        "decoder.mid_block.resnets.0.": "decoder.middle.0.",
        "decoder.mid_block.attentions.0.": "decoder.middle.1.",
        "decoder.mid_block.resnets.1.": "decoder.middle.2.",
        "decoder.up_blocks.#.resnets.#.": "decoder.levels.#.steps.#.0.",
        "decoder.up_blocks.#.attentions.#.": "decoder.levels.#.steps.#.1.",
        "decoder.up_blocks.#.upsamplers.0.": "decoder.levels.#.resample.",
    },
    parts={
        "conv_shortcut": "skip",
        "conv": "convolution",
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "output",
        "query": "q",  # names before version 0.17
        "key": "k",
        "value": "v",
        "proj_attn": "output",
    },
)


class Diffusers(TokenizerFamily):
    """The VQModel or the AutoencoderKL of diffusers; the number of groups is in its config.json."""

    signs = ("encoder.down_blocks.0.resnets.0.conv1.weight",)

    arithmetic = {
        "_class_name": ("VQModel", "AutoencoderKL"),
        "act_fn": ("silu", "swish"),
        "norm_type": ("group", None),
        "lookup_from_codebook": (False,),
    }

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        return vqgan_tokenizer(NAMES.rename(only(files)), hints, legacy(hints))
