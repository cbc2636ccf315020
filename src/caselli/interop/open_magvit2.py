"""Checkpoints of SEED-Voken's Open-MAGVIT2 tokenizers."""

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
from caselli.interop.parts import channels_first
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

NAMES = Names(
    places={
        "encoder.conv_in.": "encoder.first.",
        "encoder.down.#.block.#.": "encoder.levels.#.#.",
        "encoder.down.#.downsample.": "encoder.halves.#.",
        "encoder.mid_block.#.": "encoder.middle.#.",
        "encoder.norm_out.": "encoder.norm.",
        "encoder.conv_out.": "encoder.last.",
        "decoder.conv_in.": "decoder.first.",
        "decoder.mid_block.#.": "decoder.middle.#.",
        "decoder.up.#.block.#.": "decoder.levels.#.#.",
        "decoder.up.#.upsample.conv1.": "decoder.doubles.#.",
        "decoder.adaptive.#.": "decoder.styles.#.",
        "decoder.norm_out.": "decoder.norm.",
        "decoder.conv_out.": "decoder.last.",
    },
    parts={"nin_shortcut": "skip"},
    dropped=("loss.", "model_ema.", "quantize."),
)


class OpenMAGVIT2(TokenizerFamily):
    """Open-MAGVIT2 with lookup-free quantization; its first channel is the last bit here, so channels are
    turned round and codes stay."""

    signs = ("encoder.down.0.block.0.conv1.weight", "decoder.adaptive.0.gamma.weight")

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        weights = NAMES.rename(only(files))
        for place in ("decoder.levels.", "decoder.styles."):
            weights = reverse(weights, place)
        levels = count(weights, "encoder.levels.")
        weights = {_double(name, levels): value for name, value in weights.items()}
        width, channels = shape_of(weights, "encoder.first.weight")[:2]
        outs = [shape_of(weights, f"encoder.levels.{i}.0.conv1.weight")[0] for i in range(levels)]
        refuse("misshapen", [f"encoder.levels.{i}" for i, out in enumerate(outs) if out % width])
        bits = shape_of(weights, "encoder.last.weight")[0]
        config = TokenizerConfig(
            architecture="magvit2",
            architecture_options={"groups": hints.groups or 32},
            factor=2 ** (levels - 1),
            channels=channels,
            width=width,
            multipliers=tuple(out // width for out in outs),
            patch=1,
            blocks=count(weights, "encoder.levels.0."),
            latent_width=bits,
            quantizer="lfq",
            quantizer_options={"codebook_size": 2**bits, "commitment": hints.beta()},
        )
        return Converted(config, {name: _turned(name, value) for name, value in weights.items()})


def _double(name: str, levels: int) -> str:
    """Upsampling k of theirs, from level k to the finer one, counted from the coarsest; its convolution."""
    start = "decoder.doubles."
    if not name.startswith(start):
        return name
    number, _, rest = name.removeprefix(start).partition(".")
    return f"{start}{levels - 1 - int(number)}.0.{rest}"


def _turned(name: str, value):
    """Channels of bits in the other order; those of upsampling with the channel before the pixel."""
    if name.startswith("decoder.doubles."):
        return channels_first(value, 2)
    if name.startswith("encoder.last."):
        return value.flip(0)
    if name == "decoder.first.weight" or (name.startswith("decoder.styles.") and value.ndim == 2):
        return value.flip(1)
    return value
