"""The effective field: how much each position of a picture moves an output of a trained network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from caselli.errors import UnknownName, UserError
from caselli.shapes import Float, Tensor


def effective_field(
    module: nn.Module,
    pictures: Float[Tensor, "B C *S"],
    layer: str | None = None,
    position: tuple[int, ...] | None = None,
) -> Float[Tensor, "*S"]:
    r"""The share of the gradient that falls on each position: where the network really looks.

    .. math:: e(p) \propto \sum_{b, c} \Big| \frac{\partial \sum_k y_{b,k}(o)}{\partial x_{b,c}(p)} \Big|

    with the module's own weights, averaged over pictures; usually far smaller than the receptive field.

    Arguments:
        module: any module, in the mode that it is in.
        pictures: pictures that the gradient is averaged over.
        layer: the path of a module; the module's own output unless given.
        position: the output position; the middle unless given.

    Returns:
        Shares, of sum 1 (0 if no gradient reaches the picture).

    Source: Luo et al., 2016, "Understanding the effective receptive field in deep convolutional neural
    networks".

    Example:
        >>> effective_field(nn.AvgPool2d(2), torch.ones(1, 1, 4, 4), position=(0, 0))[0]
        tensor([0.2500, 0.2500, 0.0000, 0.0000])
    """
    x = pictures.detach().clone().requires_grad_()
    with torch.enable_grad(), outputs_of(module, layer) as found:
        module(x)
    shares = gradient_at(found[-1], x, position)
    total = shares.sum()
    return shares / total if total > 0 else shares


@contextlib.contextmanager
def outputs_of(module: nn.Module, layer: str | None) -> Iterator[list[Tensor]]:
    """Collects the outputs of a layer, by a hook that is taken away afterwards."""
    found: list[Tensor] = []
    modules = dict(module.named_modules())
    if layer is not None and layer not in modules:
        raise UnknownName("layer", layer, [name for name in modules if name])
    chosen = module if layer is None else modules[layer]

    def keep(_, __, output):
        found.append(output if isinstance(output, Tensor) else output[0])

    handle = chosen.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def gradient_at(y: Tensor, x: Tensor, position: tuple[int, ...] | None) -> Tensor:
    space = y.shape[2:]
    position = position if position is not None else tuple(n // 2 for n in space)
    if len(position) != len(space):
        raise UserError(
            f"position {position} was given", f"{len(space)} numbers were expected, one per spatial axis"
        )
    chosen = y[(slice(None), slice(None), *position)].sum()
    if not chosen.requires_grad:
        return torch.zeros(x.shape[2:], dtype=x.dtype)
    (gradient,) = torch.autograd.grad(chosen, x, allow_unused=True)
    return torch.zeros(x.shape[2:], dtype=x.dtype) if gradient is None else gradient.abs().sum((0, 1))
