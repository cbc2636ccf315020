"""The interval rule against gradients, on random networks of every layer that anatomy knows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from caselli.anatomy import ReceptiveField
from tests.reference.gradient_field import gradient_field, support
from tests.reference.receptive_field import CHANNELS, networks

SIZES = {1: (13,), 2: (9, 12), 3: (5, 6, 7)}


def output_space(network, shape):
    """The size of the output; nothing if the layers don't fit together."""
    try:
        with torch.no_grad():
            return network(torch.rand(1, *shape, dtype=torch.float64)).shape[2:]
    except (RuntimeError, ValueError):
        return ()


def random_networks(count):
    """So many, the same each time."""
    return settings(
        max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )


@random_networks(60)
@given(data=st.data())
def test_interval_rule_and_gradient_support_agree(data):
    agree(data)


@pytest.mark.slow
@random_networks(400)
@given(data=st.data())
def test_they_agree_on_many_networks(data):
    agree(data)


def agree(data):
    space = data.draw(st.sampled_from([1, 2, 2, 2, 3]))
    network = data.draw(networks(space)).double().eval()
    shape = (CHANNELS, *SIZES[space])
    size = output_space(network, shape)
    assume(size and min(size) > 0)
    position = tuple(data.draw(st.integers(0, n - 1)) for n in size)
    count = data.draw(st.booleans())
    known = ReceptiveField(network, shape, count_statistics=count)
    field = known.at(position=position)
    seen = support(gradient_field(network, shape, position=position, count_statistics=count))
    for axis, found in enumerate(field.axes):
        along = seen.movedim(axis, 0).reshape(seen.shape[axis], -1).any(1)
        assert found.seen == tuple(along.nonzero().flatten().tolist())
    # what is seen is touched, and the other way round
    if all(axis.seen for axis in field.axes):
        corner = tuple(seen.nonzero()[0].tolist())
        assert all(o in reached for o, reached in zip(position, known.touched(corner), strict=True))
    # the sweep over all positions agrees with the walk from one
    first, last, whole = zip(*_swept(known, position), strict=True)
    for axis, found in enumerate(field.axes):
        if not whole[axis] and not found.whole and found.seen:
            assert (first[axis], last[axis]) == (found.first, found.last)


def _swept(known, position):
    target = known.tape.value(None)
    wanted = {target: [torch.tensor([p]).numpy() for p in position]}
    return [(int(a[0]), int(b[0]), w) for a, b, w in known.intervals(wanted, known.tape.inputs[0])[target]]
