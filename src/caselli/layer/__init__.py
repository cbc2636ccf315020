"""Convolutional and normalisation parts, resamplers and discriminators.

`UPSAMPLERS` and `DOWNSAMPLERS` make pictures larger and smaller, see `caselli.layer.resample`;
`DISCRIMINATORS` tell generated pictures from real ones; `NORMS` follow convolutions.
"""

from caselli.layer.block import GroupNorm, ResidualBlock, SpatialAttention, group_norm
from caselli.layer.borrowed import Borrowed
from caselli.layer.diff_augment import diff_augment
from caselli.layer.discriminator import SLOPE, Discriminator
from caselli.layer.discriminator_patch import PatchDiscriminator
from caselli.layer.discriminator_stylegan import StyleDiscriminator
from caselli.layer.lecam import LeCam
from caselli.layer.norm import NORMS, normalised
from caselli.layer.parameters import count_parameters
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
from caselli.layer.transformer import TransformerBlock

DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "patch": PatchDiscriminator,
    "stylegan": StyleDiscriminator,
}
"""Discriminators by name."""

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
"""Upsamplers by name."""

DOWNSAMPLERS: dict[str, type[Downsampler]] = {
    "strided": StridedConvolution,
    "space_to_depth": SpaceToDepth,
    "max": MaxPooling,
    "average": AveragePooling,
    "blur": BlurPooling,
}
"""Downsamplers by name."""

__all__ = [
    "CARAFE",
    "DISCRIMINATORS",
    "DOWNSAMPLERS",
    "NORMS",
    "SLOPE",
    "UPSAMPLERS",
    "Area",
    "AveragePooling",
    "Bicubic",
    "Bilinear",
    "BlurPooling",
    "Borrowed",
    "Discriminator",
    "Downsampler",
    "DySample",
    "GroupNorm",
    "LeCam",
    "MaxPooling",
    "MaxUnpooling",
    "Nearest",
    "NearestExact",
    "PatchDiscriminator",
    "PixelShuffle",
    "ResidualBlock",
    "SpaceToDepth",
    "SpatialAttention",
    "StridedConvolution",
    "StyleDiscriminator",
    "TransformerBlock",
    "TransposedConvolution",
    "Upsampler",
    "ZeroInsertion",
    "area",
    "bed_of_nails",
    "bicubic",
    "bilinear",
    "blur_pool",
    "count_parameters",
    "diff_augment",
    "enlarged",
    "group_norm",
    "icnr_",
    "interpolate_filtered",
    "nearest",
    "nearest_exact",
    "normalised",
    "reassemble",
    "reduced",
    "sample_bilinear",
    "unpool",
]
