r"""Arithmetic in float64 whose bits do not depend on the order of a sum, the batch, the threads, the machine.

A product or a sum of floating-point numbers is rounded at every step, so its last bits depend on the order of
the steps, which libraries choose by batch size, number of threads and processor. Here numbers that are to be
summed are first rounded to integers so small that every partial sum is below 2⁵³: float64 holds each of them
exactly, and any order, with fused multiply-add or without, gives the same bits. What is not summed is
computed by IEEE 754's correctly rounded operations (+, −, ×, ÷, √) alone, one at a time.

Source: Ozaki, Ogita, Oishi, Rump 2012, Error-free transformations of matrix multiplication by using fast
routines of matrix multiplication and its applications.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from caselli.shapes import Float, Int, Num, Tensor

BITS = 52
"""Number of bits of an integer and of sums of integers; one less than float64 holds."""
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""log 2 in two parts, the first with few bits, so that small multiples of it are exact."""
HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""π / 2 in three such parts."""
MOST = 708.0
"""e^±708 is the last that float64 holds with all its bits."""

Grid = Callable[[Tensor, int, int], tuple[Tensor, Tensor]]


def power_of_two(exponent: Int[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """2^exponent, exactly, by writing its bits; exponents of −1022 … 1023.

    Example:
        >>> power_of_two(torch.tensor([-1, 0, 10])).tolist()
        [0.5, 1.0, 1024.0]
    """
    return ((exponent + 1023) << 52).view(torch.float64)


def exponent_above(x: Float[Tensor, "*A"]) -> Int[Tensor, "*A"]:
    """The e of 2^(e − 1) ≤ x < 2^e for x ≥ 0, read from its bits; kept within ±900.

    Example:
        >>> exponent_above(torch.tensor([1.0, 0.75, 8.0], dtype=torch.float64)).tolist()
        [1, 0, 4]
    """
    return ((x.contiguous().view(torch.int64) >> 52) - 1022).clamp(-900, 900)


def on_grid(
    x: Float[Tensor, "*A"], dim: int | Sequence[int], bits: int
) -> tuple[Float[Tensor, "*A"], Float[Tensor, "*B"]]:
    """Integers of at most 2^bits, and the power of two that leads back: a scale for each place beside `dim`.

    Example:
        >>> on_grid(torch.tensor([1.0, -0.375], dtype=torch.float64), 0, 3)
        (tensor([ 4., -2.], dtype=torch.float64), tensor([0.2500], dtype=torch.float64))
    """
    e = exponent_above(x.abs().amax(dim, keepdim=True))
    return (x * power_of_two(bits - e)).round_(), power_of_two(e - bits)


def product(
    a: Float[Tensor, "*A p k"], b: Float[Tensor, "*A k q"], grid: Grid = on_grid
) -> Float[Tensor, "*A p q"]:
    """The matrix product of rows of a and columns of b, each rounded to its own grid.

    Some 22 bits are kept of each number for k = 256, 20 for k = 4096: less than float32's 24, more than
    bfloat16's 8; and the sum is exact.

    Example:
        >>> product(torch.ones(1, 2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64))
        tensor([[2.]], dtype=torch.float64)
    """
    if not (a.numel() and b.numel()):
        return a @ b
    bits = (BITS - max(1, a.shape[-1] - 1).bit_length()) // 2
    left, from_left = grid(a, -1, bits)
    right, from_right = grid(b, -2, bits)
    return (left @ right).mul_(from_left).mul_(from_right)


def total(x: Float[Tensor, "*A"], dim: int | Sequence[int], keepdim: bool = False) -> Float[Tensor, "*B"]:
    """The sum over axes.

    Example:
        >>> total(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), 0)
        tensor(6., dtype=torch.float64)
    """
    axes = [dim] if isinstance(dim, int) else list(dim) or list(range(x.dim()))
    count = math.prod(x.shape[axis] for axis in axes)
    if not x.numel():
        return x.sum(axes, keepdim)
    integers, back = on_grid(x, axes, BITS - max(1, count - 1).bit_length())
    result = integers.sum(axes, keepdim=True) * back
    return result if keepdim else result.squeeze(axes)


def running_total(x: Float[Tensor, "*A"], dim: int) -> Float[Tensor, "*A"]:
    """The cumulated sum along an axis.

    Example:
        >>> running_total(torch.tensor([1.0, 2.0], dtype=torch.float64), 0).tolist()
        [1.0, 3.0]
    """
    integers, back = on_grid(x, dim, BITS - max(1, x.shape[dim] - 1).bit_length())
    return integers.cumsum(dim) * back


def polynomial(x: Float[Tensor, "*A"], coefficients: Sequence[float]) -> Float[Tensor, "*A"]:
    """Horner's rule, the highest power's coefficient first, each product and sum rounded by itself.

    Example:
        >>> polynomial(torch.tensor([2.0]), (1.0, 0.0, 3.0))
        tensor([7.])
    """
    y = torch.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        y = y.mul_(x).add_(c)
    return y


_EXP = tuple(1 / math.factorial(n) for n in range(12, -1, -1))
_LOG = tuple(2 / n for n in range(23, 0, -2))
_SIN = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(8, -1, -1))
_COS = tuple((-1) ** n / math.factorial(2 * n) for n in range(8, -1, -1))


def exp(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """e^x; 0 below −708.

    Example:
        >>> exp(torch.tensor([0.0, 1.0, -torch.inf], dtype=torch.float64))
        tensor([1.0000, 2.7183, 0.0000], dtype=torch.float64)
    """
    inside = x.clamp(-MOST, MOST)
    n = (inside * 1.4426950408889634).round_()
    r = (inside - n * LN2_HIGH).sub_(n * LN2_LOW)
    y = polynomial(r, _EXP).mul_(power_of_two(n.long()))
    return torch.where(x < -MOST, torch.zeros_like(y), torch.where(x.isnan(), x, y))


def log(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """The natural logarithm; −∞ at 0.

    Example:
        >>> log(torch.tensor([1.0, 10.0, 0.0], dtype=torch.float64))
        tensor([0.0000, 2.3026,   -inf], dtype=torch.float64)
    """
    bits = x.contiguous().view(torch.int64)
    e = (bits >> 52) - 1022
    m = ((bits & ((1 << 52) - 1)) | (1022 << 52)).view(torch.float64)
    small = m < 0.7071067811865476
    m, e = torch.where(small, m * 2, m), torch.where(small, e - 1, e).double()
    s = (m - 1) / (m + 1)
    y = polynomial(s * s, _LOG).mul_(s).add_(e * LN2_LOW).add_(e * LN2_HIGH)
    y = torch.where(x == 0, torch.full_like(y, -torch.inf), y)
    return torch.where((x < 0) | x.isnan(), torch.full_like(y, torch.nan), torch.where(x.isinf(), x, y))


def log1p(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """log(1 + x), without loss near 0.

    Example:
        >>> log1p(torch.tensor([1e-20], dtype=torch.float64)).item()
        1e-20
    """
    u = 1 + x
    return torch.where(u == 1, x, log(u) * x / torch.where(u == 1, 1.0, u - 1))


def expm1(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """e^x − 1, without loss near 0.

    Example:
        >>> expm1(torch.tensor([1e-20], dtype=torch.float64)).item()
        1e-20
    """
    u = exp(x)
    corrected = (u - 1) * x / torch.where(u == 1, 1.0, log(u))
    return torch.where(u == 1, x, torch.where(x.abs() < 1, corrected, u - 1))


def sine_and_cosine(x: Float[Tensor, "*A"]) -> tuple[Float[Tensor, "*A"], Float[Tensor, "*A"]]:
    """sin x and cos x, for |x| up to a few millions.

    Example:
        >>> sine_and_cosine(torch.tensor([0.0], dtype=torch.float64))
        (tensor([0.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
    """
    n = (x * 0.6366197723675814).round_()
    r = ((x - n * HALF_PI[0]) - n * HALF_PI[1]) - n * HALF_PI[2]
    square, quarter = r * r, n.long() & 3
    sine, cosine = polynomial(square, _SIN) * r, polynomial(square, _COS)
    odd = (quarter & 1).bool()
    s, c = torch.where(odd, cosine, sine), torch.where(odd, sine, cosine)
    return torch.where(quarter >= 2, -s, s), torch.where((quarter == 1) | (quarter == 2), -c, c)


def sigmoid(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """1 / (1 + e^−x).

    Example:
        >>> sigmoid(torch.tensor([0.0], dtype=torch.float64)).item()
        0.5
    """
    return 1 / (1 + exp(-x))


def tanh(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """The hyperbolic tangent.

    Example:
        >>> tanh(torch.tensor([0.0], dtype=torch.float64)).item()
        0.0
    """
    return 1 - 2 / (1 + exp(2 * x))


def softplus(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """log(1 + e^x).

    Example:
        >>> softplus(torch.tensor([0.0], dtype=torch.float64))
        tensor([0.6931], dtype=torch.float64)
    """
    return x.clamp_min(0) + log1p(exp(-x.abs()))


def erf(x: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """The error function, to 1.5e-7.

    Source: Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 7.1.26.

    Example:
        >>> erf(torch.tensor([0.0, 1.0], dtype=torch.float64)).round(decimals=6)
        tensor([0.0000, 0.8427], dtype=torch.float64)
    """
    t = 1 / (1 + 0.3275911 * x.abs())
    series = polynomial(t, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
    return x.sign() * (1 - series * t * exp(-x * x))


def softmax(x: Float[Tensor, "*A"], dim: int) -> Float[Tensor, "*A"]:
    """e^x over its sum along an axis; zeros where all is −∞.

    Example:
        >>> softmax(torch.zeros(2, dtype=torch.float64), 0).tolist()
        [0.5, 0.5]
    """
    y = exp(x - x.amax(dim, keepdim=True).clamp_min(-1e300))
    return y / total(y, dim, keepdim=True).clamp_min(1e-300)


def normalise(x: Float[Tensor, "*A"], dim: Sequence[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """x less its mean, over its deviation along axes; that mean; and 1 / deviation.

    Example:
        >>> normalise(torch.tensor([1.0, 3.0], dtype=torch.float64), [0], 0.0)[0].tolist()
        [-1.0, 1.0]
    """
    share = 1 / math.prod(x.shape[axis] for axis in dim)
    mean = total(x, dim, keepdim=True) * share
    centred = x - mean
    scale = 1 / (total(centred * centred, dim, keepdim=True) * share + epsilon).sqrt()
    return centred * scale, mean, scale


def convolution(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "D c h w"],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    grid: Grid = on_grid,
) -> Float[Tensor, "B D *P"]:
    """A two-dimensional convolution, as one product of patches and weights for each group.

    Example:
        >>> x = torch.ones(1, 1, 3, 3, dtype=torch.float64)
        >>> convolution(x, torch.ones(1, 1, 3, 3, dtype=torch.float64), (1, 1), (0, 0), (1, 1), 1).item()
        9.0
    """
    outputs, taps = weight.shape[0], weight.shape[2:]
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[2:], padding, dilation, taps, stride, strict=True)
    ]
    bits = (BITS - weight[0].numel().bit_length()) // 2
    integers, from_x = on_grid(x, [1, 2, 3], bits)
    patches = F.unfold(integers, taps, dilation=dilation, padding=padding, stride=stride)
    kernel, from_weight = grid(weight.flatten(1).mT, -2, bits)
    parts = zip(patches.chunk(groups, 1), kernel.chunk(groups, 1), strict=True)
    y = torch.cat([p.mT @ k for p, k in parts], 2).mul_(from_weight)
    return y.mT.reshape(len(x), outputs, *sizes) * from_x


def spread(x: Num[Tensor, "B C H W"], stride: Sequence[int]) -> Num[Tensor, "B C P Q"]:
    """Zeros between neighbours, so that a transposed convolution is a plain one.

    Example:
        >>> spread(torch.ones(1, 1, 1, 2), (1, 2)).flatten()
        tensor([1., 0., 1.])
    """
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], stride, strict=True)]
    wide = x.new_zeros(*x.shape[:2], *sizes)
    wide[:, :, :: stride[0], :: stride[1]] = x
    return wide
