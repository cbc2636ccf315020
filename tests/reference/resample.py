"""Resampling as it is defined: one output pixel at a time."""

from __future__ import annotations

import math

import torch

from caselli.shapes import Tensor


def along_rows(x: Tensor, size: tuple[int, int], weights) -> Tensor:
    """Separable resampling: `weights(o, n, out)` gives {input index: weight} of output o of an axis."""
    matrices = []
    for n, out in zip(x.shape[2:], size, strict=True):
        matrix = torch.zeros(out, n, dtype=x.dtype)
        for o in range(out):
            for index, weight in weights(o, n, out):
                matrix[o, min(max(index, 0), n - 1)] += weight
        matrices.append(matrix)
    return torch.einsum("hi,wj,bcij->bchw", *matrices, x)


def nearest(o: int, n: int, out: int):
    return [(o * n // out, 1.0)]


def nearest_exact(o: int, n: int, out: int):
    return [((2 * o + 1) * n // (2 * out), 1.0)]


def bilinear(o: int, n: int, out: int):
    source = max((o + 0.5) * n / out - 0.5, 0.0)
    left = math.floor(source)
    return [(left, 1 - (source - left)), (left + 1, source - left)]


def cubic(distance: float, a: float = -0.75) -> float:
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def bicubic(o: int, n: int, out: int):
    source = (o + 0.5) * n / out - 0.5
    left = math.floor(source)
    return [(index, cubic(source - index)) for index in range(left - 1, left + 3)]


def area(o: int, n: int, out: int):
    first, last = o * n // out, -(-(o + 1) * n // out) - 1
    return [(index, 1 / (last - first + 1)) for index in range(first, last + 1)]


def zero_insertion(phases: Tensor):
    """Zeros between pixels, then the filter: output o reads every inserted pixel under its window."""
    scale, reach = len(phases), phases.shape[1] // 2

    def weights(o: int, n: int, out: int):
        inserted = {index * scale: index for index in range(-reach, n + reach)}  # place → pixel
        centre = o // scale * scale
        places = range(centre - reach * scale, centre + reach * scale + 1)
        return [
            (inserted[p], float(phases[o % scale, (p - centre) // scale + reach]))
            for p in places
            if p in inserted
        ]

    return weights


def blur(taps: Tensor, scale: int):
    def weights(o: int, n: int, out: int):
        return [(o * scale + k - (len(taps) - 1) // 2, float(tap)) for k, tap in enumerate(taps)]

    return weights


def transposed(x: Tensor, weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
    """Every input pixel paints its kernel."""
    y = x.new_zeros(len(x), weight.shape[1], *size)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            for k in range(weight.shape[2]):
                for l in range(weight.shape[3]):
                    row, column = i * stride - padding + k, j * stride - padding + l
                    if 0 <= row < size[0] and 0 <= column < size[1]:
                        y[:, :, row, column] += x[:, :, i, j] @ weight[:, :, k, l]
    return y


def reassemble(x: Tensor, weights: Tensor, reach: int, scale: int) -> Tensor:
    """CARAFE's weighted sum."""
    taps = 2 * reach + 1
    y = x.new_zeros(*x.shape[:2], x.shape[2] * scale, x.shape[3] * scale)
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            for m in range(taps):
                for n in range(taps):
                    i, j = row // scale + m - reach, column // scale + n - reach
                    if 0 <= i < x.shape[2] and 0 <= j < x.shape[3]:
                        y[:, :, row, column] += weights[:, m * taps + n, row, column, None] * x[:, :, i, j]
    return y


def sample_bilinear(x: Tensor, positions: Tensor) -> Tensor:
    """DySample's reading between pixels."""
    batch, groups, _, height, length = positions.shape
    grouped = x.unflatten(1, (groups, -1))
    y = x.new_zeros(batch, groups, grouped.shape[2], height, length)
    for b in range(batch):
        for g in range(groups):
            for row in range(height):
                for column in range(length):
                    u, v = positions[b, g, :, row, column].tolist()
                    u, v = min(max(u, 0), x.shape[3] - 1), min(max(v, 0), x.shape[2] - 1)
                    for i in (math.floor(v), math.floor(v) + 1):
                        for j in (math.floor(u), math.floor(u) + 1):
                            weight = max(0.0, 1 - abs(v - i)) * max(0.0, 1 - abs(u - j))
                            if weight:
                                y[b, g, :, row, column] += weight * grouped[b, g, :, i, j]
    return y.flatten(1, 2)
