"""Attention to blocks that queries choose: gathered, as by a mask over all scores, outputs and gradients."""

from __future__ import annotations

import pytest
import torch

from caselli.ops import block_choice
from caselli.ops.block_choice import (
    mixture_of_block_attention,
    mixture_of_block_attention_definition,
    native_sparse_attention,
    native_sparse_attention_definition,
)
from caselli.ops.chosen_blocks import chosen_block_attention, chosen_block_attention_definition


def tensors(length, end, heads=2, keys=2, wide=4):
    torch.manual_seed(length + end)
    shapes = ((heads, length, wide), (keys, end, wide), (keys, end, 3))
    return [torch.randn(2, *shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def same(found, expected, inputs):
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weight = torch.randn_like(expected)
    pairs = (torch.autograd.grad((y * weight).sum(), inputs, retain_graph=True) for y in (found, expected))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("length", "end"), [(1, 1), (7, 7), (40, 40), (5, 23), (22, 39), (1, 30)])
@pytest.mark.parametrize("size", [1, 4])
def test_gathered_blocks_are_those_of_the_mask(length, end, size):
    q, k, v = tensors(length, end)
    own = torch.arange(end - length, end)[:, None] // size
    numbers = torch.rand(2, 2, length, max(3, -(-end // size)), dtype=torch.float64).argsort(-1)[..., :3]
    chosen = torch.where(numbers < own, numbers, -1)
    inputs = (q, k, v)
    found = chosen_block_attention(*inputs, chosen, size=size)
    same(found, chosen_block_attention_definition(*inputs, chosen, size=size), inputs)


def test_twice_differentiable():
    q, k, v = (x[:1, :1].detach().requires_grad_() for x in tensors(6, 6))
    chosen = torch.tensor([-1, -1, 0, 0, 1, 0])[None, None, :, None]
    assert torch.autograd.gradgradcheck(
        lambda *x: chosen_block_attention(*x, chosen, size=2), (q, k, v), atol=1e-6
    )


@pytest.mark.parametrize(("length", "end", "keys"), [(40, 40, 2), (13, 38, 2), (33, 33, 1)])
def test_choices_are_those_of_the_definition(length, end, keys, monkeypatch):
    monkeypatch.setattr(block_choice, "LONG", 0)
    monkeypatch.setattr(block_choice, "PIECE", 7)
    q, k, v = inputs = tensors(length, end, keys=keys)
    repeated = [x.repeat_interleave(2 // keys, 1) for x in (k, v)]
    found = mixture_of_block_attention(*inputs, size=3, count=3)
    same(found, mixture_of_block_attention_definition(q, *repeated, None, size=3, count=3), inputs)
    gates = torch.rand(2, 2, length, 3, dtype=torch.float64, requires_grad=True)
    for size, count in ((3, 5), (3, 3), (4, 2), (16, 4)):
        options = {"size": size, "count": count, "window": 4}
        found = native_sparse_attention(*inputs, gates, **options)
        expected = native_sparse_attention_definition(q, *repeated, gates, None, heads=keys, **options)
        same(found, expected, (*inputs, gates))


def test_packed_queries_go_in_pieces(monkeypatch):
    q, k, v = tensors(20, 20)
    begin = torch.tensor([0] * 9 + [9] * 11).expand(2, -1)
    whole = mixture_of_block_attention(q, k, v, begin, size=3, count=2)
    monkeypatch.setattr(block_choice, "PIECE", 7)
    torch.testing.assert_close(mixture_of_block_attention(q, k, v, begin, size=3, count=2), whole)
