"""Methods side by side: each comparison a file, one driver for all. Their names are in `COMPARISONS`."""

from caselli.compare.autoencoders import Autoencoders
from caselli.compare.base import Comparison, Table, free, kept
from caselli.compare.bits import Bits
from caselli.compare.codecs import Codecs
from caselli.compare.divergences import Divergences
from caselli.compare.driver import compare, load, text
from caselli.compare.estimators import Estimators, applicable
from caselli.compare.guidance import Guidance
from caselli.compare.learning import Budget, learn
from caselli.compare.mixers import Mixers, learnt
from caselli.compare.priors import Priors
from caselli.compare.quantizers import Quantizers
from caselli.compare.reconstructions import Reconstructions
from caselli.compare.resamplers import Resamplers
from caselli.compare.samples import Samples
from caselli.compare.segmenters import Segmenters
from caselli.compare.sequence_model import SequenceModel, Size, build_model
from caselli.compare.slim import Slim
from caselli.compare.tasks import TASKS, SequenceTask

COMPARISONS: dict[str, type[Comparison]] = {
    "quantizers": Quantizers,
    "estimators": Estimators,
    "autoencoders": Autoencoders,
    "divergences": Divergences,
    "mixers": Mixers,
    "resamplers": Resamplers,
    "segmenters": Segmenters,
    "priors": Priors,
    "samples": Samples,
    "guidance": Guidance,
    "codecs": Codecs,
    "slim": Slim,
    "reconstructions": Reconstructions,
    "bits": Bits,
}
"""The comparisons by name; the name in `comparison.json` is the class's."""

__all__ = [
    "COMPARISONS",
    "TASKS",
    "Budget",
    "Comparison",
    "SequenceModel",
    "SequenceTask",
    "Size",
    "Table",
    "applicable",
    "build_model",
    "compare",
    "free",
    "kept",
    "learn",
    "learnt",
    "load",
    "text",
]
