"""MaskBit's tokenizers: MaskGIT's network with convolutions on the way down, around bits or a codebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from caselli.interop.layout import Converted, Hints, TokenizerFamily, only, shape_of
from caselli.interop.maskbit import turned_bits
from caselli.interop.maskgit_vqgan import MaskGITVQGAN
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

UP = "decoder.up."


class MaskBitTokenizer(TokenizerFamily):
    """MaskBit's ConvVQModel. Its first channel is the last bit, so channels are turned round in each codebook
    of the prior that comes with it, and codes stay."""

    signs = ("encoder.down.0.res_blocks.0.conv1.weight", "encoder.mid.res_blocks.0.conv1.weight")

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        weights = _as_maskgit(only(files))
        bits = shape_of(weights, "encoder.conv_out.weight")[0]
        coded = "quantize.embedding.weight" in weights
        if not coded:  # a stand-in for the codebook that MaskGIT has: nothing of it is kept
            weights["quantize.embedding.weight"] = weights["encoder.conv_out.weight"].new_zeros(1, bits)
        downs = {name: weights.pop(name) for name in list(weights) if ".down_conv." in name}
        found = MaskGITVQGAN.convert([weights], hints)
        own = dict(found.weights)
        for name, value in downs.items():
            level, _, kind = name.removeprefix("encoder.down.").partition(".down_conv.")
            own[f"encoder.halves.{level}.1.{kind}"] = value
        options = {**found.config.architecture_options, "convolved": bool(downs)}
        config = dataclasses.replace(found.config, architecture_options=options)
        if coded:
            return Converted(config, own)
        del own["quantizer.codebook.vectors"]
        for name, axis in (("encoder.last.weight", 0), ("encoder.last.bias", 0), ("decoder.first.weight", 1)):
            shape_of(own, name)
            own[name] = turned_bits(own[name], axis, hints.codebooks)
        sizes = {"codebook_size": 2**bits, "codebooks": hints.codebooks, "commitment": hints.beta()}
        return Converted(dataclasses.replace(config, quantizer="lfq", quantizer_options=sizes), own)


def _as_maskgit(weights: Weights) -> Weights:
    """The names of MaskGIT's VQGAN; the published decoder counts its levels from the coarsest one."""
    dropped = ("loss.", "quantize.bits_to_indices", "quantize.codebook")
    kept = {name: value for name, value in weights.items() if not name.startswith(dropped)}
    levels = 1 + max((int(name.split(".")[2]) for name in kept if name.startswith(UP)), default=0)
    coarsest_first = f"{UP}0.upsample_conv.weight" in kept
    found = {}
    for name, value in kept.items():
        if name.startswith(UP) and coarsest_first:
            number, _, rest = name.removeprefix(UP).partition(".")
            name = f"{UP}{levels - 1 - int(number)}.{rest}"
        place = "" if ".mid." in name else "block."
        found[name.replace("res_blocks.", place)] = value
    return found
