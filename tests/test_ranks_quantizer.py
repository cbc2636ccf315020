"""Two ranks with half of the batch each give what one rank gives with the whole."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from caselli import ranks
from tests.conformance.cases_quantizer import CASES
from tests.forked_ranks import run_on

RANKS, STEPS, BATCH = 2, 3, 8
ONE_EACH = {str(case): case for case in CASES}


def train(case, rank, count):
    """A few steps on this rank's share, and a gradient; in float64, where the order of sums is no matter."""
    torch.manual_seed(0)
    quantizer = case.build().double()
    batches = [case.latents(BATCH).double().chunk(count)[rank] for _ in range(STEPS)]
    torch.manual_seed(1)
    quantized = [quantizer(batch) for batch in batches[:-1]]
    latents = batches[-1].clone().requires_grad_()
    quantized.append(quantizer(latents))
    wanted = [latents, *quantizer.parameters()]
    objective = quantized[-1].loss + quantized[-1].latents.square().mean()
    gradients = torch.autograd.grad(objective, wanted, allow_unused=True, materialize_grads=True)
    return {
        "state": copy.deepcopy(quantizer.state_dict()),
        "codes": [one.codes for one in quantized],
        "loss": quantized[-1].loss.detach(),
        "latents": gradients[0],
        "parameters": list(gradients[1:]),
        "metrics": quantized[-1].metrics,
    }


def work(folder):
    results = {name: train(case, ranks.rank(), RANKS) for name, case in ONE_EACH.items()}
    torch.save(results, folder / f"{ranks.rank()}.pt")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each rank found, for every case."""
    folder = tmp_path_factory.mktemp("ranks")
    run_on(RANKS, work, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("name", ONE_EACH)
def test_every_rank_holds_the_same_codebook(both, name):
    first, second = (found[name]["state"] for found in both)
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("name", [name for name, case in ONE_EACH.items() if not case.random])
def test_two_ranks_are_one_with_the_joined_batch(both, name):
    alone, (first, second) = train(ONE_EACH[name], 0, 1), (found[name] for found in both)
    for key, value in alone["state"].items():
        assert_close(first["state"][key], value, msg=lambda text, key=key: f"{key}: {text}")
    for here, there, joined in zip(first["codes"], second["codes"], alone["codes"], strict=True):
        assert_close(torch.cat((here, there)), joined)
    assert_close((first["loss"] + second["loss"]) / RANKS, alone["loss"])
    assert_close(torch.cat((first["latents"], second["latents"])) / RANKS, alone["latents"])
    for here, there, joined in zip(
        first["parameters"], second["parameters"], alone["parameters"], strict=True
    ):
        assert_close((here + there) / RANKS, joined)
    for metric in ("perplexity", "used"):
        if metric in alone["metrics"]:
            assert_close(first["metrics"][metric], alone["metrics"][metric])
            assert torch.equal(first["metrics"][metric], second["metrics"][metric])
