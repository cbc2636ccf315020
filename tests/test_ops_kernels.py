"""The kernels equal their twins: in Triton's interpreter where there is no device, else on the device."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
import torch.nn.functional as F

from caselli.ops import delta_rule, gated_linear_attention, generalised_delta_rule, linear_attention
from caselli.ops.chunks import carry_gradients, carry_states
from caselli.ops.delta_rule import carry
from caselli.ops.selective_scan import selective_scan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def kernels():
    """The modules with kernels; without a device they are made for the interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            if "triton" in sys.modules:
                pytest.skip("Triton was imported before, without its interpreter")
            patch.setenv("TRITON_INTERPRET", "1")
        pytest.importorskip("triton", reason="Triton is not installed")
        names = ("carry", "gated_linear_attention", "linear_attention", "matrix_carry", "selective_scan")
        yield {name: importlib.import_module(f"caselli.ops.kernels.{name}") for name in names}


def numbers(*shape):
    return torch.randn(*shape, device=DEVICE)


def gradients(outputs, inputs):
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(y.shape, generator=generator).to(y) for y in outputs]
    return torch.autograd.grad(outputs, inputs, weights)


def same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decay", [None, (5, 1, 1), (1, 2, 1)])
def test_carry(kernels, decay):
    """On the twin's device the processor: `suits` would send a device's tensors to the kernel itself."""
    written, state = numbers(2, 3, 4, 5, 2, 6), numbers(2, 3, 5, 2, 6)
    passed = None if decay is None else numbers(2, 3, 4, *decay).sigmoid()
    given = [x if x is None else x.cpu() for x in (written, passed, state)]
    for reverse, twin in ((False, carry_states), (True, carry_gradients)):
        same(kernels["carry"].carry(written, passed, state, reverse=reverse), twin(*given))


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (17, 40)])
def test_matrix_carry(kernels, rows, columns):
    inputs = [numbers(2, 4, rows, rows) / rows, numbers(2, 4, rows, columns), numbers(2, rows, columns)]
    inputs = [x.requires_grad_() for x in inputs]
    found = kernels["matrix_carry"].matrix_carry(*inputs)
    own = [x.detach().cpu().requires_grad_() for x in inputs]
    wanted = carry(own[0][:, :, None], own[1][:, :, None], own[2][:, None])[:, :, 0]
    same([found, *gradients([found], inputs)], [wanted, *gradients([wanted], own)])


