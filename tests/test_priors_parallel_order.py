"""Parallel random order: rounds and places, what sees what, the cache, and known codes."""

from __future__ import annotations

import itertools

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.order import Grid
from caselli.prior import ParallelOrder, PriorConfig
from caselli.prior.rounds import locality_order, round_sizes
from caselli.sampling import Sampling, sample
from caselli.schedules import MASK_SCHEDULES
from tests.conformance.cases_prior import alphabet_of, built
from tests.conformance.test_prior import excess, sequences_of


def parallel_order(**options):
    torch.manual_seed(0)
    config = PriorConfig(**({"kind": "parallel_order", "width": 32, "depth": 2} | options))
    prior = ParallelOrder(config, alphabet_of(Grid(2, 3), (4,))).double().eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return prior


# rounds and places ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", MASK_SCHEDULES)
@pytest.mark.parametrize(("unknown", "rounds"), [(16, 8), (64, 8), (256, 20), (64, 64), (5, 9), (1, 3)])
def test_rounds_draw_all_and_at_least_one_each(schedule, unknown, rounds):
    sizes = round_sizes(unknown, rounds, schedule)
    assert sum(sizes) == unknown and min(sizes) >= 1 and len(sizes) == min(unknown, rounds)


def places_of(side):
    return torch.tensor(list(itertools.product(range(side), repeat=2)))


def test_places_of_a_round_lie_apart_and_near_what_is_drawn():
    places, sizes = places_of(8), round_sizes(64, 12)
    (order,) = locality_order(places, torch.zeros(1, 64, dtype=torch.bool), sizes, seed=3)
    assert sorted(order.tolist()) == list(range(64))
    rounds = [places[part] for part in order.split(sizes)]
    near = []
    for index, now in enumerate(rounds[1:-3], 1):
        apart = (now[:, None] - now[None]).abs().amax(-1) + 9 * torch.eye(len(now), dtype=torch.int64)
        assert apart.min() >= 2, "no two of a round touch while there is another choice"
        before = torch.cat(rounds[:index])
        near.append(((now[:, None] - before[None]).abs().amax(-1) <= 1).any(1))
        assert near[-1][0]
    assert torch.cat(near).float().mean() > 0.7
    others = locality_order(places, torch.zeros(1, 64, dtype=torch.bool), sizes, seed=4)
    assert not torch.equal(order, others[0])


def test_the_order_depends_on_what_is_known_and_nothing_else():
    places, known = places_of(4), torch.zeros(3, 16, dtype=torch.bool)
    known[0, :8] = known[2, :8] = True
    known[1, 8:] = True
    together = locality_order(places, known, [2, 6])
    assert torch.equal(together[0], together[2]) and together[0, :8].tolist() == list(range(8))
    assert together[1, :8].tolist() == list(range(8, 16))
    assert torch.equal(together[1:2], locality_order(places, known[1:2], [2, 6]))
    assert set(together[0, 8:10].tolist()) <= set(range(8, 12)), "first the row beside what is known"


# what sees what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("parallel_order", [1, 1, 2]),
        ("parallel_order", [2, 2]),
        ("parallel_order", [4]),
        ("parallel_order", [1, 1, 1, 1]),
        ("parallel_order, recurrent", [1, 3]),
    ],
)
def test_every_order_and_grouping_has_a_distribution_of_its_own(name, sizes):
    prior = built(name)
    sequences = sequences_of(prior)
    for order in ((0, 1, 2, 3), (2, 0, 3, 1)):
        rows = torch.tensor(order).expand(sequences.shape)
        with torch.no_grad():
            p = prior.log_prob(sequences, None, order=rows, sizes=sizes).sum(1).exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("mutual", [True, False])
def test_a_slot_sees_the_codes_of_rounds_before(mutual):
    prior, sizes = parallel_order(mixer_options={"mutual": mutual}), [1, 2, 3]
    order = torch.tensor([[4, 0, 5, 1, 3, 2]])
    codes = torch.tensor([[0, 1, 2, 3, 0, 1]])
    before = prior.logits(codes, None, order, sizes)
    round_of = torch.tensor([0, 1, 1, 2, 2, 2])
    for number in range(6):
        other = codes.clone()
        other[0, number] = (codes[0, number] + 1) % 4
        changed = (prior.logits(other, None, order, sizes) != before).any(2)[0]
        assert torch.equal(changed, round_of > round_of[number])
    swapped = prior.logits(codes, None, torch.tensor([[4, 0, 1, 5, 3, 2]]), sizes)
    assert (swapped[0, 1] == before[0, 1]).all() != mutual, "queries of a round see each other, or do not"


