"""The receptive field by gradients: the oracle of `ReceptiveField`, found in another way.

The support of ∂ output / ∂ input is what an output sees. Real networks hide parts of it (a ReLU that is off,
a maximum that is elsewhere, terms that cancel, gradients that overflow), so the network is run with stand-ins
that cannot: positive random weights of sum one a unit, means for maxima, sums for statistics.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from caselli.anatomy.effective import gradient_at, outputs_of
from caselli.anatomy.recording import evaluating
from caselli.shapes import Bool, Float, Tensor


def _mean_window(pool: Callable) -> Callable:
    """The mean over the window that a maximum is taken over, dilation included."""

    def run(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        space = pool(x[:1, :1].detach(), kernel_size, stride, padding, dilation, ceil_mode)
        rank = x.dim() - 2
        size, step, pad, spread = (
            (value,) * rank if isinstance(value, int) else tuple(value)
            for value in (kernel_size, stride or kernel_size, padding, dilation)
        )
        # enough padding at the end for windows that `ceil_mode` adds
        ends = [
            max((out - 1) * s + d * (k - 1) + 1 - n - p, 0)
            for out, s, d, k, n, p in zip(space.shape[2:], step, spread, size, x.shape[2:], pad, strict=True)
        ]
        pads = [value for pair in zip(reversed(pad), reversed(ends), strict=True) for value in pair]
        kernel = x.new_ones(x.shape[1], 1, *size) / torch.Size(size).numel()
        convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        y = convolve(F.pad(x, pads), kernel, stride=step, dilation=spread, groups=x.shape[1])
        return y[(..., *(slice(n) for n in space.shape[2:]))]

    return run


def _everywhere(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The place itself and the mean over `axes`: positive, linear, and sees what a statistic sees."""
    return (x + x.mean(axes, keepdim=True)) / 2


def _softmax(x, dim=-1, *_, **__):
    return 1 + _everywhere(x, (dim,))  # 1: softmax of zeros is not zero


def _group_norm(x, num_groups, *_, **__):
    grouped = x.unflatten(1, (num_groups, -1))
    return _everywhere(grouped, tuple(range(2, grouped.dim()))).flatten(1, 2)


def _layer_norm(x, normalized_shape, *_, **__):
    return _everywhere(x, tuple(range(-len(normalized_shape), 0)))


def _instance_norm(x, *_, **__):
    return _everywhere(x, tuple(range(2, x.dim())))


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **_):
    """The sum of what softmax attention multiplies: queries, and the keys and values that the mask allows."""
    shape = (query.shape[-2], key.shape[-2])
    allowed = query.new_ones(shape)
    if is_causal:
        allowed = allowed.tril()
    if attn_mask is not None:
        allowed = (attn_mask if attn_mask.dtype == torch.bool else attn_mask > -float("inf")).to(query.dtype)
    weights = allowed / allowed.sum(-1, keepdim=True).clamp_min(1)
    seen = query.mean(-1, keepdim=True) + weights @ key.mean(-1, keepdim=True)
    return weights @ value + seen


def _first(x, *_, **__):
    return x


STAND_INS: dict[Callable, Callable] = {
    F.max_pool1d: _mean_window(F.max_pool1d),
    F.max_pool2d: _mean_window(F.max_pool2d),
    F.max_pool3d: _mean_window(F.max_pool3d),
    F.adaptive_max_pool1d: lambda x, size, *_: F.adaptive_avg_pool1d(x, size),
    F.adaptive_max_pool2d: lambda x, size, *_: F.adaptive_avg_pool2d(x, size),
    F.adaptive_max_pool3d: lambda x, size, *_: F.adaptive_avg_pool3d(x, size),
    F.softmax: _softmax,
    torch.softmax: _softmax,
    torch.Tensor.softmax: _softmax,
    F.log_softmax: _softmax,
    F.scaled_dot_product_attention: _attention,
    torch.amax: lambda x, dim, keepdim=False: x.mean(dim, keepdim),
    torch.Tensor.amax: lambda x, dim, keepdim=False: x.mean(dim, keepdim),
}
for _name in ("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "hardswish", "hardtanh"):
    STAND_INS[getattr(F, _name)] = _first
for _name in ("sigmoid", "tanh", "relu", "relu_"):
    STAND_INS[getattr(torch, _name)] = STAND_INS[getattr(torch.Tensor, _name)] = _first
STAND_INS |= {
    F.softplus: _first,
    F.logsigmoid: _first,
    F.hardsigmoid: _first,
    F.softsign: _first,
    F.prelu: _first,
}

COUNTED: dict[Callable, Callable] = {
    F.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    F.instance_norm: _instance_norm,
    F.rms_norm: _layer_norm,
}
LEFT_OUT: dict[Callable, Callable] = dict.fromkeys([*COUNTED, F.normalize], _first)
LEFT_OUT[F.batch_norm] = COUNTED[F.batch_norm] = _first


class _StandIns(TorchFunctionMode):
    """Functions that hide parts of the field are replaced by positive linear ones of the same field."""

    def __init__(self, table: dict[Callable, Callable]) -> None:
        super().__init__()
        self.table = table

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return self.table.get(function, function)(*args, **(kwargs or {}))


def _positive_state(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Random positive weights whose sum over a unit's inputs is about one; no biases."""
    state = {}
    for name, tensor in module.named_parameters():
        if tensor.dim() < 2:
            state[name] = torch.zeros(tensor.shape, dtype=torch.float64)
            continue
        draw = torch.rand(tensor.shape, dtype=torch.float64, generator=generator) + 0.5
        state[name] = draw / (tensor.numel() / tensor.shape[0])
    for name, tensor in module.named_buffers():
        state[name] = tensor.double() if tensor.is_floating_point() else tensor
    return state


def gradient_field(
    module: nn.Module,
    input_shape: tuple[int, ...],
    layer: str | None = None,
    position: tuple[int, ...] | None = None,
    *,
    count_statistics: bool = False,
    seed: int = 0,
) -> Float[Tensor, "*S"]:
    """How much each position of the picture moves one output, with positive stand-ins for everything.

    Zero exactly where the output does not see; this is what `ReceptiveField` must agree with, by another way.

    Arguments:
        module: any module; its weights are replaced for the occasion, and left as they were.
        input_shape: (C, *space).
        layer: the path of a module; the module's own output unless given.
        position: the output position; the middle unless given.
        count_statistics: whether normalisations see what their statistics span.
        seed: of the random weights.

    Returns:
        Non-negative numbers, the shape of the picture's space, float64.

    Example:
        >>> field = gradient_field(nn.Conv1d(1, 1, 3, dilation=2), (1, 9), position=(1,))
        >>> field.nonzero().flatten()
        tensor([1, 3, 5])
    """
    generator = torch.Generator().manual_seed(seed)
    table = STAND_INS | (COUNTED if count_statistics else LEFT_OUT)
    x = (torch.rand(1, *input_shape, dtype=torch.float64, generator=generator) + 0.5).requires_grad_()
    state = _positive_state(module, generator)
    with evaluating(module), outputs_of(module, layer) as found, _StandIns(table):
        torch.func.functional_call(module, state, (x,))
    return gradient_at(found[-1], x, position).abs()


def support(field: Float[Tensor, "*S"], tolerance: float = 1e-13) -> Bool[Tensor, "*S"]:
    """Where a gradient field is not zero, up to what float64 leaves of interpolation weights that are zero.

    Example:
        >>> support(torch.tensor([0.0, 1e-20, 0.5]))
        tensor([False, False,  True])
    """
    return field > tolerance * field.amax().clamp_min(1e-300)
