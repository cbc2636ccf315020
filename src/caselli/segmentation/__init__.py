"""Dense prediction: a class for every pixel, by U-Net and fully convolutional networks."""

from collections.abc import Callable
from functools import partial

from torch import nn

from caselli.segmentation.config import SegmenterConfig, build_segmenter
from caselli.segmentation.fcn import FCN, small_fcn
from caselli.segmentation.files import Segmenter, load_segmenter, save_segmenter
from caselli.segmentation.score import SegmentationScore, confusion, score
from caselli.segmentation.task import SegmentationTask
from caselli.segmentation.unet import UNet, small_unet

SEGMENTERS: dict[str, Callable[[SegmenterConfig], nn.Module]] = {
    "unet": small_unet,
    **{f"fcn{stride}s": partial(small_fcn, stride=stride) for stride in (8, 16, 32)},
}
"""Segmenters by name: configuration → network from pictures `B C H W` to logits `B classes H W`."""

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
