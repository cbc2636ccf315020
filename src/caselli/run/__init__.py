"""Whole runs: each recipe is one readable function; `train` goes from pictures to report."""

from caselli.run.adopted import adopt
from caselli.run.config import DataConfig, ReadingConfig, RunConfig, StagesConfig, flatten, override
from caselli.run.encoding import encode
from caselli.run.family_config import FamilyRunConfig
from caselli.run.family_recipes import FAMILY_RECIPES
from caselli.run.folder import RunFolder
from caselli.run.load import load
from caselli.run.segmentation import SEGMENTATION_RECIPES, SegmentationRunConfig
from caselli.run.slim_config import SlimConfig
from caselli.run.slimming import slim
from caselli.run.two_stage import STAGES, train
from caselli.run.two_stage_recipes import RECIPES

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
