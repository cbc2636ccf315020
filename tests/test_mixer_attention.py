"""The laws of the attention family: forms agree, state carries, packed is separate, only the past counts."""

from __future__ import annotations

import itertools

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS
from tests.conformance.cases_mixer_attention import BIDIRECTIONAL, CASES, TOLERANCES

WIDTH, LENGTH = 16, 11


def label(case):
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


every = pytest.mark.parametrize("case", CASES, ids=label)
every_one = pytest.mark.parametrize("case", CASES + BIDIRECTIONAL, ids=label)
every_bidirectional = pytest.mark.parametrize("case", BIDIRECTIONAL, ids=label)


def build(case, width=WIDTH):
    mixer = MIXERS[case[0]](width=width, **case[1]).double()
    for parameter in mixer.parameters():  # also those that begin at zero or one
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return mixer


def some(length=LENGTH, batch=2):
    return torch.randn(batch, length, WIDTH, dtype=torch.float64)


def starts_at(length, *rows):
    starts = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, places in enumerate(rows):
        starts[row, list(places)] = True
    return starts


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@every
@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
def test_forms_agree(case, chunk):
    mixer, x = build(case), some()
    mixer.chunk_size = chunk
    whole, _ = mixer(x, form="parallel")
    same(mixer(x, form="chunk")[0], whole)
    same(mixer(x, form="step")[0], whole)


@every
@pytest.mark.parametrize("cuts", [(0, 5), (1, 1), (3, 8), (7, 7, 8), (4, 8, 10)])
def test_split_anywhere(case, cuts):
    mixer, x = build(case), some()
    whole, state, pieces = mixer(x)[0], None, []
    for start, end in zip((0, *cuts), (*cuts, LENGTH), strict=True):
        y, state = mixer(x[:, start:end], state)
        pieces.append(y)
    same(torch.cat(pieces, 1), whole)


@every
def test_the_future_does_not_count(case):
    mixer, x = build(case), some()
    whole = mixer(x)[0]
    for length in (1, 4, 7, 10):
        same(mixer(x[:, :length])[0], whole[:, :length])


@every
def test_packed_is_separate(case):
    """Also over a cut, and after a state."""
    mixer, x, before = build(case), some(), some(3)
    ends = [(0, 2, 3, 9, LENGTH), (0, 5, LENGTH)]
    starts = starts_at(LENGTH, ends[0][:-1], ends[1][1:-1])
    _, state = mixer(before)
    _, untouched = mixer(before[1:])
    apart = [
        torch.cat([mixer(x[:1, a:b])[0] for a, b in itertools.pairwise(ends[0])], 1),
        torch.cat((mixer(x[1:, :5], untouched)[0], mixer(x[1:, 5:])[0]), 1),
    ]
    for form in ("parallel", "chunk", "step"):
        mixer.chunk_size = 4
        same(mixer(x, state.clone(), form=form, starts=starts)[0], torch.cat(apart))
    head, after = mixer(x[:, :6], state.clone(), starts=starts[:, :6])
    tail, _ = mixer(x[:, 6:], after, starts=starts[:, 6:])
    same(torch.cat((head, tail), 1), torch.cat(apart))


@every_bidirectional
def test_packed_is_separate_both_ways(case):
    mixer, x = build(case), some()
    starts = starts_at(LENGTH, (0, 2, 3, 9), (5,))
    y = mixer(x, starts=starts)[0]
    for row, cuts in enumerate([(0, 2, 3, 9, LENGTH), (0, 5, LENGTH)]):
        for a, b in itertools.pairwise(cuts):
            same(y[row, a:b], mixer(x[row : row + 1, a:b])[0][0])
    same(mixer(x.flip(1), starts=starts_at(LENGTH, (), ()))[0], mixer(x.flip(1))[0])


@every_bidirectional
def test_a_bidirectional_mixer_has_no_pieces(case):
    mixer = build(case)
    with pytest.raises(UserError, match="whole sequence"):
        mixer(some(), form="step")


@every
def test_gradients_agree_through_the_state(case):
    """Of the inputs, the parameters and the state that was handed in."""
    mixer, before, x = build(case), some(5).requires_grad_(), some(6).requires_grad_()
    inputs = [before, x, *mixer.parameters()]
    weights = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64)
    whole = mixer(torch.cat((before, x), 1), form="parallel")[0]
    head, state = mixer(before, form="chunk")
    tail, _ = mixer(x, state, form="step")
    assert any(tensor.requires_grad for tensor in state.tensors())
    slow = torch.autograd.grad((torch.cat((head, tail), 1) * weights).sum(), inputs)
    for a, b in zip(torch.autograd.grad((whole * weights).sum(), inputs), slow, strict=True):
        same(a, b)


@every_one
def test_gradcheck(case):
    mixer, x = build(case), some(6, batch=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mixer(x)[0], x, fast_mode=True)


@every_one
def test_every_parameter_has_a_gradient(case):
    mixer = build(case)
    mixer(some())[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mixer.parameters())


@every
def test_capacity_changes_nothing(case):
    mixer, x = build(case), some()
    state, outputs = mixer.initial_state(2, capacity=LENGTH), []
    with torch.no_grad():
        for piece in x.split((4, 1, 1, 5), 1):
            y, state = mixer(piece, state)
            outputs.append(y)
        same(torch.cat(outputs, 1), mixer(x)[0])


@every
def test_a_state_is_forked_by_clone(case):
    mixer, x = build(case), some()
    with torch.no_grad():
        _, state = mixer(x[:, :5], mixer.initial_state(2, capacity=LENGTH))
        fork = state.clone()
        first = mixer(x[:, 5:], state)[0]
        mixer(-x[:, 5:], fork)
        same(mixer(x[:, 5:], state)[0], first)


@every_one
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_extremes_stay_finite(case, scale):
    mixer, x = build(case).float(), (some() * scale).float().requires_grad_()
    y = mixer(x)[0]
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()


@every_one
def test_half_precision_is_near(case):
    mixer, x = build(case), some()
    exact = mixer(x)[0]
    bounds = TOLERANCES.get(case[0], (1e-5, 3e-2))
    for dtype, bound in zip((torch.float32, torch.bfloat16), bounds, strict=True):
        y = mixer.to(dtype)(x.to(dtype))[0]
        assert y.dtype == dtype
        assert (y.double() - exact).abs().max() <= bound * exact.abs().max()
        mixer = mixer.double()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("attention", {"heads": 5}, "heads"),
        ("local", {"window": 0}, "window"),
        ("strided", {"heads": 1}, "even"),
        ("strided", {"causal": False}, "past alone"),
        ("fixed", {"block": 6, "summary": 4}, "multiple of summary"),
        ("fixed", {"causal": False}, "past alone"),
    ],
)
def test_mistakes_are_named(name, options, words):
    with pytest.raises(UserError, match=words):
        MIXERS[name](width=16, **options)


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES + BIDIRECTIONAL}))
def test_width_is_enough(name):
    mixer = MIXERS[name](width=64)
    assert mixer(torch.randn(1, 3, 64))[0].shape == (1, 3, 64)
