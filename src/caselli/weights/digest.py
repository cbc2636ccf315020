"""A digest of tensors: what codes and archives are stamped with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch

from caselli.shapes import Tensor


def take_in(digest: hashlib._Hash, tensors: Mapping[str, Tensor]) -> None:
    """Takes named tensors into a digest: names, shapes, types and every bit, in order of their names.

    Example:
        >>> one, other = hashlib.sha256(), hashlib.sha256()
        >>> take_in(one, {"a": torch.zeros(1), "b": torch.ones(2)})
        >>> take_in(other, {"b": torch.ones(2), "a": torch.zeros(1)})
        >>> one.hexdigest() == other.hexdigest()
        True
    """
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits that change with any of the named tensors."""
    digest = hashlib.sha256()
    take_in(digest, tensors)
    return digest.hexdigest()[:16]
