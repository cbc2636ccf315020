"""Whole runs: each recipe is one readable function; `train` goes from pictures to report."""

from caselli.recipe.adopted import adopt
from caselli.recipe.config import DataConfig, ReadingConfig, RunConfig, StagesConfig, flatten, override
from caselli.recipe.encoding import encode
from caselli.recipe.family_config import FamilyRunConfig
from caselli.recipe.family_recipes import FAMILY_RECIPES
from caselli.recipe.folder import RunFolder
from caselli.recipe.load import load
from caselli.recipe.recipes import RECIPES
from caselli.recipe.run import STAGES, train
from caselli.recipe.segmentation import SEGMENTATION_RECIPES, SegmentationRunConfig
from caselli.recipe.slim_config import SlimConfig
from caselli.recipe.slimming import slim

__all__ = [
    "FAMILY_RECIPES",
    "RECIPES",
    "SEGMENTATION_RECIPES",
    "STAGES",
    "DataConfig",
    "FamilyRunConfig",
    "ReadingConfig",
    "RunConfig",
    "RunFolder",
    "SegmentationRunConfig",
    "SlimConfig",
    "StagesConfig",
    "adopt",
    "encode",
    "flatten",
    "load",
    "override",
    "slim",
    "train",
]
