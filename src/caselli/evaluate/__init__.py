"""What a trained model is worth: reconstruction, codebook use, samples against data.

No metrics library is imported: the definitions are in this room, and the library is the tests' oracle.
"""

from __future__ import annotations

from caselli.evaluate.captions import Ranking, pooled_pixels, rank_captions, rank_pictures
from caselli.evaluate.codes import CodebookUse, Usage, bits_per_picture, usage
from caselli.evaluate.frechet import Moments, frechet_distance
from caselli.evaluate.kernel import KernelDistance, kernel_distance, squared_mmd
from caselli.evaluate.neighbours import Manifold, manifold
from caselli.evaluate.perceptual import multi_scale_distance, perceptual_distance
from caselli.evaluate.pictures import ms_ssim, psnr, slope, ssim
from caselli.evaluate.set_comparison import SetComparison, compare_sets

__all__ = [
    "CodebookUse",
    "KernelDistance",
    "Manifold",
    "Moments",
    "Ranking",
    "SetComparison",
    "Usage",
    "bits_per_picture",
    "compare_sets",
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
    "slope",
    "squared_mmd",
    "ssim",
    "usage",
]
