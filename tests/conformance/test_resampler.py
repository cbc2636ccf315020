"""The laws of every resampler: exact sizes, gradients everywhere, locality, the interface itself."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from caselli.errors import UserError
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS
from tests.conformance.cases_resampler import ANY_SCALE, DOWNSAMPLER_CASES, UPSAMPLER_CASES

TABLES = {"up": (UPSAMPLERS, UPSAMPLER_CASES), "down": (DOWNSAMPLERS, DOWNSAMPLER_CASES)}
EVERY = [(TABLES[way][0][name], name, options, way) for way in TABLES for name, options in TABLES[way][1]]
every_resampler = pytest.mark.parametrize(
    ("kind", "name", "options", "way"),
    EVERY,
    ids=[f"{way}-{name}-{len(options)}" for _, name, options, way in EVERY],
)


def expected_size(size: int, scale, way: str) -> int:
    exact = Fraction(size) * Fraction(scale).limit_denominator(1000) ** (1 if way == "up" else -1)
    return max(1, int(exact + Fraction(1, 2)) if way == "up" else -int(-exact // 1))


@pytest.mark.parametrize("way", TABLES)
def test_every_resampler_of_the_table_is_under_test(way):
    table, cases = TABLES[way]
    assert {name for name, _ in cases} == set(table)


@every_resampler
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_whole_scales_give_the_exact_size(kind, name, options, way, scale):
    module = kind(4, 6, scale, **options)
    for size in ((5, 8), (1, 3)):
        y = module(torch.randn(2, 4, *size))
        assert y.shape == (2, 6, expected_size(size[0], scale, way), expected_size(size[1], scale, way))


@every_resampler
def test_fractions_give_the_exact_size_or_a_clear_error(kind, name, options, way):
    for scale in (120 / 88, 1.8, Fraction(3, 2)):
        if name not in ANY_SCALE:
            with pytest.raises(UserError, match="for any scale"):
                kind(4, scale=scale, **options)
            continue
        module = kind(4, scale=scale, **options)
        for size in (88, 120, 32, 7):
            y = module(torch.randn(1, 4, size, 3))
            assert y.shape[2] == expected_size(size, scale, way), (scale, size)


@pytest.mark.parametrize(("name", "options"), UPSAMPLER_CASES)
def test_upsamplers_undo_the_size_of_odd_pictures(name, options):
    for size in ((9, 10), (10, 9)):
        assert UPSAMPLERS[name](4, **options)(torch.randn(1, 4, 5, 5), size).shape[2:] == size
    if name not in ANY_SCALE:
        with pytest.raises(UserError, match="9 to 10 was expected"):
            UPSAMPLERS[name](4, **options)(torch.randn(1, 4, 5, 5), (8, 10))


@every_resampler
def test_gradients_reach_every_input_and_parameter(kind, name, options, way):
    module = kind(4, 3, **options)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    module(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert torch.isfinite(x.grad).all()
    seen = (x.grad != 0).flatten(2).any(1)
    assert seen.all() or name == "max", "an input pixel is thrown away"


@every_resampler
def test_gradcheck(kind, name, options, way):
    module = kind(2, 2, **options).double()
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(module, x)


@every_resampler
def test_the_channel_order_in_memory_changes_nothing(kind, name, options, way):
    module = kind(8, 4, **options)
    x = torch.randn(2, 8, 6, 4)
    torch.testing.assert_close(module(x.to(memory_format=torch.channels_last)), module(x))


@every_resampler
def test_half_precision_stays_close(kind, name, options, way):
    module, x = kind(8, 4, **options), torch.randn(2, 8, 6, 4)
    half = module.to(torch.bfloat16)(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), module.float()(x), rtol=0.1, atol=0.1)


@every_resampler
def test_a_module_is_built_from_its_width_alone(kind, name, options, way):
    module = kind(64)
    assert (module.width, module.out_width, module.scale) == (64, 64, 2)
    assert module(torch.zeros(1, 64, 4, 4)).shape == (1, 64, *((8, 8) if way == "up" else (2, 2)))


@every_resampler
def test_a_scale_that_is_not_positive_is_refused(kind, name, options, way):
    with pytest.raises(UserError):
        kind(4, scale=0, **options)
