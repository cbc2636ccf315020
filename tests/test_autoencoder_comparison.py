"""Figures of `caselli compare autoencoders` that no law of the table of comparisons sees."""

from __future__ import annotations

import pytest
import torch

from caselli.compare import autoencoders
from caselli.compare.autoencoders import METHODS, Autoencoders, Settings, variance


@pytest.mark.parametrize("name", ["score, moving average", "nvil"])
def test_a_baseline_is_fitted_before_its_variance_is_measured(name, monkeypatch):
    """Also where the bound was measured before, which leaves the model in evaluation mode."""
    comparison = Autoencoders(Settings(source="none", latents=4, steps=4))
    shape = {"channels": 1, "size": 8}
    (shared, _), (vae, _) = (comparison._untrained(METHODS[each], shape) for each in ("score", name))
    x = torch.randint(2, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    vae.eval()
    found = []
    for steps in (0, 60):
        monkeypatch.setattr(autoencoders, "ADAPTATION", steps)
        torch.manual_seed(0)
        found.append(variance(vae, shared, x))
    assert found[1] < found[0] / 2
