"""The published vectors that the suite carries."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent.parent / "golden"


def golden(name):
    """Name → tensor of one file; skips the test where the file is not there."""
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path.name} is not in tests/golden")
    return load_file(path)


def leaves(vectors, *names):
    return [vectors[f"in.{name}"].clone().requires_grad_() for name in names]


def same(found, wanted, tolerance=1e-10):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def check(vectors, inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]):
    """Every output, and the gradient of the sum of outputs times cotangents by every input."""
    total = 0.0
    for name, y in outputs.items():
        same(y, vectors[f"out.{name}"])
        if f"cot.{name}" in vectors:
            total = total + (y * vectors[f"cot.{name}"]).sum()
    for name, gradient in zip(inputs, torch.autograd.grad(total, list(inputs.values())), strict=True):
        same(gradient, vectors[f"grad.{name}"])


def from_zero_and_state(vectors, names, run):
    """For vectors with o, S from nothing and o_from_state, S_from_state from S0."""
    names = (*names, "S0")
    inputs = dict(zip(names, leaves(vectors, *names), strict=True))
    *tensors, state = inputs.values()
    outputs = {}
    for suffix, initial in (("", torch.zeros_like(state)), ("_from_state", state)):
        outputs["o" + suffix], outputs["S" + suffix] = run(*tensors, initial)
    check(vectors, inputs, outputs)
