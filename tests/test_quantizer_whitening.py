"""Whitening, and what it and a fitted start are for: codes that stay in use whatever the latents' shape."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from caselli.errors import UserError
from caselli.quantizer import FSQ, Gumbel, SimVQ
from caselli.quantizer.whitening import FLOOR, Whitening, inverse_root


def stretched(count: int, width: int) -> torch.Tensor:
    """Latents far from the origin, with strong correlations."""
    mixing = torch.randn(width, width, dtype=torch.float64) * torch.logspace(
        0, -1, width, dtype=torch.float64
    )
    return torch.randn(count, width, dtype=torch.float64) @ mixing.T + 5


@pytest.mark.parametrize("width", [1, 2, 5, 32])
def test_the_root_is_that_of_the_eigenvalues(width):
    covariance = stretched(200, width).T.cov().reshape(width, width)
    lifted = covariance + FLOOR * covariance.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(lifted)
    assert_close(inverse_root(covariance), (vectors * values.rsqrt()) @ vectors.T, atol=1e-8, rtol=1e-6)


def test_degenerate_covariances_stay_finite():
    for matrix in (torch.zeros(3, 3), torch.ones(3, 3), torch.diag(torch.tensor([1e6, 0.0, 0.0]))):
        assert torch.isfinite(inverse_root(matrix)).all()


def test_a_batch_is_whitened_by_its_own_statistics_first():
    whitening = Whitening(3, decay=0.9).double()
    z = (
        4
        + torch.randn(500, 3, dtype=torch.float64)
        @ torch.tensor([[2.0, 1, 0], [0, 1, 1], [0, 0, 1]]).double()
    )
    assert_close(whitening(z), z, atol=0, rtol=FLOOR)
    whitening.learn(z)
    u = whitening(z)
    assert_close(u.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    assert_close(u.T.cov(), torch.eye(3, dtype=torch.float64), atol=0.02, rtol=0)


def test_later_batches_are_averaged():
    whitening = Whitening(1, decay=0.75)
    for mean in (4.0, 0.0, 0.0, 0.0, 0.0):
        whitening.learn(torch.full((2, 1), mean) + torch.tensor([[1.0], [-1.0]]))
    assert_close(whitening.mean, torch.tensor([4 / 2 * 2 / 3 * 3 / 4 * 3 / 4]))
    with pytest.raises(UserError, match="decay"):
        Whitening(1, decay=1.0)


def use(quantizer, z: torch.Tensor) -> float:
    quantizer.train()(z)
    return len(quantizer.eval().encode(z).unique()) / quantizer.sizes[0]


def test_whitening_keeps_the_levels_in_use():
    z = stretched(20_000, 5).float()
    published, ours = FSQ(5, whitening=0), FSQ(5)
    assert use(published, z) < 0.3
    assert use(ours, z) > 0.99


@pytest.mark.parametrize("level", [3, 4, 5, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_normal_latents_meet_each_level_about_equally(level, symmetric):
    quantizer = FSQ(1, levels=(level,), symmetric=symmetric)
    codes = quantizer(torch.randn(100_000, 1)).codes
    shares = torch.bincount(codes, minlength=level) / len(codes)
    assert_close(shares, torch.full((level,), 1 / level), rtol=0.3, atol=0)


def test_a_fitted_start_puts_the_codes_where_the_latents_are():
    z = stretched(20_000, 8).float()
    assert use(SimVQ(8, fitted_start=False), z) < 0.3
    assert use(SimVQ(8), z) > 0.8


def test_the_start_is_made_once():
    quantizer = SimVQ(4, codebook_size=16)
    quantizer(torch.randn(64, 4) + 3)
    before = quantizer.codebook_offset.clone()
    quantizer(torch.randn(64, 4) - 3)
    assert torch.equal(quantizer.codebook_offset, before)


def test_the_balance_of_gumbel_is_zero_at_equal_use():
    quantizer = Gumbel(2, codebook_size=4)
    with torch.no_grad():
        quantizer.logits.weight.zero_()
        quantizer.logits.bias.zero_()
    assert_close(quantizer(torch.randn(8, 2)).metrics["balance"], torch.tensor(0.0), atol=1e-6, rtol=0)
    with torch.no_grad():
        quantizer.logits.bias[0] = 50.0
    assert_close(quantizer(torch.randn(8, 2)).metrics["balance"], torch.tensor(4.0).log())
