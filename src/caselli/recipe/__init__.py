"""Whole runs: each recipe is one readable function; `train` goes from pictures to report."""

from caselli.recipe.config import DataConfig, ReadingConfig, RunConfig, StagesConfig, flatten, override
from caselli.recipe.folder import RunFolder
from caselli.recipe.recipes import RECIPES
from caselli.recipe.run import STAGES, encode, train

__all__ = [
    "RECIPES",
    "STAGES",
    "DataConfig",
    "ReadingConfig",
    "RunConfig",
    "RunFolder",
    "StagesConfig",
    "encode",
    "flatten",
    "override",
    "train",
]
