"""Batches are records: frozen dataclasses whose tensors and tuples have the samples on their first axis."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from caselli.shapes import Tensor

Batch = TypeVar("Batch")


def to_device(batch: Batch, device: str) -> Batch:
    """The record with its tensors on a device."""
    return _map(
        batch, lambda value: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
    )


def pieces(batch: Batch, count: int) -> list[Batch]:
    """The record cut into `count` equal parts.

    Example:
        >>> import torch
        >>> from caselli.data import Batch
        >>> [len(p.indices) for p in pieces(Batch(torch.zeros(4, 1, 2, 2), None, None, torch.arange(4)), 2)]
        [2, 2]
    """
    if count == 1:
        return [batch]
    size = len(batch.indices) // count
    return [_map(batch, lambda value, i=i: value[i * size : (i + 1) * size]) for i in range(count)]


def _map(batch: Any, function: Any) -> Any:
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return dataclasses.replace(batch, **{k: function(v) for k, v in values.items() if v is not None})
