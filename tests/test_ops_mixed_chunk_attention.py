"""What FLASH is made of, against its definitions: groups and their memory, offset and turned vectors."""

from __future__ import annotations

import importlib

import pytest
import torch

from caselli.ops.gated_mixed_chunk_attention import (
    gated_mixed_chunk_attention,
    gated_mixed_chunk_attention_definition,
)
from caselli.ops.mixed_chunk_attention import mixed_chunk_attention, mixed_chunk_attention_definition
from caselli.ops.offset_rotary import offset_rotary, offset_rotary_definition
from caselli.ops.pointwise_attention import ACTIVATIONS
from caselli.ops.rotary import rotary_angles


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def same_with_gradients(fast, slow, inputs):
    cotangents = [torch.randn_like(y) for y in slow]
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    found, expected = (torch.autograd.grad(outputs, inputs, cotangents) for outputs in (fast, slow))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.fixture
def other_library(monkeypatch):
    """oneDNN whatever the processor, for products of any size."""
    room = importlib.import_module("caselli.ops.matrix_product")
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of PyTorch has no oneDNN linear")
    monkeypatch.setattr(room, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(room, "LEAST_WORK", 0)


def groups(batch=2, count=5, size=4):
    shape = (batch, count, size)
    return [*(normal(*shape, 3) for _ in range(4)), normal(*shape, 6), normal(batch, 3, 6)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("elements", [1, 96, 1 << 17], ids=["one group", "two groups", "all groups"])
def test_groups_equal_their_definition(elements, biased, packed, activation, monkeypatch):
    monkeypatch.setattr(importlib.import_module("caselli.ops.pieces"), "CACHED_ELEMENTS", elements)
    inputs, bias = groups(), normal(7) if biased else None
    fresh = torch.tensor([[True, False, True, False, False], [False, True, True, False, True]])
    options = {"activation": activation, "bias": bias, "fresh": fresh if packed else None}
    fast = mixed_chunk_attention(*inputs, **options)
    slow = mixed_chunk_attention_definition(*inputs, **options)
    same_with_gradients(fast, slow, [*inputs, bias] if biased else inputs)


def test_groups_by_the_other_library(other_library):
    exact = groups()
    inputs = [x.detach().float().requires_grad_() for x in exact]
    found, expected = (
        torch.autograd.grad(sum(y.square().sum() for y in f(*x)), x)
        for f, x in ((mixed_chunk_attention, inputs), (mixed_chunk_attention_definition, exact))
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_groups_in_half_precision_keep_an_exact_memory():
    inputs = groups()
    *half, memory = (x.detach().bfloat16() for x in inputs)
    y, last = mixed_chunk_attention(*half, memory.float())
    expected, exact = mixed_chunk_attention_definition(*(x.detach() for x in inputs))
    assert (y.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(last.double(), exact, rtol=0.05, atol=0.02 * exact.abs().max().item())
    torch.testing.assert_close(y.double(), expected, rtol=0.05, atol=0.02 * expected.abs().max().item())


def composed(*inputs, activation="squared_relu", bias=None, **options):
    """The way of a GPU."""
    room = importlib.import_module("caselli.ops.gated_mixed_chunk_attention")
    return room._composed(*inputs, activation=activation, bias=bias, **options)


def gated_inputs(batch=3, count=3, size=4):
    angles = rotary_angles(torch.arange(5, 5 + count * size, dtype=torch.float64), 6)
    options = {"angles": angles, "group": size, "divisors": [1.0, 4.0, 8.0][:count]}
    shapes = (batch, count * size, 2 * 5 + 6), (4, 6), (4, 6), (batch, 6, 5)
    return [normal(*shape) for shape in shapes], options


@pytest.mark.parametrize("function", [gated_mixed_chunk_attention, composed])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("elements", [1, 80, 1 << 17], ids=["one row", "two rows", "all rows"])
def test_all_between_the_layers_equals_its_definition(elements, biased, activation, function, monkeypatch):
    room = importlib.import_module("caselli.ops.gated_mixed_chunk_attention")
    monkeypatch.setattr(room, "CACHED_ELEMENTS", elements)
    inputs, options = gated_inputs()
    bias = normal(7) if biased else None
    options |= {"activation": activation, "bias": bias}
    fast, slow = function(*inputs, **options), gated_mixed_chunk_attention_definition(*inputs, **options)
    same_with_gradients(fast, slow, [*inputs, bias] if biased else inputs)
    with torch.no_grad():
        for a, b in zip(function(*inputs, **options), slow, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_all_between_the_layers_by_the_other_library(other_library):
    exact, options = gated_inputs()
    inputs = [x.detach().float().requires_grad_() for x in exact]
    found, expected = (
        torch.autograd.grad(sum(y.square().sum() for y in f(*x, **options)), x)
        for f, x in ((gated_mixed_chunk_attention, inputs), (gated_mixed_chunk_attention_definition, exact))
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", [gated_mixed_chunk_attention, composed])
@pytest.mark.parametrize("mixed", [False, True], ids=["all half", "as autocast has it"])
def test_all_between_the_layers_in_half_precision_keeps_an_exact_memory(mixed, function):
    exact, options = gated_inputs()
    dtypes = (torch.bfloat16, *2 * [torch.float32 if mixed else torch.bfloat16], torch.float32)
    half = [x.detach().to(dtype).requires_grad_() for x, dtype in zip(exact, dtypes, strict=True)]
    found, expected = function(*half, **options), gated_mixed_chunk_attention_definition(*exact, **options)
    assert [y.dtype for y in found] == [torch.bfloat16, torch.float32]
    found += torch.autograd.grad(sum(y.float().square().sum() for y in found), half)
    expected += torch.autograd.grad(sum(y.square().sum() for y in expected), exact)
    assert [x.dtype for x in found[2:]] == [x.dtype for x in half]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0.05, atol=0.03 * b.abs().max().item())


@pytest.mark.parametrize("elements", [1, 1 << 17], ids=["token by token", "all tokens"])
def test_offsets_equal_their_definition(elements, monkeypatch):
    monkeypatch.setattr(importlib.import_module("caselli.ops.offset_rotary"), "CACHED_ELEMENTS", elements)
    z, gamma, beta = normal(2, 7, 6), normal(4, 6), normal(4, 6)
    angles = rotary_angles(torch.arange(3, 10, dtype=torch.float64), 6)
    fast, slow = (f(z, gamma, beta, angles) for f in (offset_rotary, offset_rotary_definition))
    same_with_gradients(fast, slow, [z, gamma, beta])


def test_gradcheck():
    z, gamma, beta = normal(1, 3, 4), normal(2, 4), normal(2, 4)
    angles = rotary_angles(torch.arange(3, dtype=torch.float64), 4)
    assert torch.autograd.gradcheck(lambda *x: offset_rotary(*x, angles), (z, gamma, beta))
    assert torch.autograd.gradcheck(mixed_chunk_attention, groups(1, 3, 2))
    inputs, options = gated_inputs(1, 2, 2)
    assert torch.autograd.gradcheck(
        lambda *x: gated_mixed_chunk_attention(*x[:-1], bias=x[-1], **options), (*inputs, normal(3))
    )
