"""Checkpoints of 1d-tokenizer's MaskGIT-VQGAN, whose codes its RAR is over."""

from __future__ import annotations

from collections.abc import Sequence

from caselli.interop.layout import (
    Converted,
    Hints,
    Names,
    TokenizerFamily,
    count,
    only,
    refuse,
    reverse,
    shape_of,
)
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

NAMES = Names(
    places={
        "encoder.conv_in.": "encoder.first.",
        "encoder.down.#.block.#.": "encoder.levels.#.#.",
        "encoder.mid.#.": "encoder.middle.#.",
        "encoder.norm_out.": "encoder.norm.",
        "encoder.conv_out.": "encoder.last.",
        "decoder.conv_in.": "decoder.first.",
        "decoder.mid.#.": "decoder.middle.#.",
        "decoder.up.#.block.#.": "decoder.levels.#.#.",
        "decoder.up.#.upsample_conv.": "decoder.doubles.#.",
        "decoder.norm_out.": "decoder.norm.",
        "decoder.conv_out.": "decoder.last.",
        "quantize.embedding.weight": "quantizer.codebook.vectors",
    },
    parts={"nin_shortcut": "skip"},
)


class MaskGITVQGAN(TokenizerFamily):
    """MaskGIT's VQGAN in 1d-tokenizer's layout."""

    signs = (
        "encoder.down.0.block.0.conv1.weight",
        "encoder.mid.0.conv1.weight",
        "decoder.up.1.upsample_conv.weight",
    )

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        weights = reverse(NAMES.rename(only(files)), "decoder.levels.")
        levels = count(weights, "encoder.levels.")
        weights = {double(name, "decoder.doubles.", levels): value for name, value in weights.items()}
        width, channels = shape_of(weights, "encoder.first.weight")[:2]
        outs = [shape_of(weights, f"encoder.levels.{i}.0.conv1.weight")[0] for i in range(levels)]
        refuse("misshapen", [f"encoder.levels.{i}" for i, out in enumerate(outs) if out % width])
        codes, latent = shape_of(weights, "quantizer.codebook.vectors")
        config = TokenizerConfig(
            architecture="maskgit",
            architecture_options={"groups": hints.groups or 32},
            factor=2 ** (levels - 1),
            channels=channels,
            width=width,
            multipliers=tuple(out // width for out in outs),
            patch=1,
            blocks=count(weights, "encoder.levels.0."),
            latent_width=latent,
            quantizer="vq",
            quantizer_options={
                "codebook_size": codes,
                "commitment": hints.beta(),
                "codebook_weight": 1.0,
                "update": "gradient",
                "kmeans_steps": 0,
                "restart_threshold": 0.0,
            },
        )
        return Converted(config, weights)


def double(name: str, start: str, levels: int) -> str:
    """The convolution of upsampling k, from level k to the finer one, counted from the coarsest.

    Example:
        >>> double("up.2.weight", "up.", levels=3)
        'up.0.1.weight'
    """
    if not name.startswith(start):
        return name
    number, _, rest = name.removeprefix(start).partition(".")
    return f"{start}{levels - 1 - int(number)}.1.{rest}"
