"""Attention in buckets against its mask, and random features against softmax."""

from __future__ import annotations

import sys

import pytest
import torch

from caselli.ops.attention import attention_definition
from caselli.ops.feature_maps import FEATURE_MAPS, orthogonal_features, positive_exponents, taylor
from caselli.ops.lsh_attention import lsh_attention, lsh_buckets, lsh_mask


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("length", "buckets"), [(1, 2), (9, 4), (24, 3), (24, 1)])
def test_lsh_attention_is_attention_under_its_mask(length, buckets, causal, packed, monkeypatch):
    monkeypatch.setattr(sys.modules["caselli.ops.lsh_attention"], "BLOCK", 4)
    shapes = [(2, 2, length, 3), (2, 2, length, 3), (2, 2, length, 4)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    codes = torch.randint(buckets, (2, 2, 3, length))
    begin = torch.zeros(2, length, dtype=torch.int64)
    begin[1, length // 3 :] = length // 3
    fast = lsh_attention(*inputs, codes, begin if packed else None, causal=causal)
    mask = lsh_mask(codes, codes, begin if packed else torch.zeros_like(begin), causal=causal)
    slow = attention_definition(*inputs, mask)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(slow)
    for a, b in zip(*(torch.autograd.grad(y, inputs, cotangent) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_hashing_finds_neighbours_and_forgets_lengths():
    rotations = torch.randn(1, 1, 8, 4)
    x = torch.randn(1, 1, 200, 8)
    near = x + 0.05 * torch.randn_like(x)
    codes = lsh_buckets(x, rotations)
    assert (codes == lsh_buckets(near, rotations)).float().mean() > 0.8
    assert (codes == lsh_buckets(x.flip(2), rotations)).float().mean() < 0.4
    assert torch.equal(codes, lsh_buckets(3 * x, rotations))
    assert len(codes.unique()) == 8


def test_positive_features_estimate_softmax():
    generator = torch.Generator().manual_seed(0)
    q, k = 0.5 * torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    features = orthogonal_features(20_000, 4, generator, torch.float64)
    estimate = positive_exponents(q, features).exp() @ positive_exponents(k, features).exp().T
    torch.testing.assert_close(estimate, (q @ k.T / 2).exp(), rtol=0.05, atol=0.0)


def test_taylor_features_are_the_expansion():
    q, k = torch.randn(2, 6, 9, dtype=torch.float64)
    s = (q @ k.T) / 3
    torch.testing.assert_close(taylor(q) @ taylor(k).T, 1 + s + s**2 / 2)


@pytest.mark.parametrize("name", FEATURE_MAPS)
def test_feature_maps_have_gradients(name):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FEATURE_MAPS[name], x)
    if name != "identity" and name != "taylor":
        assert (FEATURE_MAPS[name](x) >= 0).all()
