"""Convolutional parts. What makes a picture larger or smaller is in `UPSAMPLERS` and `DOWNSAMPLERS`."""

from caselli.layer.resample import DOWNSAMPLERS, UPSAMPLERS, Downsampler, Upsampler

__all__ = ["DOWNSAMPLERS", "UPSAMPLERS", "Downsampler", "Upsampler"]
