"""What a trained model is worth: reconstruction, codebook use, samples against data.

No metrics library is imported: the definitions are in this room, and the library is the tests' oracle.
"""

from __future__ import annotations

from caselli.evaluate.codes import CodebookUse, Usage, bits_per_picture, usage
from caselli.evaluate.distances import (
    KernelDistance,
    Manifold,
    Moments,
    frechet_distance,
    kernel_distance,
    manifold,
    squared_mmd,
)
from caselli.evaluate.pictures import ms_ssim, psnr, ssim
from caselli.evaluate.reader import (
    Reader,
    accuracy,
    confused,
    confusion,
    read,
    reader_features,
    train_reader,
    train_rotation_reader,
)

__all__ = [
    "CodebookUse",
    "KernelDistance",
    "Manifold",
    "Moments",
    "Reader",
    "Usage",
    "accuracy",
    "bits_per_picture",
    "confused",
    "confusion",
    "frechet_distance",
    "kernel_distance",
    "manifold",
    "ms_ssim",
    "psnr",
    "read",
    "reader_features",
    "squared_mmd",
    "ssim",
    "train_reader",
    "train_rotation_reader",
    "usage",
]
