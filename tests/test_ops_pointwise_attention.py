"""Attention without a softmax against its definition, over the borders of its blocks."""

from __future__ import annotations

import sys

import pytest
import torch

from caselli.ops.pointwise_attention import ACTIVATIONS, pointwise_attention, pointwise_attention_definition


def tensors(length, end, batch=2):
    shapes = [(batch, length, 3), (batch, end, 3), (batch, end, 5), (length + end - 1,)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("length", "end", "causal"),
    [
        (1, 1, True),
        (7, 7, True),
        (130, 130, True),
        (3, 9, True),
        (70, 140, True),
        (7, 7, False),
        (130, 130, False),
    ],
)
def test_equals_its_definition(length, end, packed, causal, activation, monkeypatch):
    monkeypatch.setattr(
        sys.modules["caselli.ops.pointwise_attention"], "BLOCK_ELEMENTS", 1
    )  # the smallest blocks, of 64 rows
    *inputs, bias = tensors(length, end)
    begin = torch.tensor([0, end - length]).repeat_interleave(length).view(2, length)
    begin[1, length // 2 :] = end - length + length // 2
    options = {"activation": activation, "bias": bias, "begin": begin if packed else None, "causal": causal}
    fast, slow = pointwise_attention(*inputs, **options), pointwise_attention_definition(*inputs, **options)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(slow)
    for a, b in zip(*(torch.autograd.grad(y, [*inputs, bias], cotangent) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck(activation):
    *inputs, bias = tensors(5, 8, batch=1)

    def function(q, k, v, bias):
        return pointwise_attention(q, k, v, bias=bias, activation=activation)

    assert torch.autograd.gradcheck(function, (*inputs, bias))
