"""A network without what does nothing: its redundant biases, and batch normalisations that follow a layer."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.anatomy.biases import biases
from caselli.anatomy.recording import evaluating, record
from caselli.anatomy.shift import Effect
from caselli.anatomy.tape import Value
from caselli.errors import UserError
from caselli.shapes import Tensor


def without_redundant_biases(module: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy without its redundant biases, which computes the same.

    The running means of batch normalisation, which have learnt the biases, are corrected by what the biases
    added to them, so that evaluation gives the same too.

    Arguments:
        module: any module of one input.
        input_shape: (C, *space) of one picture.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> without_redundant_biases(network, (3, 8, 8))[0].bias is None
        True
    """
    lean = copy.deepcopy(module)
    for bias in biases(module, input_shape):
        if bias.effect in (Effect.REDUNDANT, Effect.UNUSED):
            path, _, last = bias.name.rpartition(".")
            layer = lean.get_submodule(path)
            if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
                setattr(layer, last, None)
            else:
                nn.init.zeros_(getattr(layer, last))
    _correct_running_means(module, lean, input_shape)
    return lean


@torch.no_grad()
def _correct_running_means(module: nn.Module, lean: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Runs both on noise; what differs before a batch normalisation is a constant per channel."""
    given: list[Tensor] = []
    like = next(module.parameters())
    x = torch.randn(2, *input_shape, dtype=like.dtype, device=like.device)

    def correct(norm, args):
        shift = (
            (given.pop(0) - args[0]).flatten(2) if args[0].dim() > 2 else (given.pop(0) - args[0])[..., None]
        )
        if norm.running_mean is not None:
            norm.running_mean -= shift.mean((0, 2))

    handles = [
        n.register_forward_pre_hook(lambda n, args: given.append(args[0].clone()))
        for n in _batch_norms(module)
    ]
    handles += [n.register_forward_pre_hook(correct) for n in _batch_norms(lean)]
    with evaluating(module), evaluating(lean):
        module(x)
        lean(x)
    for handle in handles:
        handle.remove()


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def fold_batch_norm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    r"""One layer that does what a layer and the batch normalisation after it do in evaluation.

    .. math:: W' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}\, W, \qquad
        b' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}\,(b - \mu) + \beta

    Arguments:
        layer: a convolution, transposed convolution or linear layer.
        norm: the batch normalisation of its output, with running statistics.

    Returns:
        A copy of the layer, with a bias.
    """
    if norm.running_mean is None:
        raise UserError(
            "a batch normalisation without running statistics was given",
            "one that has them was expected",
            "it normalises by each batch, and cannot be folded",
        )
    folded = copy.deepcopy(layer)
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.detach()
    shift = 0 if norm.bias is None else norm.bias.detach()
    bias = torch.zeros_like(norm.running_mean) if layer.bias is None else layer.bias.detach()
    weight = layer.weight.detach()
    if getattr(layer, "transposed", False):  # (inputs, outputs / groups, …): the outputs of each group apart
        grouped = weight.unflatten(0, (layer.groups, -1))
        per_group = scale.view(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = (grouped * per_group).flatten(0, 1)
    else:
        weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    folded.weight = nn.Parameter(weight)
    folded.bias = nn.Parameter((bias - norm.running_mean) * scale + shift)
    return folded


def folded(module: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy in which every batch normalisation that can be is folded into the layer before it.

    It can be if it is the only one that uses that layer's output, and each is called once.

    Arguments:
        module: any module of one input.
        input_shape: (C, *space) of one picture.

    Example:
        >>> folded(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (3, 8, 8))[1]
        Identity()
    """
    tape = record(module, (2, *input_shape))
    uses: dict[Value, int] = {}
    for operation in tape.operations:
        for value in operation.inputs():
            uses[value] = uses.get(value, 0) + 1
    calls = [call.path for call in tape.calls]
    makers = {call.outputs[0]: call for call in tape.calls if call.outputs and call.is_leaf}
    lean = copy.deepcopy(module)
    for call in tape.calls:
        before = makers.get(call.inputs[0]) if call.inputs else None
        if (
            isinstance(call.module, nn.modules.batchnorm._BatchNorm)
            and call.module.running_mean is not None
            and before is not None
            and isinstance(before.module, nn.modules.conv._ConvNd | nn.Linear)
            and uses[call.inputs[0]] == 1
            and call.inputs[0] not in tape.outputs
            and (not isinstance(before.module, nn.Linear) or len(call.inputs[0].shape) == 2)
            and calls.count(call.path) == calls.count(before.path) == 1
        ):
            lean.set_submodule(before.path, fold_batch_norm(before.module, call.module))
            lean.set_submodule(call.path, nn.Identity())
    return lean
