"""Use, perplexity and entropy of codebooks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caselli.errors import UserError
from caselli.evaluate import CodebookUse, bits_per_picture, usage


def test_batches_add_up_to_their_union():
    codes = torch.randint(0, 50, (12, 4, 4))
    together, parts = CodebookUse((64,)), CodebookUse((64,))
    together.add(codes)
    for part in codes.split(5):
        parts.add(part)
    assert together.usages() == parts.usages()
    assert together.usages()[0].use == len(codes.unique()) / 64


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_usage_by_counting(values):
    counter = CodebookUse((10,))
    counter.add(torch.tensor(values)[None])
    shares = [values.count(k) / len(values) for k in set(values)]
    entropy = -sum(p * math.log2(p) for p in shares)
    found = counter.usages()[0]
    assert found.use == len(set(values)) / 10 and found.seen == len(values)
    assert math.isclose(found.entropy_bits, entropy, abs_tol=1e-9)
    assert math.isclose(found.perplexity, 2**entropy, rel_tol=1e-9)


def test_several_codebooks_are_counted_apart():
    counter = CodebookUse((4, 8))
    counter.add(torch.stack([torch.arange(4), torch.zeros(4, dtype=torch.int64)])[None])
    first, second = counter.usages()
    assert (first.use, second.use) == (1.0, 1 / 8)
    assert (first.perplexity, second.perplexity) == (4.0, 1.0)
    both = counter.together()
    assert both.use == 5 / 12 and both.entropy_bits == 2.0 and both.perplexity == 2.0


def test_nothing_counted_is_no_use():
    assert usage(torch.zeros(7, dtype=torch.int64)).use == 0
    assert CodebookUse((7,)).together().perplexity == 1.0


def test_codes_out_of_range_or_of_other_shape_are_users_mistakes():
    with pytest.raises(UserError, match="0 to 3 was expected"):
        CodebookUse((4,)).add(torch.tensor([[4]]))
    with pytest.raises(UserError, match="Q = 2"):
        CodebookUse((4, 4)).add(torch.zeros(2, 3, 4, dtype=torch.int64))


def test_bits_of_several_codebooks_add():
    assert bits_per_picture(4, (8, 16)) == 4 * (3 + 4)
