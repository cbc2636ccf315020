"""Codes exchanged for similar ones."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from caselli.errors import UserError
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.tokenizer.code_noise import CANDIDATES, exchanged


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", ((6, 4, 8, 8), (6, 4, 40)))
def test_a_share_of_the_places_takes_a_vector_that_occurs(shape):
    book = torch.randn(10, shape[1], generator=seeded())
    codes = torch.randint(10, (shape[0], *shape[2:]), generator=seeded(1))
    z = book[codes].movedim(-1, 1)
    found = exchanged(z, 0.25, seeded(2)).movedim(1, -1)
    gaps = (found[..., None, :] - book).square().sum(-1)
    assert gaps.amin(-1).max() < 1e-10  # nothing but vectors of the book, up to the straight-through sum
    moved = (gaps.argmin(-1) != codes).float().mean()
    assert abs(moved - 0.25) < 0.08


def test_it_is_the_nearest_of_the_candidates():
    z = torch.randn(50, 3, 2, 2, generator=seeded())
    flat = z.movedim(1, -1).flatten(0, -2)
    places = torch.randint(len(flat), (len(flat), CANDIDATES), generator=seeded(5))
    slow = []
    for own, among in zip(flat, flat[places], strict=True):
        others = [v for v in among if not v.equal(own)]
        slow.append(min(others, key=lambda v: (v - own).square().sum()))
    found = exchanged(z, 1.0, seeded(5)).movedim(1, -1).flatten(0, -2)
    assert_close(found, torch.stack(slow))


def test_the_gradient_passes_straight_through():
    z = torch.randn(2, 3, 2, 2, requires_grad=True)
    exchanged(z, 1.0).sum().backward()
    assert_close(z.grad, torch.ones_like(z))


def test_codes_are_exchanged_in_training_alone():
    config = TokenizerConfig(factor=4, channels=1, width=8, latent_width=4, code_noise=0.5)
    tokenizer, x = Tokenizer(config), torch.randn(4, 1, 8, 8, generator=seeded())
    tokenizer.eval()
    with torch.no_grad():
        assert_close(tokenizer(x)[0].clamp(-1, 1), tokenizer.decode(tokenizer.encode(x)))
    codes = tokenizer.encode(x)
    assert_close(tokenizer.decode_exchanged(codes, 0.0), tokenizer.decode(codes))
    assert_close(*(tokenizer.decode_exchanged(codes, 0.5, seeded(3)) for _ in range(2)))
    with pytest.raises(UserError, match="a share from 0 to 1"):
        TokenizerConfig(code_noise=1.5)
