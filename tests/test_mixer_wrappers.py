"""The bidirectional wrapper."""

from __future__ import annotations

import itertools

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS, Bidirectional

WIDTH = 8


def build(name="linear", **options):
    return MIXERS[name](width=WIDTH, **options).double()


def some(length, batch=2):
    return torch.randn(batch, length, WIDTH, dtype=torch.float64)


@pytest.mark.parametrize("combine", ["sum", "concatenate"])
def test_bidirectional_is_both_directions(combine):
    one, other = build(), build("local", window=3)
    mixer, x = Bidirectional(one, other, combine=combine).double(), some(7)
    there, back = one(x)[0], other(x.flip(1))[0].flip(1)
    expected = there + back if combine == "sum" else mixer.output(torch.cat((there, back), -1))
    torch.testing.assert_close(mixer(x)[0], expected)


@pytest.mark.parametrize("name", ["linear", "attention", "retention"])
def test_bidirectional_keeps_packed_sequences_apart(name):
    mixer, x = Bidirectional(build(name), build(name)).double(), some(9, 1)
    starts = torch.zeros(1, 9, dtype=torch.bool)
    starts[0, [3, 4]] = True
    y = mixer(x, starts=starts)[0]
    for a, b in itertools.pairwise((0, 3, 4, 9)):
        torch.testing.assert_close(y[:, a:b], mixer(x[:, a:b])[0], rtol=0, atol=1e-10)


def test_gradients_reach_everything():
    mixer, x = Bidirectional(build(), build()), some(6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mixer(x)[0], x, fast_mode=True)
    mixer(x)[0].square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in mixer.parameters())


def test_mistakes_are_named():
    with pytest.raises(UserError, match="one width"):
        Bidirectional(build(), MIXERS["linear"](width=16))
    with pytest.raises(UserError, match="causal"):
        Bidirectional(build(), build("attention", causal=False))
    with pytest.raises(UserError, match="combination"):
        Bidirectional(build(), build(), combine="product")
    with pytest.raises(UserError, match="whole sequence"):
        Bidirectional(build(), build())(some(6), form="step")
