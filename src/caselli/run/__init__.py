"""Whole runs: the kinds of run, their recipes, and the one way through them, from pictures to report.

A kind of run is one class (`Kind`): a new kind is a new file and a line in `KINDS`.
"""

from caselli.run.adopted import adopt
from caselli.run.config import DataConfig, ReadingConfig, RunConfig
from caselli.run.devices import DEVICES, Device
from caselli.run.family import FamilyRun
from caselli.run.family_config import FamilyRunConfig
from caselli.run.folder import RunFolder
from caselli.run.kind import Kind, Recipe, Stage
from caselli.run.kinds import KINDS, RECIPES, kind_and_recipe, kind_of, load
from caselli.run.old_pixels import refuse_old_names
from caselli.run.pictures import Data, open_pictures, open_split
from caselli.run.planning import Plan, plan
from caselli.run.planning import words as plan_words
from caselli.run.pretrained import from_pretrained
from caselli.run.segmentation import SegmentationRun, SegmentationRunConfig, evaluate_segmenter
from caselli.run.slim_config import SlimConfig
from caselli.run.slimming import slim
from caselli.run.training import train
from caselli.run.tune_config import TuneConfig
from caselli.run.tuning import picture_bits, tune, tuned_figures
from caselli.run.two_stage import TwoStage
from caselli.run.two_stage_config import StagesConfig, TwoStageConfig

__all__ = [
    "DEVICES",
    "KINDS",
    "RECIPES",
    "Data",
    "DataConfig",
    "Device",
    "FamilyRun",
    "FamilyRunConfig",
    "Kind",
    "Plan",
    "ReadingConfig",
    "Recipe",
    "RunConfig",
    "RunFolder",
    "SegmentationRun",
    "SegmentationRunConfig",
    "SlimConfig",
    "Stage",
    "StagesConfig",
    "TuneConfig",
    "TwoStage",
    "TwoStageConfig",
    "adopt",
    "evaluate_segmenter",
    "from_pretrained",
    "kind_and_recipe",
    "kind_of",
    "load",
    "open_pictures",
    "open_split",
    "picture_bits",
    "plan",
    "plan_words",
    "refuse_old_names",
    "slim",
    "train",
    "tune",
    "tuned_figures",
]