@pytest.mark.parametrize("mutual", [True, False])
def test_all_rounds_at_once_are_the_rounds_in_turn(mutual):
    """The masked pass and the cache, outputs and gradients."""
    prior, sizes = parallel_order(mixer_options={"mutual": mutual}), [1, 2, 3]
    codes, order = torch.randint(4, (3, 6)), torch.rand(3, 6).argsort(1)
    found, gradients = [], []
    for at_once in (True, False):
        prior.at_once = at_once
        found.append(prior.logits(codes, torch.tensor([0, 1, 2]), order, sizes))
        gradients.append(torch.autograd.grad(found[-1].square().sum(), list(prior.parameters())))
    torch.testing.assert_close(*found)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["attention", "local", "mamba2", "gla", "rwkv7", "s4d", "log_linear"])
def test_a_peek_is_the_next_step_and_leaves_nothing(name):
    torch.manual_seed(0)
    mixer = MIXERS[name](32).double().eval()
    x, queries = torch.randn(2, 5, 32).double(), torch.randn(2, 3, 32).double()
    with torch.no_grad():
        _, state = mixer(x, mixer.initial_state(2, capacity=9))
        peeked = mixer.peek(queries, state)
        for number in range(3):
            y, _ = mixer(torch.cat((x, queries[:, number : number + 1]), 1))
            torch.testing.assert_close(peeked[:, number], y[:, -1])
        after, _ = mixer(queries[:, :1], state)
        torch.testing.assert_close(after[:, 0], peeked[:, 0])


# drawing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 4])
def test_what_is_known_comes_first_wherever_it_lies(steps):
    """Rows that know different codes, and not equally many, each from the exact conditional of its own."""
    prior, sequences = built("parallel_order"), sequences_of(built("parallel_order"))
    known = torch.full((1_600, 4), -1)
    known[::2, 2], known[1::2, 1], known[1::2, 3] = 1, 0, 1
    label = torch.ones(1_600, dtype=torch.int64)
    codes = sample(prior, label, list(range(1_600)), Sampling(steps=steps), known=known)
    for rows, told in ((codes[::2], {2: 1}), (codes[1::2], {1: 0, 3: 1})):
        there = torch.tensor([[slot in told for slot in range(4)]])
        rounds = round_sizes(4 - len(told), steps)
        order = locality_order(prior.places, there, rounds).expand(len(sequences), -1)
        with torch.no_grad():
            labels, sizes = torch.ones(len(sequences), dtype=torch.int64), [len(told), *rounds]
            p = prior.log_prob(sequences, labels, order=order, sizes=sizes).sum(1).exp()
        p = p * torch.stack([sequences[:, slot] == code for slot, code in told.items()]).all(0)
        assert excess(prior, rows, p / p.sum()) < 5


def test_rows_that_know_more_or_less_beside_a_sample_do_not_change_it():
    prior = parallel_order()
    known = torch.full((3, 6), -1)
    known[0, 2], known[1, :4] = 1, 2
    together = sample(prior, None, [7, 8, 9], known=known)
    for row in range(3):
        assert torch.equal(
            together[row : row + 1], sample(prior, None, [7 + row], known=known[row : row + 1])
        )


def test_fewer_rounds_go_through_the_layers_less_often():
    prior, calls = parallel_order(), []
    inner = prior._round
    prior._round = lambda *given: calls.append(given[1].shape[1]) or inner(*given)
    for steps, expected in ((1, [6]), (3, [1, 2, 3]), (99, [1] * 6)):
        calls.clear()
        sample(prior, None, [0, 1], Sampling(steps=steps))
        assert calls == expected
    calls.clear()
    sample(prior, None, [0, 1], Sampling(steps=2, mask_schedule="linear"))
    assert calls == [3, 3]


def test_training_takes_random_orders_and_those_of_drawing(monkeypatch):
    prior, seen = parallel_order(), []
    inner = ParallelOrder.log_prob

    def noted(self, sequence, condition, seen_codes, order, sizes):
        seen.append((order, sizes))
        return inner(self, sequence, condition, seen_codes, order, sizes)

    monkeypatch.setattr(ParallelOrder, "log_prob", noted)
    codes = torch.randint(4, (64, 6))
    for _ in range(12):
        assert prior.training_loss(codes, None, codes, 0.0).isfinite()
    assert all(sum(sizes) == 6 for _, sizes in seen) and len({len(sizes) for _, sizes in seen}) > 2
    for order, _ in seen:
        counts = order.unique(dim=0, return_counts=True)[1]
        assert counts.max() > 16 and len(counts) > 10


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"random_share": 1.5}])
def test_wrong_options(wrong):
    with pytest.raises(UserError, match="was expected"):
        parallel_order(prior_options=wrong)
    with pytest.raises(UserError, match="did you mean mutual"):
        parallel_order(mixer_options={"mutuall": True})
