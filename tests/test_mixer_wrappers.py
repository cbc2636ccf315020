"""The bidirectional and the two-dimensional wrapper."""

from __future__ import annotations

import itertools

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS, Bidirectional, TwoDimensional
from caselli.order import Grid

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


@pytest.mark.parametrize("grid", [Grid(3, 4), Grid(1, 5), Grid(2, 3, codebooks=2)])
def test_two_dimensional_is_each_row_and_each_column(grid):
    rows, columns = build(), build("local", window=3, causal=False)
    mixer, x = TwoDimensional(grid, rows, columns), some(grid.length)
    y = mixer(x)[0].unflatten(1, (grid.height, grid.width, grid.codebooks))
    x = x.unflatten(1, (grid.height, grid.width, grid.codebooks))
    for r, c in itertools.product(range(grid.height), range(grid.width)):
        row = rows(x[:, r].flatten(1, 2))[0].unflatten(1, (grid.width, grid.codebooks))[:, c]
        column = columns(x[:, :, c].flatten(1, 2))[0].unflatten(1, (grid.height, grid.codebooks))[:, r]
        torch.testing.assert_close(y[:, r, c], row + column)


def test_two_dimensional_keeps_grids_apart():
    mixer, x = TwoDimensional(Grid(2, 3), build(), build()), some(12)
    y = mixer(x)[0]
    torch.testing.assert_close(y, torch.cat([mixer(half)[0] for half in x.split(6, 1)], 1))


def test_two_dimensional_of_causal_mixers_sees_no_future():
    mixer, x = TwoDimensional(Grid(3, 4), build(), build()), some(12)
    changed = torch.cat((x[:, :7], some(5)), 1)
    torch.testing.assert_close(mixer(x)[0][:, :7], mixer(changed)[0][:, :7])


@pytest.mark.parametrize("make", [Bidirectional, lambda a, b: TwoDimensional(Grid(2, 3), a, b)])
def test_gradients_reach_everything(make):
    mixer, x = make(build(), build()), some(6).requires_grad_()
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
    with pytest.raises(UserError, match="multiple of the 6"):
        TwoDimensional(Grid(2, 3), build(), build())(some(7))
    with pytest.raises(UserError, match="starts"):
        TwoDimensional(Grid(2, 3), build(), build())(some(6), starts=torch.zeros(2, 6, dtype=torch.bool))
    with pytest.raises(UserError, match="whole sequence"):
        Bidirectional(build(), build())(some(6), form="step")
