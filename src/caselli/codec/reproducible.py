"""Runs a network as it is, each of its operations by arithmetic that always gives the same bits."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from caselli.codec import arithmetic
from caselli.codec.arithmetic import BITS, exp, log, on_grid, sigmoid, softplus, total
from caselli.errors import UserError
from caselli.private import DispatchMode, tree_leaves
from caselli.shapes import Tensor

aten = torch.ops.aten

_NAMES = """
_assert_async _local_scalar_dense _reshape_alias _unsafe_view _upsample_nearest_exact2d abs alias all
amax amin any arange argmax argmin bitwise_and bitwise_left_shift bitwise_not bitwise_or
bitwise_right_shift bitwise_xor cat ceil chunk clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clone
constant_pad_nd
contiguous copy_ cummax detach diagonal embedding empty empty_like empty_strided eq expand eye fill_
flip floor floor_divide frexp full full_like gather ge gt im2col index index_put_ index_select isfinite isinf
isnan le lift_fresh lift_fresh_copy logical_and logical_not logical_or lt masked_fill masked_fill_ max
maximum min minimum mul mul_ ne neg neg_ new_empty new_full new_ones new_zeros ones ones_like permute
pixel_shuffle pixel_unshuffle relu relu_ remainder repeat reshape roll round scalar_tensor scatter
select sign slice sort split split_with_sizes sqrt sqrt_ squeeze stack t topk transpose tril tril_ triu
triu_ trunc unbind unfold unsafe_split unsqueeze upsample_nearest1d upsample_nearest2d view view_as
where zero_ zeros zeros_like
"""
AS_THEY_ARE = frozenset(_NAMES.split())
"""Operations that copy, compare, or round once by IEEE 754: the same bits anywhere already."""


class Reproducible(DispatchMode):
    """While it is in force, every operation is one of `AS_THEY_ARE`, one of `caselli.codec.arithmetic`, or
    refused.

    Arguments:
        network: whose parameters and buffers do not change; their grids are kept.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        constants = (*network.parameters(), *network.buffers())
        self.static = {x.data_ptr(): x for x in constants if x.numel()}
        self.kept: dict[tuple, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if name == "complex" or any(x.is_complex() for x in tensors):
            raise refused("complex numbers")
        if name in AS_THEY_ARE:
            return operation(*args, **kwargs)
        if name == "_to_copy":
            return operation(*args, **kwargs)
        return self._replaced(operation, name, args, kwargs)

    def _replaced(self, operation, name, args, kwargs):
        """The order-free twin, in float64; the result in the inputs' own dtype, and where it belongs."""
        floating = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.is_floating_point()]
        base, out = name.rstrip("_") if not name.startswith("_") else name, kwargs.pop("out", None)
        if not floating and base not in TWINS_OF_INTEGERS:
            return operation(*args, **kwargs)
        if base not in TWINS:
            raise refused(base)
        dtype = floating[0].dtype if floating else kwargs.get("dtype") or torch.get_default_dtype()
        wide = [_wide(x) for x in args]
        result = TWINS[base](self, *wide, **{key: _wide(x) for key, x in kwargs.items()})
        if out is None and name.endswith("_"):
            out = args[0]
        if out is not None:
            return out.copy_(result)
        asked = kwargs.get("dtype") or dtype
        return tuple(x.to(asked) for x in result) if isinstance(result, tuple) else result.to(asked)

    def grid(self, x: Tensor, dim: int, bits: int) -> tuple[Tensor, Tensor]:
        """`on_grid`, once for each parameter."""
        if x.data_ptr() not in self.static:
            return on_grid(x, dim, bits)
        key = (x.data_ptr(), x.shape, x.stride(), dim, bits)
        if key not in self.kept:
            self.kept[key] = tuple(part.contiguous() for part in on_grid(x, dim, bits))
        return self.kept[key]


def _wide(x: Any) -> Any:
    return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x


def refused(operation: str) -> UserError:
    """The codec's answer to a network that it cannot run."""
    return UserError(
        f"a network with {operation} was given",
        "the codec needs operations whose bits do not depend on the machine",
        "see docs/codec.md for the mixers and tokenizers that it serves",
    )


