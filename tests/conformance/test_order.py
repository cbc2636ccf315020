"""The laws of every order: one slot for each code, the inverse exact, slots say where they come from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caselli.errors import UserError
from caselli.order import ORDERS, Delayed, Grid, Hilbert, Raster, Serpentine
from tests.conformance.cases_order import CASES

every_order = pytest.mark.parametrize(("name", "options"), CASES)
flat = st.builds(Grid, st.just(1), st.integers(1, 17), st.integers(1, 5), st.just(True))
grids = st.builds(Grid, st.integers(1, 17), st.integers(1, 17), st.integers(1, 5)) | flat


def numbered(grid, batch=2):
    """Codes that are all different."""
    return torch.arange(batch * grid.length).view(batch, *grid.shape)


def test_every_order_of_the_table_is_under_test():
    assert {name for name, _ in CASES} == set(ORDERS)


@every_order
@settings(max_examples=40, deadline=None)
@given(grid=grids)
def test_the_inverse_is_exact(name, options, grid):
    order, codes = ORDERS[name](**options), numbered(grid)
    sequence = order.flatten(codes, grid)
    assert sequence.shape == (2, order.length(grid))
    assert torch.equal(order.restore(sequence, grid), codes)
    assert torch.equal(order.flatten(order.restore(sequence, grid), grid), sequence)


@every_order
@settings(max_examples=40, deadline=None)
@given(grid=grids)
def test_every_code_has_one_slot_which_knows_its_place(name, options, grid):
    order, codes = ORDERS[name](**options), numbered(grid, 1)
    slots = order.slots(grid)
    assert torch.equal(slots.sort().values, torch.arange(grid.length))
    (row, column), codebook = order.position(grid).T, order.codebook(grid)
    looked_up = codes.view(grid.codebooks, grid.height, grid.width)[codebook, row, column]
    assert torch.equal(order.flatten(codes, grid)[0], looked_up)


@every_order
@settings(max_examples=20, deadline=None)
@given(grid=grids)
def test_a_position_fills_its_codebooks_in_turn(name, options, grid):
    """Coarse before fine: code q of a position comes before code q + 1."""
    order = ORDERS[name](**options)
    slot = order.slots(grid).argsort().view(grid.codebooks, -1)
    assert (slot.diff(dim=0) > 0).all()


@every_order
def test_keeps_dtype_and_gradient(name, options):
    order, grid = ORDERS[name](**options), Grid(3, 4, 2)
    scores = torch.randn(2, 24, dtype=torch.float64, requires_grad=True)
    order.restore(scores, grid)[:, 1, 2, 3].sum().backward()
    assert scores.grad.sum() == 2
    assert order.flatten(numbered(grid).to(torch.int32), grid).dtype == torch.int32


@settings(max_examples=60, deadline=None)
@given(grid=st.builds(Grid, st.integers(1, 40), st.integers(1, 40)))
def test_neighbours_touch(grid):
    for order in (Hilbert(), Serpentine()):
        steps = order.position(grid).diff(dim=0).abs()
        assert (steps.amax(1) == 1).all() if len(steps) else True
        corners = (steps.sum(1) == 2).sum()
        odd_by_even = max(grid.height, grid.width) % 2 and not min(grid.height, grid.width) % 2
        assert corners <= (1 if isinstance(order, Hilbert) and odd_by_even else 0)


def test_hilbert_is_the_hilbert_curve_on_a_square():
    path = Hilbert().position(Grid(4, 4)).tolist()
    assert path == [
        [0, 0], [0, 1], [1, 1], [1, 0], [2, 0], [3, 0], [3, 1], [2, 1],
        [2, 2], [3, 2], [3, 3], [2, 3], [1, 3], [1, 2], [0, 2], [0, 3],
    ]  # fmt: skip


def test_raster_interleaves_codebooks():
    codes = torch.tensor([[[[0, 1]], [[10, 11]]]])
    assert Raster().flatten(codes, Grid(1, 2, 2)).tolist() == [[0, 10, 1, 11]]


def test_delayed_staggers_codebooks():
    codes = torch.tensor([[[[0, 1, 2]], [[10, 11, 12]], [[20, 21, 22]]]])
    sequence = Delayed().flatten(codes, Grid(1, 3, 3))
    assert sequence.tolist() == [[0, 1, 10, 2, 11, 20, 12, 21, 22]]
    assert torch.equal(Delayed(delay=0).slots(Grid(3, 2, 3)), Raster().slots(Grid(3, 2, 3)))
    assert torch.equal(Delayed(delay=6).slots(Grid(3, 2, 3)), torch.arange(18))


def test_mistakes_are_named():
    with pytest.raises(UserError, match="at least 1"):
        Grid(0, 4)
    with pytest.raises(UserError, match=r"shape \(2, 4, 4\)"):
        Raster().flatten(torch.zeros(1, 4, 4, dtype=torch.int64), Grid(4, 4, 2))
    with pytest.raises(UserError, match=r"\(16,\)"):
        Raster().restore(torch.zeros(1, 15, dtype=torch.int64), Grid(4, 4))
    with pytest.raises(UserError, match="delay"):
        Delayed(delay=-1)


def test_shapes_alone_leave_nothing_behind():
    """A grid that was first seen while a plan was made, from tensors without numbers."""
    from caselli.private import shapes_alone

    grid = Grid(3, 5)
    with shapes_alone():
        Raster().flatten(torch.zeros(1, 3, 5, dtype=torch.int64), grid)
    codes = torch.arange(15).reshape(1, 3, 5)
    assert torch.equal(Raster().restore(Raster().flatten(codes, grid), grid), codes)
