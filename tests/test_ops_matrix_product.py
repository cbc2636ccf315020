"""Linear layers and products of pairs by either library, with two derivatives; in parts, with one."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F

from caselli.private import has_onednn_linear

room = importlib.import_module("caselli.ops.matrix_product")
fast = pytest.mark.skipif(not has_onednn_linear(), reason="this build of PyTorch has no oneDNN linear")


@pytest.fixture(params=[0, 1 << 18], ids=["laid out", "as it comes"])
def forced(monkeypatch, request):
    """oneDNN whatever the processor, for products of any size, transposed factors laid out or not."""
    monkeypatch.setattr(room, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(room, "LEAST_WORK", 0)
    monkeypatch.setattr(room, "LARGE", request.param)


def both_ways(function, definition, inputs):
    """Values, gradients, and gradients of gradients."""
    found = []
    for f in (function, definition):
        y = f(*inputs)
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        found.append((y, *first, *second))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-4)


@fast
@pytest.mark.parametrize("bias", [True, False])
def test_linear(forced, bias):
    x, weight, c = torch.randn(2, 3, 5), torch.randn(4, 5), torch.randn(4)
    inputs = [x.requires_grad_(), weight.requires_grad_(), *([c.requires_grad_()] if bias else [])]
    both_ways(room.linear, F.linear, inputs)


@fast
@pytest.mark.parametrize("bias", [True, False])
def test_linear_in_parts(forced, bias):
    inputs = [torch.randn(2, 3, 5), torch.randn(7, 5), *([torch.randn(7)] if bias else [])]
    inputs = [x.requires_grad_() for x in inputs]
    parts = room.linear_parts(*inputs, *([] if bias else [None]), (4, 1, 2))
    expected = F.linear(*inputs).split((4, 1, 2), -1)
    gradients = [torch.autograd.grad(sum(y.square().sum() for y in ys), inputs) for ys in (parts, expected)]
    for a, b in zip((*parts, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-4)


@fast
def test_products(forced):
    a, b = torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 4, 5, requires_grad=True)
    both_ways(room.products, lambda a, b: torch.bmm(a, b.mT), [a, b])


@fast
def test_rows_with_gaps(forced):
    x, weight = torch.randn(3, 9)[:, 2:7], torch.randn(4, 9)[:, 2:7]
    torch.testing.assert_close(room.linear(x, weight), F.linear(x, weight))
    torch.testing.assert_close(room.linear(weight, x), F.linear(weight, x))


def test_other_types_take_the_usual_way(forced):
    x, weight = torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    assert torch.equal(room.linear(x, weight), F.linear(x, weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert room.linear(x.float(), weight.float()).dtype == torch.bfloat16