@contextlib.contextmanager
def reproducible(mode: Reproducible) -> Iterator[None]:
    """Runs a block under the mode, without gradients, attention in its plain products."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), mode:
        yield


# twins: the mode first, then the operation's own arguments ------------------------------------------------


def _add(mode, a, b, alpha=1):
    return a + (b if alpha == 1 else b * alpha)


def _sub(mode, a, b, alpha=1):
    return a - (b if alpha == 1 else b * alpha)


def _div(mode, a, b, rounding_mode=None):
    like = a if isinstance(a, Tensor) else b
    b = torch.as_tensor(b, dtype=torch.float64, device=like.device)
    return torch.div(a, b, rounding_mode=rounding_mode)


def _addmm(mode, c, a, b, beta=1, alpha=1):
    y = arithmetic.product(a, b, mode.grid)
    return (c if beta == 1 else c * beta) + (y if alpha == 1 else y * alpha)


def _mv(mode, a, b):
    return arithmetic.product(a, b[:, None], mode.grid)[:, 0]


def _dot(mode, a, b):
    return total(a * b, 0)


def _layer_norm(mode, x, shape, weight, bias, epsilon):
    y, mean, scale = arithmetic.normalise(x, list(range(-len(shape), 0)), epsilon)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, mean, scale


def _group_norm(mode, x, weight, bias, batch, channels, positions, groups, epsilon):
    y, mean, scale = arithmetic.normalise(x.reshape(batch, groups, -1), [-1], epsilon)
    y, shape = y.reshape(x.shape), (1, channels) + (1,) * (x.dim() - 2)
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape), mean.flatten(1), scale.flatten(1)


def _gelu(mode, x, approximate="none"):
    if approximate == "tanh":
        return x * sigmoid(1.5957691216057308 * (x + 0.044715 * (x * x * x)))
    return 0.5 * x * (1 + arithmetic.erf(x * 0.7071067811865476))


def _softmax(mode, x, dim, half_to_float=False, dtype=None):
    return arithmetic.softmax(x, dim)


def _log_sum_exp(mode, x, dim, keepdim=False):
    dim = dim if isinstance(dim, int) else dim[0]
    most = x.amax(dim, keepdim=True)
    y = log(total(exp(x - most), dim, keepdim=True)) + most
    return y if keepdim else y.squeeze(dim)


def _log_softmax(mode, x, dim, half_to_float=False):
    return x - _log_sum_exp(mode, x, dim, keepdim=True)


def _sum(mode, x, dim=None, keepdim=False, dtype=None):
    return total(x, dim or list(range(x.dim())), keepdim)


def _mean(mode, x, dim=None, keepdim=False, dtype=None):
    dim = dim or list(range(x.dim()))
    axes = [dim] if isinstance(dim, int) else dim
    return total(x, dim, keepdim) * (1 / math.prod(x.shape[axis] for axis in axes))


def _scatter_add(mode, x, dim, index, source):
    integers, back = on_grid(source, dim, BITS - max(1, source.shape[dim]).bit_length())
    return x + torch.zeros_like(x).scatter_add_(dim, index, integers) * back


def _norm(mode, x, order=2, dim=None, keepdim=False, dtype=None):
    if order != 2:
        raise refused(f"a norm of order {order}")
    return _sum(mode, x * x, dim, keepdim).sqrt()


def _pow(mode, base, power):
    if not isinstance(base, Tensor) or isinstance(power, Tensor):
        device = (power if isinstance(power, Tensor) else base).device
        base = torch.as_tensor(base, dtype=torch.float64, device=device)
        return exp(log(base) * power)
    if power == int(power) and 0 <= power <= 8:
        return math.prod([base] * int(power)) if power else torch.ones_like(base)
    if power in (-1, -2):
        return 1 / _pow(mode, base, -power)
    if abs(power) == 0.5:
        return base.sqrt() if power > 0 else 1 / base.sqrt()
    return exp(log(base) * power)


def _convolution(mode, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    if x.dim() == 3:
        wide = [[1, *stride], [0, *padding], [1, *dilation], transposed, [0, *output_padding], groups]
        return _convolution(mode, x.unsqueeze(2), weight.unsqueeze(2), bias, *wide).squeeze(2)
    if transposed:
        x, weight, padding = _as_plain(x, weight, stride, padding, dilation, output_padding, groups)
        stride = [1, 1]
    y = arithmetic.convolution(x, weight, stride, padding, dilation, groups, mode.grid)
    return y if bias is None else y + bias[:, None, None]


def _as_plain(x, weight, stride, padding, dilation, output_padding, groups):
    """A transposed convolution's input, weight and padding as a plain one of stride 1."""
    x = arithmetic.spread(x, stride)
    margins = [d * (k - 1) - p for d, k, p in zip(dilation, weight.shape[2:], padding, strict=True)]
    if min(margins) < 0:
        raise refused("a transposed convolution that cuts into its taps")
    (top, left), (more_rows, more_columns) = margins, output_padding
    x = torch.nn.functional.pad(x, (left, left + more_columns, top, top + more_rows))
    weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(2, 3)
    return x, weight, [0, 0]


