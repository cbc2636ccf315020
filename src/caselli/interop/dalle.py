"""Checkpoints of OpenAI's discrete variational autoencoder for DALL·E."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caselli.errors import UserError
from caselli.interop.layout import Converted, Hints, Names, TokenizerFamily, count, refuse, shape_of
from caselli.tokenizer import TokenizerConfig
from caselli.tokenizer.config import FACTORS
from caselli.weights import Weights

ENDS = {"w": "weight", "b": "bias"}
NAMES = Names(
    places={
        "encoder.blocks.input.": "encoder.first.",
        "encoder.blocks.output.conv.": "logits.",
        "encoder.blocks.group_#.block_#.res_path.conv_#.": "encoder.levels.#.#.convolutions.#.",
        "encoder.blocks.group_#.block_#.id_path.": "encoder.levels.#.#.skip.",
        "decoder.blocks.input.": "embedding.",
        "decoder.blocks.output.conv.": "decoder.last.",
        "decoder.blocks.group_#.block_#.res_path.conv_#.": "decoder.levels.#.#.convolutions.#.",
        "decoder.blocks.group_#.block_#.id_path.": "decoder.levels.#.#.skip.",
    }
)


class DALLE(TokenizerFamily):
    """OpenAI's dVAE: one file, or the two published ones, encoder.pkl and decoder.pkl, in any order.

    The decoder's second half of outputs, the logistic's scales, has no part in a picture and is left out.
    """

    signs = ("blocks.group_1.block_1.res_path.conv_1.w",)
    own = ("encoder.", "decoder.", "")
    files = 2

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        weights = _from_zero(NAMES.rename(_together(files)))
        for name in ("logits.weight", "embedding.weight", "decoder.last.weight"):
            shape_of(weights, name)
        channels = weights["encoder.first.weight"].shape[1]
        width, start = weights["logits.weight"].shape[1], len(weights["embedding.weight"])
        if start > width:
            raise UserError(
                f"a decoder that starts with {start} channels was given", f"at most {width} were expected"
            )
        embedding = weights.pop("embedding.weight").flatten(1)
        padding = torch.zeros(embedding.shape[1], width - start)  # the quantizer's vectors have one width
        weights |= {
            "quantizer.codebook": torch.cat((embedding.T, padding), 1),
            "decoder.first.weight": torch.eye(start, width)[..., None, None],
            "decoder.first.bias": weights.pop("embedding.bias"),
            "quantizer.logits.weight": weights.pop("logits.weight").flatten(1),
            "quantizer.logits.bias": weights.pop("logits.bias"),
            "decoder.last.weight": weights["decoder.last.weight"][:channels],
            "decoder.last.bias": weights["decoder.last.bias"][:channels],
        }
        return Converted(_config(weights, start), weights)


def _config(weights: Weights, start: int) -> TokenizerConfig:
    levels, blocks = count(weights, "encoder.levels."), count(weights, "encoder.levels.0.")
    if not 1 <= levels <= len(FACTORS):
        refuse("missing", ["encoder.blocks.group_1.block_1.res_path.conv_1.w"])
    width, channels = shape_of(weights, "encoder.first.weight")[:2]
    outs = [shape_of(weights, f"encoder.levels.{i}.0.convolutions.3.weight")[0] for i in range(levels)]
    return TokenizerConfig(
        architecture="dvae",
        architecture_options={"first_width": start},
        factor=2 ** (levels - 1),
        channels=channels,
        width=width,
        multipliers=tuple(out // width for out in outs),
        patch=1,
        blocks=blocks,
        latent_width=outs[-1],
        quantizer="gumbel",
        quantizer_options={"codebook_size": len(weights["quantizer.codebook"])},
    )


def _together(files: Sequence[Weights]) -> Weights:
    """Both halves under names that say which is which: the encoder's first kernel is 7×7."""
    together: Weights = {}
    for weights in files:
        first = weights.get("blocks.input.w")
        if first is None:
            together |= weights
        else:
            half = "encoder." if first.shape[-1] > 1 else "decoder."
            together |= {half + name: value for name, value in weights.items()}
    return together


def _from_zero(weights: Weights) -> Weights:
    """Levels, blocks and convolutions counted from 0, w and b written out."""
    return {_renamed(name): value for name, value in weights.items()}


def _renamed(name: str) -> str:
    parts = [str(int(part) - 1) if part.isdigit() else part for part in name.split(".")]
    return ".".join([*parts[:-1], ENDS.get(parts[-1], parts[-1])])
