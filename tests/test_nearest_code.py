"""The search for the nearest code: equal to its definition, whatever the precision, in bounded memory."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caselli.ops import nearest_code
from caselli.ops.nearest_code import largest_product, nearest_code_definition
from caselli.private import DispatchMode

module = importlib.import_module("caselli.ops.nearest_code")


@pytest.fixture(params=[(1024, 1024), (7, 5), (1, 1)], ids=str)
def chunks(request, monkeypatch):
    monkeypatch.setitem(module.CHUNKS, "cpu", request.param)


def test_is_its_definition(chunks):
    for n, width, size in ((0, 3, 4), (1, 1, 1), (23, 6, 17), (14, 2, 40)):
        latents, codebook = torch.randn(n, width), torch.randn(size, width)
        assert torch.equal(nearest_code(latents, codebook), nearest_code_definition(latents, codebook))
        products = latents @ codebook.T
        assert torch.equal(largest_product(latents, codebook), products.argmax(1))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 30), width=st.integers(1, 9), size=st.integers(1, 40), seed=st.integers(0, 1000))
def test_is_its_definition_for_any_shape(n, width, size, seed):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(n, width, generator=generator, dtype=torch.float64)
    codebook = torch.randn(size, width, generator=generator, dtype=torch.float64)
    assert torch.equal(nearest_code(latents, codebook), nearest_code_definition(latents, codebook))


def test_of_equal_codes_the_first_wins(chunks):
    codebook = torch.randint(-9, 10, (6, 4)).float().repeat(3, 1)  # whole numbers: their products are exact
    assert torch.equal(nearest_code(codebook, codebook), torch.arange(6).repeat(3))


def test_stays_exact_where_long_latents_would_drown_the_differences():
    codebook = torch.empty(4096, 64).uniform_(-1 / 4096, 1 / 4096)
    latents = 10 * torch.randn(64, 64)
    exact = nearest_code_definition(latents, codebook)
    assert (nearest_code(latents, codebook) == exact).float().mean() > 0.95
    assert torch.equal(nearest_code(latents.double(), codebook.double()), exact)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype):
    latents, codebook = torch.randn(50, 16).to(dtype), torch.randn(200, 16).to(dtype)
    expected = nearest_code_definition(latents, codebook)
    assert torch.equal(nearest_code(latents, codebook), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest_code(latents.float(), codebook.float()), expected)


def test_coarse_products_do_not_decide():
    latents, codebook = torch.randn(300, 64), torch.randn(1024, 64)
    expected = nearest_code(latents, codebook)
    torch.set_float32_matmul_precision("medium")
    try:
        found = nearest_code(latents, codebook)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, expected)


class Largest(DispatchMode):
    """The most numbers that any operation returned."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def test_memory_is_bounded_by_the_chunks():
    latents, codebook = torch.randn(5000, 4), torch.randn(3000, 4)
    with Largest() as largest:
        nearest_code(latents, codebook)
    assert largest.numbers <= 1024 * 1024 < len(latents) * len(codebook) / 10