def _bilinear_slope(mode, x, slope=0.01):
    return torch.where(x > 0, x, x * slope)


def _elu(mode, x, alpha=1, scale=1, input_scale=1):
    return scale * torch.where(x > 0, x, alpha * arithmetic.expm1((x * input_scale).clamp_max(0)))


def _glu(mode, x, dim=-1):
    a, b = x.chunk(2, dim)
    return a * sigmoid(b)


def _linspace(mode, start, end, steps, dtype=None, device=None, **layout):
    if steps == 1:
        return torch.full((1,), start, dtype=torch.float64, device=device)
    return torch.arange(steps, dtype=torch.float64, device=device) * ((end - start) / (steps - 1)) + start


def _solve_triangular(mode, a, b, upper, left=True, unitriangular=False):
    """A row after another: each is what is left of it when those before are known."""
    if not left:
        return _solve_triangular(mode, a.mT, b.mT, not upper, True, unitriangular).mT
    if upper:
        return _solve_triangular(mode, a.flip(-2, -1), b.flip(-2), False, True, unitriangular).flip(-2)
    rows: list[Tensor] = []
    for i in range(a.shape[-1]):
        row = b[..., i, :]
        if rows:
            row = row - total(a[..., i, :i, None] * torch.stack(rows, -2), -2)
        rows.append(row if unitriangular else row / a[..., i, i, None])
    return torch.stack(rows, -2)


def _alone(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda mode, x: function(x)


TWINS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "sub": _sub,
    "rsub": lambda mode, a, b, alpha=1: _sub(mode, b, a, alpha),
    "div": _div,
    "reciprocal": _alone(lambda x: 1 / x),
    "rsqrt": _alone(lambda x: 1 / x.sqrt()),
    "pow": _pow,
    "addcmul": lambda mode, a, b, c, value=1: _add(mode, a, b * c, value),
    "addcdiv": lambda mode, a, b, c, value=1: _add(mode, a, b / c, value),
    "lerp": lambda mode, a, b, weight: a + weight * (b - a),
    "mm": lambda mode, a, b: arithmetic.product(a, b, mode.grid),
    "bmm": lambda mode, a, b: arithmetic.product(a, b, mode.grid),
    "addmm": _addmm,
    "baddbmm": _addmm,
    "mv": _mv,
    "dot": _dot,
    "sum": _sum,
    "mean": _mean,
    "scatter_add": _scatter_add,
    "cumsum": lambda mode, x, dim, dtype=None: arithmetic.running_total(x, dim),
    "linalg_vector_norm": _norm,
    "linalg_solve_triangular": _solve_triangular,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "convolution": _convolution,
    "exp": _alone(exp),
    "log": _alone(log),
    "log1p": _alone(arithmetic.log1p),
    "expm1": _alone(arithmetic.expm1),
    "sin": _alone(lambda x: arithmetic.sine_and_cosine(x)[0]),
    "cos": _alone(lambda x: arithmetic.sine_and_cosine(x)[1]),
    "tanh": _alone(arithmetic.tanh),
    "sigmoid": _alone(sigmoid),
    "silu": _alone(lambda x: x * sigmoid(x)),
    "softplus": lambda mode, x, beta=1, threshold=20: softplus(x * beta) * (1 / beta),
    "log_sigmoid_forward": _alone(lambda x: (-softplus(-x), x)),
    "erf": _alone(arithmetic.erf),
    "gelu": _gelu,
    "glu": _glu,
    "elu": _elu,
    "leaky_relu": _bilinear_slope,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "logsumexp": _log_sum_exp,
    "linspace": _linspace,
}
"""Name of an operation → its counterpart in `caselli.codec.arithmetic`."""

TWINS_OF_INTEGERS = frozenset({"linspace", "pow", "div", "mean", "exp", "log", "sigmoid", "sqrt"})
"""Operations that make floating-point numbers from integers, or from nothing."""
