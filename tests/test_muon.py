"""Muon's steps are PyTorch's in bfloat16, and orthogonal in either precision."""

from __future__ import annotations

import pytest
import torch

from caselli.engine.muon import Muon, orthogonal


@pytest.mark.parametrize(
    "shapes", [[(5, 12)], [(12, 5)], [(8, 8)], [(128, 128), (512, 128), (128, 128), (300, 300), (512, 128)]]
)
def test_in_bfloat16_the_steps_are_those_of_pytorch(shapes):
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(x.detach().clone()) for x in ours]
    pair = (
        Muon(ours, 0.01, 0.1, torch.bfloat16),
        torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimiser in pair:
            optimiser.step()
    assert all(map(torch.equal, ours, theirs))
    first, second = (optimiser.state_dict()["state"] for optimiser in pair)
    for number in first:
        assert first[number].keys() == second[number].keys()
        assert torch.equal(*(state[number]["momentum_buffer"] for state in (first, second)))


def test_matrices_without_a_gradient_stay():
    matrices = [torch.nn.Parameter(torch.eye(3)) for _ in range(3)]
    matrices[0].grad = matrices[2].grad = torch.ones(3, 3)
    Muon(matrices, 0.1, 0.0, torch.float32).step()
    assert torch.equal(matrices[1], torch.eye(3)) and torch.equal(matrices[0], matrices[2])
    assert not torch.equal(matrices[0], torch.eye(3))


@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonal(matrix) @ v.T
    assert (found.diag() - 1).abs().max() < 0.35
    assert (found - found.diag().diag()).abs().max() < 1e-12
    assert torch.allclose(orthogonal(5 * matrix), orthogonal(matrix), atol=1e-12)
