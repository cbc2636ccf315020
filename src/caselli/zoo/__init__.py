"""A small zoo of architectures (no weights), to look at and to compare with.

`NETWORKS[name](convention=Convention.TORCHVISION)` builds a network, without memory under
`torch.device("meta")`. Rooms above this one may add their own with `register_network`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from caselli.zoo.alexnet import alexnet
from caselli.zoo.dense import fcn, patchgan, unet
from caselli.zoo.inception import inception_resnet_v2, inception_v2, inception_v3, inception_v4
from caselli.zoo.mobilenet import mobilenet
from caselli.zoo.parts import Convention
from caselli.zoo.resnet import resnet
from caselli.zoo.vgg import vgg
from caselli.zoo.vqgan import vqgan_decoder, vqgan_encoder

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,
    **{f"vgg{depth}": partial(vgg, depth=depth) for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": partial(resnet, depth=depth) for depth in (18, 34, 50, 101, 152, 200)},
    **{f"resnet{depth}_v2": partial(resnet, depth=depth, version=2) for depth in (50, 101, 152, 200)},
    "mobilenet": mobilenet,
    "inception_v2": inception_v2,
    "inception_v3": inception_v3,
    "inception_v4": inception_v4,
    "inception_resnet_v2": inception_resnet_v2,
    "unet": unet,
    **{f"fcn{stride}s": partial(fcn, stride=stride) for stride in (8, 16, 32)},
    "patchgan": patchgan,
    "vqgan_encoder": vqgan_encoder,
    "vqgan_decoder": vqgan_decoder,
}
"""Name → a function of the `Convention`."""

_INPUT = (3, 224, 224)
_INPUTS = {"vqgan_encoder": (3, 256, 256), "vqgan_decoder": (256, 16, 16), "unet": (3, 256, 256)}
"""Default input shapes of networks for which it is not `INPUT`."""


def input_shape(name: str) -> tuple[int, ...]:
    """Channels and sizes of the input that a network of the table was made for.

    Example:
        >>> input_shape("resnet50")
        (3, 224, 224)
    """
    return _INPUTS.get(name, _INPUT)


def register_network(name: str, build: Callable[..., nn.Module]) -> None:
    """Adds a network to the zoo: `build(convention=…)` gives a module."""
    NETWORKS[name] = build


__all__ = ["NETWORKS", "Convention", "input_shape", "register_network"]
