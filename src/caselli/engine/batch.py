"""Batches: tensors, or frozen dataclasses whose tensors and tuples have the samples on their first axis."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import torch

from caselli.shapes import Tensor

Batch = TypeVar("Batch")


def to_device(batch: Batch, device: str) -> Batch:
    """The batch with its tensors on a device, copied while the process goes on."""
    return _map(batch, lambda value: _moved(value, device) if isinstance(value, Tensor) else value)


def _moved(tensor: Tensor, device: str) -> Tensor:
    if device.startswith("cuda") and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # from other memory a copy is waited for
    return tensor.to(device, non_blocking=True)


def samples(batch: Any) -> int:
    """Number of samples in a batch.

    Example:
        >>> import torch
        >>> samples(torch.zeros(4, 2))
        4
    """
    if isinstance(batch, Tensor):
        return len(batch)
    return next(len(value) for value in _fields(batch).values() if value is not None)


def pieces(batch: Batch, count: int) -> list[Batch]:
    """The batch cut into `count` equal parts.

    Example:
        >>> import torch
        >>> from caselli.data import Batch
        >>> [len(p.indices) for p in pieces(Batch(torch.zeros(4, 1, 2, 2), None, None, torch.arange(4)), 2)]
        [2, 2]
    """
    if count == 1:
        return [batch]
    size, rest = divmod(samples(batch), count)
    assert rest == 0, "samples would be left out"
    return [_map(batch, lambda value, i=i: value[i * size : (i + 1) * size]) for i in range(count)]


def of_shape(batch: Batch, count: int) -> Batch:
    """A batch of so many samples with the shapes of another's; its numbers are 0.

    Example:
        >>> import torch
        >>> of_shape(torch.ones(1, 2), 3).shape
        torch.Size([3, 2])
    """

    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.zeros(count, *value.shape[1:], dtype=value.dtype)
        return value[:1] * count

    return _map(batch, changed)


def _map(batch: Any, function: Any) -> Any:
    if isinstance(batch, Tensor):
        return function(batch)
    changed = {name: function(value) for name, value in _fields(batch).items() if value is not None}
    return dataclasses.replace(batch, **changed)


def _fields(batch: Any) -> dict[str, Any]:
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
