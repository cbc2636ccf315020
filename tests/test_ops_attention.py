"""Attention's patterns against their masks, forwards and backwards; the published masks and rotations."""

from __future__ import annotations

import pytest
import torch

from caselli.ops import sparse_attention
from caselli.ops.attention import attention, attention_definition, block_sparse_attention, packed_mask
from caselli.ops.sparse_attention import (
    fixed_attention,
    fixed_mask,
    local_attention,
    local_mask,
    strided_attention,
    strided_mask,
)
from tests.reference.golden import golden

COLUMNS = torch.tensor([[3], [2]])


def dense(q, k, v, begin):
    if begin is None:
        return attention(q, k, v, causal=True)
    return attention(q, k, v, packed_mask(begin, k.shape[2]))


PATTERNS = {
    "dense": (dense, packed_mask),
    "local": (lambda q, k, v, b: local_attention(q, k, v, 4, b), lambda b, s: local_mask(b, s, 4)),
    "strided": (lambda q, k, v, b: strided_attention(q, k, v, 3, b), lambda b, s: strided_mask(b, s, 3)),
    "fixed": (
        lambda q, k, v, b: fixed_attention(q, k, v, 4, COLUMNS, b),
        lambda b, s: fixed_mask(b, s, 4, COLUMNS),
    ),
}
SHAPES = [(1, 1), (7, 7), (16, 16), (3, 5), (1, 9), (2, 13), (9, 14), (13, 30), (4, 4), (12, 20)]


def tensors(length, end, heads=2, batch=2):
    shapes = [(batch, 2, length, 3), (batch, heads, end, 3), (batch, heads, end, 4)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def some_begins(length, end):
    """Row 0 continues from the first key; row 1 begins anew twice; both as keys' indices."""
    index = torch.arange(end - length, end)
    starts = torch.zeros(2, length, dtype=torch.bool)
    starts[1, [length // 3, length // 2]] = True
    return torch.where(starts, index, torch.tensor([[0], [max(0, end - length - 2)]])).cummax(1).values


def close_with_gradients(fast, slow, inputs):
    cotangent = torch.randn_like(slow)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    for a, b in zip(*(torch.autograd.grad(y, inputs, cotangent) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("length", "end"), SHAPES)
@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_attention_under_its_mask(name, length, end, packed, monkeypatch):
    monkeypatch.setattr(sparse_attention, "PIECE", 5)
    inputs = tensors(length, end)
    fast, mask = PATTERNS[name]
    begin = some_begins(length, end) if packed else None
    mask = mask(begin if packed else torch.zeros(1, length, dtype=torch.int64), end)
    close_with_gradients(fast(*inputs, begin), attention_definition(*inputs, mask), inputs)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("length", [1, 3, 4, 9, 16])
def test_local_attention_both_ways(length, packed):
    inputs = tensors(length, length)
    begin = some_begins(length, length) if packed else None
    mask = local_mask(begin if packed else torch.zeros(1, length, dtype=torch.int64), length, 4, causal=False)
    close_with_gradients(
        local_attention(*inputs, 4, begin, causal=False), attention_definition(*inputs, mask), inputs
    )


@pytest.mark.parametrize("name", ["dense", "local", "strided"])
def test_grouped_queries(name):
    inputs = tensors(9, 14, heads=1)
    fast, mask = PATTERNS[name]
    slow = attention_definition(*inputs, mask(torch.zeros(1, 9, dtype=torch.int64), 14))
    close_with_gradients(fast(*inputs, None), slow, inputs)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_block_sparse_attention_under_any_mask(shape):
    inputs = tensors(11, 14)
    mask = torch.rand(*shape, 11, 14) < 0.1
    mask[..., 5] = True
    fast = block_sparse_attention(*inputs, mask, block_size=4)
    close_with_gradients(fast, attention_definition(*inputs, mask), inputs)


def test_two_hops_of_the_sparse_patterns_reach_everything():
    """Child et al., section 4.2: local then strided, and fixed twice, connect every pair; edges are few."""
    begin, all_pairs = (
        torch.zeros(1, 64, dtype=torch.int64),
        packed_mask(torch.zeros(1, 64, dtype=torch.int64), 64),
    )
    local, strided = local_mask(begin, 64, 8), strided_mask(begin, 64, 8)
    fixed = fixed_mask(begin, 64, 8, torch.tensor([[7]]))
    assert (int(local.sum()), int(strided.sum())) == (484, 288)
    for first, then in ((local, strided), (fixed, fixed)):
        hops = (first.float() @ then.float() > 0) & all_pairs
        assert torch.equal(hops, all_pairs)


def test_published_sparse_masks():
    vectors = golden("14_openai_sparse_masks")
    begin = torch.zeros(1, 32, dtype=torch.int64)
    for size in (4, 8):
        assert torch.equal(local_mask(begin, 32, size)[0, 0], vectors[f"out.local.n32.s{size}"])
        assert torch.equal(strided_mask(begin, 32, size)[0, 0], vectors[f"out.strided.n32.s{size}"])
    for verts, size in ((1, 1), (1, 2), (2, 1), (4, 1)):
        published = vectors[f"out.bs.fixed.n32.ctx8.b1.verts{verts}.size{size}"]
        group = torch.arange(len(published))[:, None] % verts
        columns = 8 - (group + 1) * size + torch.arange(size)
        assert torch.equal(fixed_mask(begin, 32, 8, columns)[0], published)


@pytest.mark.parametrize("name", ["all", "local", "strided"])
def test_published_sparse_attention(name):
    vectors = golden("14_openai_sparse_masks")
    q, k, v = (vectors[f"in.{x}"].unflatten(2, (2, 3)).transpose(1, 2) for x in "qkv")
    ours = {
        "all": lambda: attention(q, k, v, causal=True),
        "local": lambda: local_attention(q, k, v, 4),
        "strided": lambda: strided_attention(q, k, v, 4),
    }[name]()
    torch.testing.assert_close(ours.transpose(1, 2).flatten(2), vectors[f"out.attention.{name}"])


@pytest.mark.parametrize("name", PATTERNS)
def test_gradcheck(name):
    fast, _ = PATTERNS[name]
    assert torch.autograd.gradcheck(
        lambda *inputs: fast(*inputs, None), tensors(5, 9, batch=1), fast_mode=True
    )
