"""Dense prediction: a class for every pixel, by U-Net and fully convolutional networks."""

from caselli.segmentation.config import SEGMENTERS, SegmenterConfig, build_segmenter
from caselli.segmentation.fcn import FCN
from caselli.segmentation.files import Segmenter, load_segmenter, save_segmenter
from caselli.segmentation.score import SegmentationScore, confusion, score
from caselli.segmentation.task import SegmentationTask
from caselli.segmentation.unet import UNet

__all__ = [
    "FCN",
    "SEGMENTERS",
    "SegmentationScore",
    "SegmentationTask",
    "Segmenter",
    "SegmenterConfig",
    "UNet",
    "build_segmenter",
    "confusion",
    "load_segmenter",
    "save_segmenter",
    "score",
]
