"""VGG's stages of 3 × 3 convolutions, with a pooling after each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from caselli.layer.norm import normalised

COUNTS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Convolutions in each stage, by the number of layers with weights."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each stage."""


def vgg_stages(
    counts: Sequence[int] = COUNTS[16],
    widths: Sequence[int] = WIDTHS,
    channels: int = 3,
    norm: str = "none",
    *,
    keep_border: bool = False,
) -> nn.Sequential:
    """Stages of convolutions, each ended by max-pooling by 2; layers are called conv1_1 … pool5.

    Arguments:
        counts: convolutions in each stage.
        widths: channels of each stage.
        channels: of the pictures.
        norm: a name of `NORMS`, after every convolution.
        keep_border: whether pooling keeps the last row of an odd size.

    Source: Simonyan and Zisserman, 2015, "Very deep convolutional networks for large-scale image
    recognition".

    Example:
        >>> [name for name, _ in vgg_stages((1, 2), (8, 8)).named_children() if name[:4] in ("conv", "pool")]
        ['conv1_1', 'pool1', 'conv2_1', 'conv2_2', 'pool2']
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = channels
    for stage, (count, out_width) in enumerate(zip(counts, widths, strict=True), 1):
        for number in range(1, count + 1):
            # a bias before batch normalisation does nothing
            bare = nn.Conv2d(width, out_width, 3, padding=1, bias=norm != "batch")
            layers[f"conv{stage}_{number}"], *rest = normalised(bare, norm)
            layers.update({f"norm{stage}_{number}": layer for layer in rest})
            layers[f"relu{stage}_{number}"] = nn.ReLU(inplace=True)
            width = out_width
        layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=keep_border)
    return nn.Sequential(layers)
