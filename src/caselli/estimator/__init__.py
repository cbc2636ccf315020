"""Gradients of an expectation E_{z ~ p}[f(z)]. The estimators are in `ESTIMATORS`."""

from caselli.estimator.arm import ARM
from caselli.estimator.base import Estimate, Estimator, Function
from caselli.estimator.baseline import (
    BASELINES,
    Baseline,
    Learned,
    LeaveOneOut,
    MovingAverage,
    NoBaseline,
    Optimal,
)
from caselli.estimator.disarm import DisARM
from caselli.estimator.enumeration import Enumeration
from caselli.estimator.gumbel import (
    sample_gumbel_max,
    sample_gumbel_softmax,
    sample_straight_through_gumbel,
)
from caselli.estimator.gumbel_rao import GumbelRao
from caselli.estimator.gumbel_softmax import GumbelSoftmax
from caselli.estimator.implicit import rsample
from caselli.estimator.lax import LAX
from caselli.estimator.measure import Measurement, gradients, measure, true_gradient
from caselli.estimator.measure_valued import MeasureValued
from caselli.estimator.nvil import NVIL
from caselli.estimator.pathwise import Pathwise
from caselli.estimator.problems import PROBLEMS, Problem
from caselli.estimator.rebar import REBAR
from caselli.estimator.reinmax import ReinMax
from caselli.estimator.relax import RELAX
from caselli.estimator.relaxation import pass_straight_through
from caselli.estimator.score import Score
from caselli.estimator.straight_through import StraightThrough
from caselli.estimator.straight_through_gumbel import StraightThroughGumbel
from caselli.estimator.temperature import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Linear,
    TemperatureSchedule,
)
from caselli.estimator.vimco import VIMCO

ESTIMATORS: dict[str, type[Estimator]] = {
    "pathwise": Pathwise,
    "score": Score,
    "nvil": NVIL,
    "vimco": VIMCO,
    "lax": LAX,
    "rebar": REBAR,
    "relax": RELAX,
    "arm": ARM,
    "disarm": DisARM,
    "measure_valued": MeasureValued,
    "gumbel_softmax": GumbelSoftmax,
    "straight_through_gumbel": StraightThroughGumbel,
    "gumbel_rao": GumbelRao,
    "straight_through": StraightThrough,
    "reinmax": ReinMax,
    "enumeration": Enumeration,
}
"""The estimators by name."""

__all__ = [
    "ARM",
    "BASELINES",
    "ESTIMATORS",
    "LAX",
    "NVIL",
    "PROBLEMS",
    "REBAR",
    "RELAX",
    "SCHEDULES",
    "VIMCO",
    "Baseline",
    "Constant",
    "Cosine",
    "DisARM",
    "Enumeration",
    "Estimate",
    "Estimator",
    "Exponential",
    "Function",
    "GumbelRao",
    "GumbelSoftmax",
    "Learned",
    "LeaveOneOut",
    "Linear",
    "MeasureValued",
    "Measurement",
    "MovingAverage",
    "NoBaseline",
    "Optimal",
    "Pathwise",
    "Problem",
    "ReinMax",
    "Score",
    "StraightThrough",
    "StraightThroughGumbel",
    "TemperatureSchedule",
    "gradients",
    "measure",
    "pass_straight_through",
    "rsample",
    "sample_gumbel_max",
    "sample_gumbel_softmax",
    "sample_straight_through_gumbel",
    "true_gradient",
]
