"""PSNR, SSIM and MS-SSIM against torchmetrics, and where they end."""

from __future__ import annotations

import pytest
import torch

from caselli.errors import UserError
from caselli.evaluate import ms_ssim, psnr, ssim
from caselli.evaluate.pictures import SCALE_WEIGHTS


def _pair(channels: int, side: int, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.rand(3, channels, side, side, dtype=torch.float64) * 2 - 1
    return a, (a + noise * torch.randn_like(a)).clamp(-1, 1)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return (x + 1) / 2


@pytest.mark.parametrize("channels,side", [(1, 32), (3, 21)])
def test_psnr_equals_torchmetrics(channels, side):
    image = pytest.importorskip("torchmetrics.functional.image")
    a, b = _pair(channels, side)
    oracle = image.peak_signal_noise_ratio(a, b, data_range=2.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(a, b), oracle.double(), rtol=1e-6, atol=1e-6)


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Torchmetrics' map of SSIM without the borders, where its window looks at mirrored pixels."""
    image = pytest.importorskip("torchmetrics.functional.image")
    measure = image.structural_similarity_index_measure
    _, whole = measure(a, b, data_range=1.0, reduction="none", return_full_image=True)
    return whole[..., 5:-5, 5:-5].flatten(1).mean(1)


@pytest.mark.parametrize("channels,side", [(1, 32), (3, 21), (1, 11)])
def test_ssim_equals_torchmetrics_inside(channels, side):
    a, b = _pair(channels, side)
    torch.testing.assert_close(ssim(a, b), _inner(_unit(a), _unit(b)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side,weights", [(176, SCALE_WEIGHTS), (32, SCALE_WEIGHTS[:2]), (12, (1.0,))])
def test_ms_ssim_equals_torchmetrics_inside_at_as_many_scales_as_fit(side, weights):
    module = pytest.importorskip("torchmetrics.functional.image.ssim")
    a, b = _pair(1, side)
    found = ms_ssim(a, b)
    a, b = _unit(a), _unit(b)
    expected = torch.ones(3, dtype=torch.float64)
    for weight in weights[:-1]:
        _, structure = module._ssim_update(a, b, data_range=1.0, return_contrast_sensitivity=True)
        expected = expected * structure ** (weight / sum(weights))
        a, b = (torch.nn.functional.avg_pool2d(x, 2) for x in (a, b))
    expected = expected * _inner(a, b) ** (weights[-1] / sum(weights))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_ssim_by_its_definition():
    """One position: a picture of the window's size, with the sums written out."""
    a, b = _pair(1, 11)
    offsets = torch.arange(11, dtype=torch.float64) - 5
    weights = torch.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights = weights / weights.sum()
    for i in range(3):
        x, y = _unit(a[i, 0]), _unit(b[i, 0])
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        variance_x, variance_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
        covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
        luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
        expected = luminance * (2 * covariance + 9e-4) / (variance_x + variance_y + 9e-4)
        torch.testing.assert_close(ssim(a, b)[i], expected)


@pytest.mark.parametrize("measure,best", [(psnr, 58.9226), (ssim, 1.0), (ms_ssim, 1.0)])
@pytest.mark.parametrize("side", [4, 8, 40])
def test_equal_pictures_get_the_best_and_order_does_not_matter(measure, best, side):
    a, b = _pair(3, side)
    torch.testing.assert_close(
        measure(a, a), torch.full((3,), best, dtype=torch.float64), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(measure(a, b), measure(b, a))
    assert (measure(a, b) < best).all()


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_what_lies_outside_is_clipped_and_half_precision_is_widened(measure):
    a, b = _pair(1, 16)
    torch.testing.assert_close(measure(3 * a, b), measure((3 * a).clamp(-1, 1), b))
    assert measure(a.bfloat16(), b.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_different_shapes_are_a_users_mistake(measure):
    with pytest.raises(UserError, match="one shape B C H W"):
        measure(torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))


@pytest.mark.gpu
@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_a_gpu_measures_the_same(measure):
    a, b = _pair(3, 64)
    torch.testing.assert_close(measure(a.cuda(), b.cuda()).cpu(), measure(a, b))