@pytest.mark.parametrize("marked", [False, True])
def test_selective_scan(kernels, marked, monkeypatch):
    module = kernels["selective_scan"]
    monkeypatch.setattr(module, "PIECE", 4)
    monkeypatch.setattr(module, "BLOCK", 2)
    shapes = ((2, 9, 5), (2, 9, 5), (5, 3), (2, 9, 3), (2, 9, 3), (2, 5, 3))
    inputs = [numbers(*shape) for shape in shapes]
    inputs[1], inputs[2] = inputs[1].exp() / 4, -inputs[2].exp()
    inputs = [x.requires_grad_() for x in inputs]
    starts = torch.rand(2, 9, device=DEVICE) < 0.3 if marked else None
    found = module.selective_scan(*inputs, starts)
    own = [x.detach().cpu().requires_grad_() for x in inputs]
    wanted = selective_scan(*own, starts=starts if starts is None else starts.cpu())
    same([*found, *gradients(found, inputs)], [*wanted, *gradients(wanted, own)])


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize(("length", "widest"), [(1, 64), (37, 64), (20, 3)])
def test_linear_attention(kernels, marked, heads, length, widest, monkeypatch):
    module = kernels["linear_attention"]
    monkeypatch.setattr(module, "CHUNK", 16)
    monkeypatch.setattr(module, "WIDEST", widest)
    shapes = (
        (2, length, 2, 5),
        (2, length, 2, 5),
        (2, length, heads, 7),
        (2, length, heads),
        (2, heads, 5, 7),
    )
    inputs = [numbers(*shape) for shape in shapes]
    inputs[3] = -inputs[3].square()
    inputs = [x.requires_grad_() for x in inputs]
    starts = torch.rand(2, length, device=DEVICE) < 0.2 if marked else None
    found = module.linear_attention(*inputs, starts)
    own = [x.detach().cpu().requires_grad_() for x in inputs]
    wanted = linear_attention(
        *own[:3], own[4], log_decay=own[3], starts=starts if starts is None else starts.cpu()
    )
    same([*found, *gradients(found, inputs)], [*wanted, *gradients(wanted, own)])


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("rewarded", [False, True])
@pytest.mark.parametrize(("length", "widest"), [(1, 64), (21, 64), (19, 3)])
def test_gated_linear_attention(kernels, marked, rewarded, length, widest, monkeypatch):
    monkeypatch.setattr(kernels["linear_attention"], "CHUNK", 16)
    monkeypatch.setattr(kernels["linear_attention"], "WIDEST", widest)
    shape = (2, length, 2, 5)
    inputs = [*(numbers(*shape) for _ in range(2)), numbers(2, length, 2, 7), -numbers(*shape).square()]
    inputs = [*inputs, numbers(2, 2, 5, 7), *([numbers(2, 5)] if rewarded else [])]
    inputs = [x.requires_grad_() for x in inputs]
    starts = torch.rand(2, length, device=DEVICE) < 0.2 if marked else None
    bonus = inputs[5] if rewarded else None
    found = kernels["gated_linear_attention"].gated_linear_attention(*inputs[:5], bonus, starts)
    own = [x.detach().cpu().requires_grad_() for x in inputs]
    wanted = gated_linear_attention(
        *own[:3],
        own[4],
        log_decay=own[3],
        bonus=own[5] if rewarded else None,
        starts=starts if starts is None else starts.cpu(),
    )
    same([*found, *gradients(found, inputs)], [*wanted, *gradients(wanted, own)])


def cases(length):
    """Each op that a kernel stands behind, and its inputs by name."""
    shape = (2, length, 3, 32)
    q, v = torch.randn(shape), torch.randn(shape)
    k = F.normalize(torch.randn(shape), dim=-1)
    scalar, vector = (-torch.rand(2, length, 3), -torch.rand(shape))
    state, beta = torch.randn(2, 3, 32, 32), torch.rand(2, length, 3)
    matrix = {"q": q, "k": k, "v": v, "state": state}
    channels = torch.randn(2, length, 40)
    return {
        "linear": (linear_attention, matrix),
        "scalar": (linear_attention, {**matrix, "log_decay": scalar}),
        "vector": (gated_linear_attention, {**matrix, "log_decay": vector}),
        "delta": (delta_rule, {**matrix, "beta": beta, "log_decay": scalar}),
        "generalised": (generalised_delta_rule, {**matrix, "a": k, "b": -0.5 * k, "log_decay": vector}),
        "selective": (
            selective_scan,
            {
                "x": channels,
                "delta": torch.rand(2, length, 40),
                "a": -torch.rand(40, 16),
                "b": torch.randn(2, length, 16),
                "c": torch.randn(2, length, 16),
                "state": torch.randn(2, 40, 16),
            },
        ),
    }


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["linear", "scalar", "vector", "delta", "generalised", "selective"])
@pytest.mark.parametrize("marked", [False, True])
def test_ops_on_the_device(name, marked):
    """Chosen by the ops themselves: the same as on the processor, gradients too."""
    op, inputs = cases(150)[name]
    starts = torch.rand(2, 150) < 0.05 if marked else None
    outcomes = []
    for device in ("cpu", "cuda"):
        own = {key: x.detach().to(device).requires_grad_() for key, x in inputs.items()}
        outputs = op(**own, starts=starts if starts is None else starts.to(device))
        outcomes.append([*outputs, *gradients(outputs, list(own.values()))])
    for found, wanted in zip(*reversed(outcomes), strict=True):
        scale = wanted.abs().max().item()
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-3, atol=1e-3 * max(1.0, scale))
