"""What a trained model is worth: reconstruction, codebook use, samples against data.

No metrics library is imported: the definitions are in this room, and the library is the tests' oracle.
"""

from __future__ import annotations

from caselli.evaluate.captions import Ranking, pooled_pixels, rank_captions, rank_pictures
from caselli.evaluate.codes import CodebookUse, Usage, bits_per_picture, usage
from caselli.evaluate.features import SetComparison, compare_sets, features_of
from caselli.evaluate.frechet import Moments, frechet_distance
from caselli.evaluate.inception import Inception
from caselli.evaluate.kernel import KernelDistance, kernel_distance, squared_mmd
from caselli.evaluate.mixers import compare_mixers
from caselli.evaluate.neighbours import Manifold, manifold
from caselli.evaluate.perceptual import multi_scale_distance, perceptual_distance
from caselli.evaluate.pictures import ms_ssim, psnr, ssim
from caselli.evaluate.reader import (
    Reader,
    accuracy,
    confused,
    confusion,
    read,
    train_reader,
    train_rotation_reader,
)
from caselli.evaluate.tasks import TASKS, SequenceTask
from caselli.layer.features import FeatureNetwork
from caselli.layer.lpips import LPIPS
from caselli.layer.vgg import VGG16

__all__ = [
    "LPIPS",
    "TASKS",
    "VGG16",
    "CodebookUse",
    "FeatureNetwork",
    "Inception",
    "KernelDistance",
    "Manifold",
    "Moments",
    "Ranking",
    "Reader",
    "SequenceTask",
    "SetComparison",
    "Usage",
    "accuracy",
    "bits_per_picture",
    "compare_mixers",
    "compare_sets",
    "confused",
    "confusion",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "manifold",
    "ms_ssim",
    "multi_scale_distance",
    "perceptual_distance",
    "pooled_pixels",
    "psnr",
    "rank_captions",
    "rank_pictures",
    "read",
    "squared_mmd",
    "ssim",
    "train_reader",
    "train_rotation_reader",
    "usage",
]
