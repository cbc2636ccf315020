"""The plane: targets have densities, fits land where the divergence says, the command writes its picture."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from caselli.cli import main
from caselli.compare import COMPARISONS, compare, text
from caselli.compare.plane import TARGETS, fit, fitting_the_plane
from caselli.errors import UserError


@pytest.mark.parametrize("name", TARGETS)
def test_targets_have_a_density(name):
    p = TARGETS[name]()
    axis = torch.linspace(-4, 4, 161, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert abs(p.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2 - 1) < 1e-2


def test_every_divergence_of_the_plane_runs():
    fits = [fit("ring", name, steps=2) for name in fitting_the_plane("mixture")]
    assert all(f.samples.isfinite().all() for f in fits)


def test_modes_are_covered_or_sought():
    """Likelihood spreads one Gaussian over all eight; reverse KL keeps it where the data are."""
    wide = fit("eight_gaussians", "maximum_likelihood", components=1, steps=150)
    narrow = fit("eight_gaussians", "reverse_kl", components=1, steps=150)
    assert wide.recall > 0.95 and narrow.precision > 2 * wide.precision and narrow.recall < 0.5


def test_a_generator_has_no_density():
    with pytest.raises(UserError, match="these fit: mmd, energy"):
        fit("ring", "kl", model="generator")
    with pytest.raises(UserError, match="take sliced_wasserstein"):
        fit("ring", "wasserstein_1d")


def test_the_same_seed_gives_the_same_fit():
    kind = COMPARISONS["divergences"]
    made = kind(kind.Settings(targets=("ring",), divergences=("mmd", "hinge"), steps=3, seed=1))
    a, b = (compare(made) for _ in range(2))
    assert all(torch.equal(x.samples, y.samples) for x, y in zip(a, b, strict=True))
    assert text(made, a) == text(made, b)


def test_command(capsys, tmp_path):
    words = ["compare", "divergences", "--targets", "ring", "--divergences", "kl,hinge", "--steps", "2"]
    assert main([*words, "-o", str(tmp_path / "plane")]) == 0
    assert "| `hinge` |" in capsys.readouterr().out
    assert Image.open(tmp_path / "plane" / "plot.png").size[0] > 300
    assert main([*words[:-3], "kll", "--steps", "2"]) == 2
    assert "did you mean kl" in capsys.readouterr().err
