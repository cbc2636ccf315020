"""Checkpoints of LlamaGen's VQ tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from caselli.interop.layout import Converted, Hints, Names, TokenizerFamily, only
from caselli.interop.taming import OUTER, PARTS
from caselli.interop.vqgan import vqgan_tokenizer
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

NAMES = Names(
    places=OUTER
    | {
        "encoder.conv_blocks.#.res.#.": "encoder.levels.#.steps.#.0.",
        "encoder.conv_blocks.#.attn.#.": "encoder.levels.#.steps.#.1.",
        "encoder.conv_blocks.#.downsample.": "encoder.levels.#.resample.",
        "encoder.mid.#.": "encoder.middle.#.",
        "decoder.mid.#.": "decoder.middle.#.",
        "decoder.conv_blocks.#.res.#.": "decoder.levels.#.steps.#.0.",
        "decoder.conv_blocks.#.attn.#.": "decoder.levels.#.steps.#.1.",
        "decoder.conv_blocks.#.upsample.": "decoder.levels.#.resample.",
    },
    parts=PARTS,
    dropped=("quantize.codebook_used",),
)


class LlamaGen(TokenizerFamily):
    """LlamaGen's VQ tokenizer: codes of few channels on the unit sphere."""

    signs = ("encoder.conv_blocks.0.res.0.conv1.weight",)

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        options = {"distance": "cosine", "commitment": hints.beta(), "codebook_weight": 1.0}
        return vqgan_tokenizer(NAMES.rename(only(files)), hints, options)
