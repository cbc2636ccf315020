"""Fréchet and kernel distances, precision and recall: against the definitions, scipy and torchmetrics."""

from __future__ import annotations

import pytest
import torch

from caselli.errors import UserError
from caselli.evaluate import (
    KernelDistance,
    Moments,
    compare_sets,
    frechet_between,
    frechet_distance,
    frechet_ratio,
    kernel_distance,
    manifold,
    monge_distance,
    squared_mmd,
)


def _two_sets(n: int = 80, m: int = 70, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    mix = torch.randn(width, width, dtype=torch.float64)
    return torch.randn(n, width, dtype=torch.float64), torch.randn(m, width, dtype=torch.float64) @ mix + 0.5


def test_moments_of_parts_join_to_the_whole():
    x, _ = _two_sets()
    joined = Moments.of(x[:1])
    for part in x[1:].split(13):
        joined = joined.join(Moments.of(part))
    torch.testing.assert_close(joined.mean, x.mean(0))
    torch.testing.assert_close(joined.covariance, x.T.cov())


def test_frechet_distance_equals_the_matrix_square_root():
    linalg = pytest.importorskip("scipy.linalg")
    x, y = _two_sets()
    root = torch.from_numpy(linalg.sqrtm((x.T.cov() @ y.T.cov()).numpy()).real)
    expected = (x.mean(0) - y.mean(0)).square().sum() + torch.trace(x.T.cov() + y.T.cov() - 2 * root)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(float(expected), rel=1e-9)


def test_frechet_distance_of_gaussians_on_the_axes():
    """Diagonal covariances: Σ (√a − √b)², whatever the rank."""
    scale = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    x, y = signs * scale, signs * scale.flip(0)
    deviation = (4 / 3) ** 0.5
    expected = deviation**2 * float((scale - scale.flip(0)).square().sum())
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected)


