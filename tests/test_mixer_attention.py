"""What is the attention family's own: each method against its loop, caches, constant states, mistakes."""

from __future__ import annotations

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.mixer.gated import distance_buckets
from tests.conformance.cases_mixer_attention import BIDIRECTIONAL, CASES
from tests.reference import attention as reference

WIDTH, LENGTH = 8, 11
every = pytest.mark.parametrize("case", CASES, ids=str)


def build(name, **options):
    mixer = MIXERS[name](width=WIDTH, **options).double()
    for parameter in mixer.parameters():  # also those that begin at zero or one
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return mixer


def some(length=LENGTH, batch=2):
    return torch.randn(batch, length, WIDTH, dtype=torch.float64)


def attends(sees):
    return lambda mixer, x: reference.masked_softmax_mixer(mixer, x, sees)


PLAIN = {"rotary_base": 0, "heads": 2}
GATED = {"rotary_base": 0, "key_width": 6, "relative_bias": False}
ORACLES = [
    ("attention", PLAIN, attends(lambda h, t, s: s <= t)),
    ("attention", PLAIN | {"kv_heads": 1}, attends(lambda h, t, s: s <= t)),
    ("attention", PLAIN | {"causal": False}, attends(lambda h, t, s: True)),
    ("local", PLAIN | {"window": 3}, attends(lambda h, t, s: t - 3 < s <= t)),
    ("local", PLAIN | {"window": 3, "causal": False}, attends(lambda h, t, s: abs(t - s) < 3)),
    (
        "strided",
        PLAIN | {"stride": 3},
        attends(lambda h, t, s: s <= t and (t - s < 3 if h == 0 else (t - s) % 3 == 0)),
    ),
    (
        "fixed",
        PLAIN | {"block": 4, "summary": 2},
        attends(lambda h, t, s: s <= t and (s // 4 == t // 4 or s % 4 // 2 == 1 - h)),
    ),
    ("linformer", {"heads": 2, "rank": 3}, reference.linformer),
    ("reformer", PLAIN | {"buckets": 4}, reference.reformer),
    ("performer", PLAIN | {"features": 6}, reference.performer),
    ("gau", GATED, reference.gau),
    ("gau", GATED | {"causal": False}, reference.gau),
    ("flash_quad", GATED, reference.gau),
    ("flash_quad", GATED | {"causal": False}, reference.gau),
    ("flash", GATED | {"group": 4}, reference.flash),
    ("flash", GATED | {"group": 4, "causal": False}, reference.flash),
]


@pytest.mark.parametrize(("name", "options", "oracle"), ORACLES)
def test_equals_its_loop(name, options, oracle):
    mixer, x = build(name, **options), some().requires_grad_()
    fast, slow = mixer(x)[0], oracle(mixer, x)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    inputs, cotangent = [x, *mixer.parameters()], torch.randn_like(slow)
    for a, b in zip(
        *(torch.autograd.grad(y, inputs, cotangent, allow_unused=True) for y in (fast, slow)), strict=True
    ):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, rtol=0, atol=1e-10)


@every
def test_capacity_changes_nothing(case):
    mixer, x = build(case[0], **case[1]), some()
    state, outputs = mixer.initial_state(2, capacity=LENGTH), []
    with torch.no_grad():
        for piece in x.split((4, 1, 1, 5), 1):
            y, state = mixer(piece, state)
            outputs.append(y)
        torch.testing.assert_close(torch.cat(outputs, 1), mixer(x)[0], rtol=0, atol=1e-10)


@every
def test_a_state_is_forked_by_clone(case):
    mixer, x = build(case[0], **case[1]), some()
    with torch.no_grad():
        _, state = mixer(x[:, :5], mixer.initial_state(2, capacity=LENGTH))
        fork = state.clone()
        first = mixer(x[:, 5:], state)[0]
        mixer(-x[:, 5:], fork)
        torch.testing.assert_close(mixer(x[:, 5:], state)[0], first)


@pytest.mark.parametrize(
    ("name", "options"), [("local", {"window": 4}), ("flash", {"group": 4}), ("performer", {})]
)
def test_these_states_do_not_grow(name, options):
    mixer = build(name, **options)
    sizes = [sum(t.numel() for t in mixer(some(length))[1].tensors()) for length in (8, 80)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_default_sizes_meet_their_borders(name):
    """Windows, blocks and groups of the defaults, crossed by pieces of odd lengths."""
    mixer, x = MIXERS[name](width=WIDTH).double(), some(600, 1)
    with torch.no_grad():
        whole, state, pieces = mixer(x)[0], None, []
        for piece in x.split((255, 1, 150, 194), 1):
            y, state = mixer(piece, state)
            pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-10)


def test_distance_buckets():
    """Exact up to half of the buckets, then logarithmic, then all alike."""
    distance = torch.arange(300)
    buckets = distance_buckets(distance, causal=True)
    assert torch.equal(buckets[:16], distance[:16])
    assert (buckets.diff() >= 0).all() and set(buckets.tolist()) == set(range(32))
    assert (buckets[128:] == 31).all()
    both = distance_buckets(torch.tensor([-5, 5]), causal=False)
    assert both.tolist() == [21, 5]


def test_performer_draws_features_anew():
    mixer = build("performer")
    before = mixer.features.clone()
    mixer.redraw(torch.Generator().manual_seed(3))
    after = mixer.features.clone()
    mixer.redraw(torch.Generator().manual_seed(3))
    assert not torch.equal(before, after) and torch.equal(after, mixer.features)


@pytest.mark.parametrize("name", ["performer", "reformer"])
def test_what_was_drawn_is_saved(name):
    one, other, x = build(name), build(name), some()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x)[0], other(x)[0])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("attention", {"heads": 5}, "heads"),
        ("attention", {"heads": 4, "kv_heads": 3}, "divisor"),
        ("local", {"window": 0}, "window"),
        ("nsa", {"window": 0}, "window 0"),
        ("nsa", {"blocks": 0}, "blocks 0"),
        ("moba", {"block": 0}, "block 0"),
        ("fixed", {"block": 0, "summary": 1}, "block 0"),
        ("strided", {"heads": 1}, "even"),
        ("strided", {"causal": False}, "past alone"),
        ("fixed", {"block": 6, "summary": 4}, "multiple of summary"),
        ("fixed", {"causal": False}, "past alone"),
        ("linformer", {"causal": True}, "mixtures of all tokens"),
        ("linformer", {"rank": 0}, "rank 0"),
        ("reformer", {"buckets": 3}, "even number"),
        ("performer", {"features": -1}, "positive"),
        ("gau", {"activation": "relu"}, "squared_relu"),
        ("gau", {"normalisation": "group"}, "mean"),
        ("gau", {"key_width": 5}, "even key_width"),
        ("flash", {"group": 0}, "group 0"),
        ("flash", {"normalisation": "mean"}, "length"),
    ],
)
def test_mistakes_are_named(name, options, words):
    with pytest.raises(UserError, match=words):
        MIXERS[name](width=16, **options)


def test_linformer_says_when_a_sequence_is_too_long():
    with pytest.raises(UserError, match="at most 5"):
        build("linformer", length=5)(some(6))


def test_every_case_is_built_with_a_width_alone_too():
    for name in {name for name, _ in CASES + BIDIRECTIONAL}:
        MIXERS[name](width=64)
