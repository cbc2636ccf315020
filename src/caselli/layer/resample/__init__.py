"""Pictures made larger and smaller: one interface, chosen by name.

`UPSAMPLERS[name](width, out_width=None, scale=2)(x, size=None)` and
`DOWNSAMPLERS[name](width, out_width=None, scale=2)(x)` map `B width H W` to `B out_width h w`, with exact
sizes `enlarged(H, scale)` and `reduced(H, scale)`. Methods that only move pixels are followed by a 3 × 3
convolution, the field's practice; their functions (`nearest`, `bilinear`, `blur_pool` …) do the moving alone.
"""

from caselli.layer.resample.base import Downsampler, Upsampler, enlarged, reduced
from caselli.layer.resample.carafe import CARAFE, reassemble
from caselli.layer.resample.dysample import DySample, sample_bilinear
from caselli.layer.resample.filtered import BlurPooling, ZeroInsertion, blur_pool, interpolate_filtered
from caselli.layer.resample.interpolate import (
    Area,
    Bicubic,
    Bilinear,
    Nearest,
    NearestExact,
    area,
    bicubic,
    bilinear,
    nearest,
    nearest_exact,
)
from caselli.layer.resample.pooling import AveragePooling, MaxPooling, StridedConvolution
from caselli.layer.resample.shuffle import PixelShuffle, SpaceToDepth, icnr_
from caselli.layer.resample.transposed import TransposedConvolution
from caselli.layer.resample.unpooling import MaxUnpooling, bed_of_nails, unpool

UPSAMPLERS: dict[str, type[Upsampler]] = {
    "nearest": Nearest,
    "nearest_exact": NearestExact,
    "bilinear": Bilinear,
    "bicubic": Bicubic,
    "area": Area,
    "pixel_shuffle": PixelShuffle,
    "transposed": TransposedConvolution,
    "unpooling": MaxUnpooling,
    "zero_insertion": ZeroInsertion,
    "carafe": CARAFE,
    "dysample": DySample,
}

DOWNSAMPLERS: dict[str, type[Downsampler]] = {
    "strided": StridedConvolution,
    "space_to_depth": SpaceToDepth,
    "max": MaxPooling,
    "average": AveragePooling,
    "blur": BlurPooling,
}

__all__ = [
    "CARAFE",
    "DOWNSAMPLERS",
    "UPSAMPLERS",
    "Area",
    "AveragePooling",
    "Bicubic",
    "Bilinear",
    "BlurPooling",
    "Downsampler",
    "DySample",
    "MaxPooling",
    "MaxUnpooling",
    "Nearest",
    "NearestExact",
    "PixelShuffle",
    "SpaceToDepth",
    "StridedConvolution",
    "TransposedConvolution",
    "Upsampler",
    "ZeroInsertion",
    "area",
    "bed_of_nails",
    "bicubic",
    "bilinear",
    "blur_pool",
    "enlarged",
    "icnr_",
    "interpolate_filtered",
    "nearest",
    "nearest_exact",
    "reassemble",
    "reduced",
    "sample_bilinear",
    "unpool",
]