def test_frechet_distance_is_zero_at_equality_also_with_few_pictures():
    x = torch.randn(5, 40, dtype=torch.float64)
    assert frechet_distance(Moments.of(x), Moments.of(x)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n,m,width", [(9, 14, 30), (2, 3, 40), (50, 40, 6)])
def test_frechet_distance_of_few_pictures_by_their_products_is_that_of_the_moments(n, m, width):
    x, y = torch.randn(n, width, dtype=torch.float64), 2 * torch.randn(m, width, dtype=torch.float64) + 1
    assert frechet_between(x, y) == pytest.approx(frechet_distance(Moments.of(x), Moments.of(y)), rel=1e-6)
    assert frechet_between(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_equals_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    x, y = (part.float() for part in _two_sets())
    metric = fid.FrechetInceptionDistance(feature=_Flat(), normalize=True, input_img_size=(1, 1, 6))
    metric.set_dtype(torch.float64)
    metric.update(x.view(-1, 1, 1, 6), real=True)
    metric.update(y.view(-1, 1, 1, 6), real=False)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(float(metric.compute()), rel=1e-5)


def test_squared_mmd_by_its_definition():
    x, y = _two_sets(9, 7, 3)

    def kernel(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    within_x = sum(kernel(x[i], x[j]) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    within_y = sum(kernel(y[i], y[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    between = sum(kernel(a, b) for a in x for b in y) / 63
    assert float(squared_mmd(x, y)) == pytest.approx(within_x + within_y - 2 * between)


@pytest.mark.filterwarnings("ignore:Metric .Kernel Inception Distance")
def test_kernel_distance_equals_torchmetrics_on_the_whole_set():
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = (part.float() for part in _two_sets(60, 60))
    metric = kid.KernelInceptionDistance(feature=_Flat(), subsets=1, subset_size=60, normalize=True)
    metric.update(x.view(-1, 1, 1, 6), real=True)
    metric.update(y.view(-1, 1, 1, 6), real=False)
    found = kernel_distance(x, y, subsets=1, subset_size=60)
    assert found.mean == pytest.approx(float(metric.compute()[0]), rel=1e-4)


def test_kernel_distance_is_repeatable_and_unbiased_at_equality():
    x = torch.randn(300, 4, dtype=torch.float64)
    y = torch.randn(300, 4, dtype=torch.float64)
    found = kernel_distance(x, y, subsets=40, subset_size=60)
    assert isinstance(found, KernelDistance) and found == kernel_distance(x, y, subsets=40, subset_size=60)
    assert abs(found.mean) < 0.1 < kernel_distance(x, y + 1, subsets=40, subset_size=60).mean


def test_monge_distance_of_shifts_and_scales():
    """‖δ‖² for a shift by δ, F (s − 1)² for Gaussians with deviations 1 and s: as the Fréchet distance."""
    x = torch.randn(500, 3, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert monge_distance(x, x + shift, directions=4000) == pytest.approx(5.25, rel=0.05)
    assert monge_distance(x, 2 * x) == pytest.approx(
        frechet_distance(Moments.of(x), Moments.of(2 * x)), rel=0.05
    )
    assert monge_distance(x, x) == 0 == monge_distance(x, x.flip(0))


def test_monge_distance_sees_what_two_moments_do_not_and_is_repeatable():
    x = torch.randn(1000, 2, dtype=torch.float64)
    signs = torch.randint(0, 2, x.shape).double() * 2 - 1  # the mean and covariance of x, two points an axis
    assert frechet_distance(Moments.of(x), Moments.of(signs)) < 0.02 < 0.1 < monge_distance(x, signs)
    state = torch.random.get_rng_state()
    assert monge_distance(x[:100], signs) == monge_distance(x[:100], signs)
    assert torch.equal(state, torch.random.get_rng_state())


def test_frechet_ratio_is_one_for_real_pictures_whatever_the_scale():
    x, others, y = torch.randn(3, 300, 4, dtype=torch.float64)
    assert 0.5 < frechet_ratio(x, y, others) < 2
    found = frechet_ratio(x, y + 1, others)
    assert found > 20 and frechet_ratio(7 * x, 7 * (y + 1), 7 * others) == pytest.approx(found)
    sets = compare_sets(x, y + 1, others=others, features="none", reference="noise")
    assert sets.frechet_ratio == found and sets.monge == monge_distance(x, y + 1)
    assert compare_sets(x, y, features="none", reference="noise").frechet_ratio is None


def test_manifold_by_its_definition():
    x, y = _two_sets(25, 20, 2)
    k = 3

    def radius(p, points):
        return sorted(float((p - q).norm()) for q in points)[k]  # the first is the point itself

    inside = [[float((b - a).norm()) <= radius(a, x) for a in x] for b in y]
    back = [[float((a - b).norm()) <= radius(b, y) for b in y] for a in x]
    found = manifold(x, y, k)
    assert found.precision == pytest.approx(sum(map(any, inside)) / 20)
    assert found.recall == pytest.approx(sum(map(any, back)) / 25)
    assert found.density == pytest.approx(sum(map(sum, inside)) / (20 * k))
    assert found.coverage == pytest.approx(sum(any(row[i] for row in inside) for i in range(25)) / 25)


def test_manifold_of_a_set_with_itself_is_whole():
    x, _ = _two_sets(300, 1, 4)
    found = manifold(x, x)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: frechet_distance(Moments.of(x), Moments.of(x[:, :2])),
        lambda x: Moments.of(x[:1]).covariance,
        lambda x: frechet_between(x, x[:1]),
        lambda x: frechet_between(x, x[:, :2]),
        lambda x: Moments.of(x / 0),
        lambda x: Moments.of(x[0]),
        lambda x: kernel_distance(x, x[:1]),
        lambda x: manifold(x, x[:3]),
        lambda x: monge_distance(x, x[:, :2]),
        lambda x: monge_distance(x, x, directions=0),
        lambda x: frechet_ratio(x, x, x),
    ],
)
def test_bad_input_is_a_users_mistake(call):
    with pytest.raises(UserError):
        call(torch.ones(5, 3))


class _Flat(torch.nn.Module):
    """Hands features through as they are; torchmetrics asks it for its width."""

    num_features = 6

    def forward(self, x):
        return x.flatten(1).to(torch.float64 if x.dtype == torch.float64 else torch.float32)
