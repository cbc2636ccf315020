"""Ops that take another path where gradients are asked for on a CPU, beside their plain forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from caselli.ops import attention, cross_entropy, dropout, packed_mask, rotary, rotary_angles
from caselli.ops.attention import attention_definition
from caselli.ops.cross_entropy import PIECE


@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (5, 4)])
def test_rotary_and_its_gradient(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    angles = rotary_angles(torch.arange(5, dtype=torch.float64), shape[-1])
    torch.testing.assert_close(rotary(x, angles), rotary(x.detach(), angles))
    assert torch.autograd.gradcheck(lambda x: rotary(x, angles), x)
    assert torch.autograd.gradgradcheck(lambda x: rotary(x, angles), x)


def test_rotary_of_learned_angles_keeps_their_gradient():
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotary, (x, angles))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("form", ["causal", "mask", "all", "last"])
@pytest.mark.parametrize("autocast", [False, True])
def test_short_attention_is_its_definition(groups, form, autocast):
    q = torch.randn(2, 4, 2 if form == "last" else 6, 8, requires_grad=True)
    k, v = (torch.randn(2, 4 // groups, 6, 8, requires_grad=True) for _ in range(2))
    mask = torch.ones(1, 1, q.shape[2], 6, dtype=torch.bool)
    given = None
    if form == "mask":
        given = mask = packed_mask(torch.tensor([[0, 0, 2, 2, 2, 5], [0, 1, 1, 1, 1, 1]]), 6)
    elif form != "all":
        mask = mask.tril(6 - q.shape[2])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = attention(q, k, v, given, causal=form in ("causal", "last"))
    expected = attention_definition(q, k, v, mask.expand(2, 4, -1, -1))
    close = {"rtol": 0.02, "atol": 0.02} if autocast else {}
    torch.testing.assert_close(found.float(), expected, **close)
    gradient = torch.randn_like(expected)
    both = (torch.autograd.grad(y, (q, k, v), gradient.to(y.dtype)) for y in (found, expected))
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, **({"rtol": 0.1, "atol": 0.05} if autocast else {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.999999])
def test_dropout_drops_a_share_and_keeps_the_mean(dtype, share):
    x = torch.ones(257, 129, dtype=dtype).T.requires_grad_()
    y = dropout(x, share)
    kept = (y > 0).double().mean().item()
    assert abs(kept - (1 - share)) < 0.01
    steps = 2**15  # the share is a multiple of their inverse, and never all
    factor = steps / (steps - min(round(share * steps), steps - 1))
    assert y[y > 0].unique().equal(torch.tensor([factor], dtype=dtype))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y.detach())


def test_dropout_follows_the_seed_and_numbers_are_dropped_alone():
    def drawn(seed):
        torch.manual_seed(seed)
        return dropout(torch.ones(4096, 8, dtype=torch.bfloat16), 0.3) > 0

    assert drawn(0).equal(drawn(0)) and not drawn(0).equal(drawn(1))
    kept = drawn(2).float()  # the four numbers of one random word
    assert torch.corrcoef(kept.T).sub(torch.eye(8)).abs().max() < 0.07
    assert torch.autograd.gradgradcheck(
        _dropped_alike, torch.randn(6, dtype=torch.float64, requires_grad=True)
    )


def _dropped_alike(x):
    torch.manual_seed(3)
    return dropout(x, 0.4)


@pytest.mark.parametrize("rows, codes", [(1, 2), (7, 1000), (300, 1024), (3, PIECE + 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_in_pieces(rows, codes, dtype):
    logits = (5 * torch.randn(rows, codes, dtype=dtype)).requires_grad_()
    which, slope = torch.randint(codes, (rows,)), torch.randn(rows, dtype=dtype)
    found, expected = cross_entropy(logits, which), F.cross_entropy(logits, which, reduction="none")
    torch.testing.assert_close(found, expected)
    both = (torch.autograd.grad(cost, logits, slope)[0] for cost in (found, expected))
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("rows, codes", [(7, 1000), (300, 1024)])
def test_cross_entropy_of_half_precision_is_that_of_wider_logits(rows, codes):
    """To the last bit, gradients too: a piece is widened when its turn comes."""
    half = (5 * torch.randn(rows, codes)).bfloat16().requires_grad_()
    which, slope = torch.randint(codes, (rows,)), torch.randn(rows)
    found, wide = cross_entropy(half, which), cross_entropy(half.float(), which)
    assert found.dtype == torch.float32 and torch.equal(found, wide)
    assert torch.equal(*(torch.autograd.grad(cost, half, slope)[0] for cost in (found, wide)))
    assert torch.equal(cross_entropy(half.detach(), which), cross_entropy(half.detach().float(), which))


def test_cross_entropy_of_codes_that_a_slot_does_not_have():
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [2.0, 0.0, -torch.inf]], requires_grad=True)
    which = torch.tensor([2, 0])
    both = (f(logits, which) for f in (cross_entropy, lambda *a: F.cross_entropy(*a, reduction="none")))
    gradients = [(y, torch.autograd.grad(y.sum(), logits)[0]) for y in both]
    torch.testing.assert_close(*gradients)
    assert gradients[0][1].isfinite().all()
