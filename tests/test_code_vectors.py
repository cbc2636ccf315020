"""Embeddings and logits of codes that share what they learn through the codebook's vectors."""

from __future__ import annotations

import os

import pytest
import torch
from torch.nn.utils import parametrize

from caselli.model import load
from caselli.prior import Alphabet, PriorConfig, build, code_vectors, fold, share
from caselli.quantizer import FSQ, LFQ, VQ, MultiScale, Residual
from caselli.run import train
from tests.pictures import TINY, bars_and_stripes, equal_weights

KINDS = ("autoregressive", "masked", "random_order", "parallel_order")


def test_the_vectors_are_what_the_codes_stand_for():
    quantizer = VQ(3, codebook_size=5)
    own = quantizer.decode(torch.arange(5)[None])[0].T
    found = code_vectors(quantizer)
    assert torch.allclose(found * (own - own.mean(0)).std() + own.mean(0), own, atol=1e-5)
    two = Residual(3, options={"codebook_size": 5}, stages=2)
    codes = torch.zeros(1, 2, 5, dtype=torch.int64)
    codes[0, 1] = torch.arange(5)
    second = two.decode(codes)[0].T
    second = second - second.mean(0)
    assert code_vectors(two).shape == (10, 3)
    assert torch.allclose(code_vectors(two)[5:], second / second.std(), atol=1e-5)
    assert code_vectors(FSQ(2, levels=(3, 3))).shape == (9, 2)
    assert code_vectors(MultiScale(4, options={"codebook_size": 8}, scales=(1, 2))) is None


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_folded_into_tables_of_the_same_prior(kind):
    torch.manual_seed(0)
    prior = build(
        PriorConfig(kind=kind, width=32, depth=1), Alphabet((6,), (0,) * 4, places=places(4))
    ).eval()
    plain = set(prior.state_dict())
    codes = torch.randint(6, (2, 4))
    alone = prior.log_prob(codes, None)
    share(prior, VQ(3, codebook_size=6))
    assert parametrize.is_parametrized(prior.code, "weight")
    shared = prior.log_prob(codes, None)
    assert not torch.allclose(shared, alone)
    shared.sum().backward()
    assert all(p.grad.abs().sum() > 0 for name, p in prior.named_parameters() if name.endswith("map"))
    fold(prior)
    assert set(prior.state_dict()) == plain
    assert torch.allclose(prior.log_prob(codes, None), shared, atol=1e-6)


def places(count):
    return tuple((i // 2, i % 2) for i in range(count))


def test_a_head_of_bits_stays_as_it_is():
    prior = build(PriorConfig(head="bits", width=32, depth=1), Alphabet((8,), (0,) * 4, levels=(2, 2, 2)))
    share(prior, LFQ(3))
    assert not any(parametrize.is_parametrized(module) for module in prior.modules())


def test_a_run_with_them_is_a_run_like_any_other(tmp_path, monkeypatch):
    """Killed and resumed in the same bits, and loaded without a trace."""
    monkeypatch.setattr("caselli.run.prior_stage.EARLIEST", 2)
    pictures = bars_and_stripes(tmp_path / "pictures")
    changes = TINY | {
        "prior.code_vectors": True,
        "training.early_guide": 0.5,
        "training.prior.checkpoint_steps": 1,
    }
    whole = train(pictures, tmp_path / "whole", recipe="tiny", steps=4, changes=changes)
    cut = train(pictures, tmp_path / "cut", recipe="tiny", steps=4, changes=changes)
    assert equal_weights(whole, cut)
    assert set(load(whole).prior.state_dict()) == set(load(whole).guide.state_dict())
    checkpoints = cut / "checkpoints" / "prior"
    os.replace(checkpoints / "before.pt", checkpoints / "last.pt")
    assert torch.load(checkpoints / "last.pt", weights_only=True)["step"] == 3
    (cut / "prior.json").unlink()
    train(pictures, cut, stage="prior", resume=True)
    assert equal_weights(whole, cut)
