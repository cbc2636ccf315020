"""Muon's steps are PyTorch's in bfloat16, and orthogonal in either precision."""

from __future__ import annotations

import pytest
import torch

from caselli.engine.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (8, 8)])
def test_in_bfloat16_the_steps_are_those_of_pytorch(shape):
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().clone())
    pair = (
        Muon([ours], 0.01, 0.1, torch.bfloat16),
        torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(5):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimiser in pair:
            optimiser.step()
    assert torch.equal(ours, theirs)
    first, second = (optimiser.state_dict()["state"][0] for optimiser in pair)
    assert first.keys() == second.keys() and torch.equal(*(s["momentum_buffer"] for s in (first, second)))


@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonal(matrix) @ v.T
    assert (found.diag() - 1).abs().max() < 0.35
    assert (found - found.diag().diag()).abs().max() < 1e-12
    assert torch.allclose(orthogonal(5 * matrix), orthogonal(matrix), atol=1e-12)
