"""What a trained model is worth: reconstruction, codebook use, samples against data.

No metrics library is imported: the definitions are in this room, and the library is the tests' oracle.
"""

from __future__ import annotations

from caselli.evaluate.captions import Ranking, pooled_pixels, rank_captions, rank_pictures
from caselli.evaluate.codes import CodebookUse, Usage, bits_per_picture, usage
from caselli.evaluate.frechet import Moments, frechet_distance, frechet_ratio
from caselli.evaluate.kernel import KernelDistance, kernel_distance, squared_mmd
from caselli.evaluate.mind import monge_distance
from caselli.evaluate.model import Evaluation, evaluate_model
from caselli.evaluate.neighbours import Manifold, manifold
from caselli.evaluate.pace import RunFigures, run_figures
from caselli.evaluate.perceptual import Distance, multi_scale_distance, name_of, perceptual_distance
from caselli.evaluate.pictures import ms_ssim, psnr, slope, ssim
from caselli.evaluate.reconstruction import reconstruction_distances, reconstructions
from caselli.evaluate.set_comparison import SetComparison, compare_sets

__all__ = [
    "CodebookUse",
    "Distance",
    "Evaluation",
    "KernelDistance",
    "Manifold",
    "Moments",
    "Ranking",
    "RunFigures",
    "SetComparison",
    "Usage",
    "bits_per_picture",
    "compare_sets",
    "evaluate_model",
    "frechet_distance",
    "frechet_ratio",
    "kernel_distance",
    "manifold",
    "monge_distance",
    "ms_ssim",
    "multi_scale_distance",
    "name_of",
    "perceptual_distance",
    "pooled_pixels",
    "psnr",
    "rank_captions",
    "rank_pictures",
    "reconstruction_distances",
    "reconstructions",
    "run_figures",
    "slope",
    "squared_mmd",
    "ssim",
    "usage",
]
