"""Checkpoints of LlamaGen's VQ tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from caselli.interop.layout import Hints, Layout, only
from caselli.interop.taming import OUTER, PARTS
from caselli.interop.vqgan import vqgan_tokenizer
from caselli.tokenizer import Tokenizer
from caselli.weights import Weights

LAYOUT = Layout(
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


def import_llamagen(files: Sequence[Weights], hints: Hints) -> Tokenizer:
    """LlamaGen's VQ tokenizer: codes of few channels on the unit sphere.

    Errors: `UserError` for weights of another family.
    """
    options = {"distance": "cosine", "commitment": 0.25, "codebook_weight": 1.0}
    return vqgan_tokenizer(LAYOUT.rename(only(files)), hints, options)
