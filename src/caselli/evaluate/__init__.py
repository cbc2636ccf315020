"""Measures of trained models: reconstruction, codebook use, samples against data.

No metrics library is imported: the definitions are in this room, and the library is the tests' oracle.
"""

from __future__ import annotations

from caselli.evaluate.captions import Ranking, captioned, pooled_pixels, rank_captions, rank_pictures
from caselli.evaluate.codes import CodebookUse, Usage, bits_per_picture, usage
from caselli.evaluate.copies import Copies, copies
from caselli.evaluate.family import FamilyEvaluation, evaluate_family
from caselli.evaluate.frechet import (
    Moments,
    frechet_between,
    frechet_distance,
    frechet_of_ranks,
    frechet_ratio,
)
from caselli.evaluate.judges import JUDGES, installed_judge, judge, refuse_teacher
from caselli.evaluate.kernel import KernelDistance, kernel_distance, squared_mmd
from caselli.evaluate.mind import monge_distance
from caselli.evaluate.model import Evaluation, evaluate_model
from caselli.evaluate.neighbours import Manifold, manifold
from caselli.evaluate.pace import RunFigures, run_figures
from caselli.evaluate.perceptual import Distance, multi_scale_distance, name_of, perceptual_distance
from caselli.evaluate.pictures import ms_ssim, psnr, slope, ssim
from caselli.evaluate.readability import Readability, readability
from caselli.evaluate.reconstruction import (
    exchanged_distances,
    original_features,
    reconstruction_distances,
    reconstructions,
)
from caselli.evaluate.score import score_pictures
from caselli.evaluate.set_comparison import SetComparison, compare_sets
from caselli.evaluate.shares import joined, own_part
from caselli.evaluate.upscaling import evaluate_upscaling

__all__ = [
    "JUDGES",
    "CodebookUse",
    "Copies",
    "Distance",
    "Evaluation",
    "FamilyEvaluation",
    "KernelDistance",
    "Manifold",
    "Moments",
    "Ranking",
    "Readability",
    "RunFigures",
    "SetComparison",
    "Usage",
    "bits_per_picture",
    "captioned",
    "compare_sets",
    "copies",
    "evaluate_family",
    "evaluate_model",
    "evaluate_upscaling",
    "exchanged_distances",
    "frechet_between",
    "frechet_distance",
    "frechet_of_ranks",
    "frechet_ratio",
    "installed_judge",
    "joined",
    "judge",
    "kernel_distance",
    "manifold",
    "monge_distance",
    "ms_ssim",
    "multi_scale_distance",
    "name_of",
    "original_features",
    "own_part",
    "perceptual_distance",
    "pooled_pixels",
    "psnr",
    "rank_captions",
    "rank_pictures",
    "readability",
    "reconstruction_distances",
    "reconstructions",
    "refuse_teacher",
    "run_figures",
    "score_pictures",
    "slope",
    "squared_mmd",
    "ssim",
    "usage",
]
