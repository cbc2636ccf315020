"""Mixers compared on the tasks that tell them apart."""

from caselli.evaluate.mixers.comparison import compare_mixers
from caselli.evaluate.mixers.cost import Cost, cost
from caselli.evaluate.mixers.learning import Budget, learn
from caselli.evaluate.mixers.model import SequenceModel, Size, build_model
from caselli.evaluate.mixers.picture import picture
from caselli.evaluate.mixers.results import Comparison, Score, load, save, table

__all__ = [
    "Budget",
    "Comparison",
    "Cost",
    "Score",
    "SequenceModel",
    "Size",
    "build_model",
    "compare_mixers",
    "cost",
    "learn",
    "load",
    "picture",
    "save",
    "table",
]
