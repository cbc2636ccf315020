"""Distances between distributions: from densities, samples and critics. They are in `DIVERGENCES`."""

from caselli.divergence.alpha import Alpha
from caselli.divergence.base import Distance, Divergence, Need, check_fit, fitting, names_that_need
from caselli.divergence.critic import CriticDivergence, Judgement
from caselli.divergence.density import METHODS, DensityDivergence
from caselli.divergence.energy import Energy
from caselli.divergence.f_divergence import (
    F_FUNCTIONS,
    KL,
    Jeffreys,
    JensenShannon,
    Neyman,
    Pearson,
    ReverseKL,
    SquaredHellinger,
    TotalVariation,
)
from caselli.divergence.f_function import FFunction
from caselli.divergence.f_gan import FGAN
from caselli.divergence.hinge import Hinge
from caselli.divergence.kernel import (
    KERNELS,
    Gaussian,
    InverseMultiquadric,
    Kernel,
    Laplacian,
    Linear,
    Polynomial,
    RationalQuadratic,
    median_bandwidth,
)
from caselli.divergence.least_squares import LeastSquares
from caselli.divergence.max_sliced_wasserstein import MaxSlicedWasserstein
from caselli.divergence.maximum_likelihood import MaximumLikelihood
from caselli.divergence.mmd import MMD
from caselli.divergence.non_saturating import NonSaturating
from caselli.divergence.regulariser import (
    R1,
    R2,
    GradientPenalty,
    Regulariser,
    SpectralNorm,
    WeightClipping,
)
from caselli.divergence.relativistic import Relativistic
from caselli.divergence.renyi import Renyi
from caselli.divergence.sample import SampleDivergence
from caselli.divergence.sinkhorn import Sinkhorn
from caselli.divergence.sliced_wasserstein import SlicedWasserstein
from caselli.divergence.wasserstein import Wasserstein
from caselli.divergence.wasserstein_1d import Wasserstein1D

DIVERGENCES: dict[str, type[Divergence]] = {
    "kl": KL,
    "reverse_kl": ReverseKL,
    "jensen_shannon": JensenShannon,
    "squared_hellinger": SquaredHellinger,
    "pearson": Pearson,
    "neyman": Neyman,
    "total_variation": TotalVariation,
    "jeffreys": Jeffreys,
    "renyi": Renyi,
    "alpha": Alpha,
    "maximum_likelihood": MaximumLikelihood,
    "mmd": MMD,
    "energy": Energy,
    "sliced_wasserstein": SlicedWasserstein,
    "max_sliced_wasserstein": MaxSlicedWasserstein,
    "wasserstein_1d": Wasserstein1D,
    "sinkhorn": Sinkhorn,
    "f_gan": FGAN,
    "wasserstein": Wasserstein,
    "least_squares": LeastSquares,
    "hinge": Hinge,
    "non_saturating": NonSaturating,
    "relativistic": Relativistic,
}
"""The divergences by name."""

__all__ = [
    "DIVERGENCES",
    "FGAN",
    "F_FUNCTIONS",
    "KERNELS",
    "KL",
    "METHODS",
    "MMD",
    "R1",
    "R2",
    "Alpha",
    "CriticDivergence",
    "DensityDivergence",
    "Distance",
    "Divergence",
    "Energy",
    "FFunction",
    "Gaussian",
    "GradientPenalty",
    "Hinge",
    "InverseMultiquadric",
    "Jeffreys",
    "JensenShannon",
    "Judgement",
    "Kernel",
    "Laplacian",
    "LeastSquares",
    "Linear",
    "MaxSlicedWasserstein",
    "MaximumLikelihood",
    "Need",
    "Neyman",
    "NonSaturating",
    "Pearson",
    "Polynomial",
    "RationalQuadratic",
    "Regulariser",
    "Relativistic",
    "Renyi",
    "ReverseKL",
    "SampleDivergence",
    "Sinkhorn",
    "SlicedWasserstein",
    "SpectralNorm",
    "SquaredHellinger",
    "TotalVariation",
    "Wasserstein",
    "Wasserstein1D",
    "WeightClipping",
    "check_fit",
    "fitting",
    "median_bandwidth",
    "names_that_need",
]
