"""The masked prior: what it sees, its bound, and the distribution of its rounds, by enumeration."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.order import Grid
from caselli.prior import Alphabet, Masked, PriorConfig
from caselli.prior.bracket import tangent_bracket
from caselli.sampling import Sampling, sample
from caselli.sampling.choice import still_masked
from caselli.schedules import MASK_SCHEDULES
from tests.conformance.cases_prior import alphabet_of, built
from tests.conformance.test_prior import excess, sequences_of

ONE_BY_ONE = Sampling(steps=4, mask_schedule="linear", choice_temperature=math.inf)
"""One code a round, in random order: the any-order autoregressive model."""


@functools.cache
def tables(prior, label):
    """log p of each slot's every code, `T K`, for every way in which codes can be known."""
    states = list(itertools.product(range(-1, 3), repeat=4))
    known = torch.tensor(states)
    with torch.no_grad():
        told = prior.conditioned(torch.full((len(states),), label), len(states))
        return dict(zip(states, prior.logits(known, known < 0, told).log_softmax(-1), strict=True))


def conditionals(prior, label, known):
    """log p of each slot's every code given what is known; known slots are not asked for."""
    return tables(prior, label)[tuple(known)]


def in_order(prior, label, sequence, order, known):
    """log p of the sequence's unknown codes drawn in an order."""
    known, total = list(known), 0.0
    for slot in order:
        total += conditionals(prior, label, known)[slot, sequence[slot]].item()
        known[slot] = sequence[slot]
    return total


def mixture(prior, label, known=(-1, -1, -1, -1)):
    """Probabilities of all sequences: the mean over all orders of the unknown slots."""
    orders = list(itertools.permutations([slot for slot in range(4) if known[slot] < 0]))
    p = []
    for sequence in sequences_of(prior).tolist():
        fits = all(code in (-1, given) for code, given in zip(known, sequence, strict=True))
        each = [math.exp(in_order(prior, label, sequence, order, known)) for order in orders] if fits else []
        p.append(sum(each) / len(orders))
    return torch.tensor(p)


@pytest.fixture(scope="module")
def prior():
    return built("masked")


@pytest.mark.parametrize("known", [(-1, -1, -1, -1), (-1, 2, -1, 0), (-1, -1, -1, 1)])
def test_one_code_a_round_is_the_any_order_model(prior, known):
    """Whatever is known is conditioned on, wherever it lies."""
    given = torch.tensor(known).expand(1_500, 4)
    codes = sample(prior, torch.ones(1_500, dtype=torch.int64), list(range(1_500)), ONE_BY_ONE, known=given)
    p = mixture(prior, 1, known)
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert excess(prior, codes, p) < 5


def test_one_round_draws_each_code_for_itself(prior):
    codes = sample(prior, torch.zeros(1_500, dtype=torch.int64), list(range(1_500)), Sampling(steps=1))
    alone = conditionals(prior, 0, [-1] * 4)
    p = torch.stack([alone[range(4), s].sum() for s in sequences_of(prior)]).exp()
    assert excess(prior, codes, p) < 5


def test_two_rounds_by_enumeration(prior):
    """The first round keeps two of four codes, any two; the second draws the others from them."""
    options = Sampling(steps=2, mask_schedule="linear", choice_temperature=math.inf)
    codes = sample(prior, torch.zeros(1_500, dtype=torch.int64), list(range(1_500)), options)
    alone, p = conditionals(prior, 0, [-1] * 4), []
    pairs = list(itertools.combinations(range(4), 2))
    for sequence in sequences_of(prior).tolist():
        total = 0.0
        for pair in pairs:
            known = [sequence[slot] if slot in pair else -1 for slot in range(4)]
            then = conditionals(prior, 0, known)
            logs = [(alone if slot in pair else then)[slot, sequence[slot]] for slot in range(4)]
            total += math.exp(sum(logs)) / len(pairs)
        p.append(total)
    assert excess(prior, codes, torch.tensor(p)) < 5


def test_guided_rounds(prior):
    """Guidance and temperature at each round's own strength."""
    options = Sampling(steps=1, guidance=2.5, temperature=1.3)
    codes = sample(prior, torch.ones(1_500, dtype=torch.int64), list(range(1_500)), options)
    told, null = (conditionals(prior, label, [-1] * 4) for label in (1, 2))
    alone = ((null + 2.5 * (told - null)) / 1.3).log_softmax(-1)
    p = torch.stack([alone[range(4), s].sum() for s in sequences_of(prior)]).exp()
    assert excess(prior, codes, p) < 5


def test_without_noise_the_surest_code_is_kept_first(prior):
    """Two rounds at temperature 0: the more probable half stays, and the other is asked for again."""
    options = Sampling(temperature=0.0, steps=2, mask_schedule="linear", choice_temperature=0.0)
    codes = sample(prior, torch.tensor([1]), [0], options)[0]
    best = conditionals(prior, 1, [-1] * 4).max(-1)
    surest = best.values.topk(2).indices.tolist()
    known = [best.indices[slot].item() if slot in surest else -1 for slot in range(4)]
    then = conditionals(prior, 1, known).argmax(-1)
    expected = [known[slot] if slot in surest else then[slot].item() for slot in range(4)]
    assert codes.tolist() == expected


def test_the_bound(prior):
    """Its mean over many masks is the mean over all orders of log p, which lies below log of the mean."""
    sequence = torch.tensor([[0, 2, 1, 1]])
    orders = list(itertools.permutations(range(4)))
    logs = torch.tensor([in_order(prior, 1, sequence[0].tolist(), order, [-1] * 4) for order in orders])
    masked = prior.bound_masks(1_000, seed=1)
    each = sequence.expand(len(masked), -1)
    with torch.no_grad():
        told = prior.conditioned(torch.ones(len(masked), dtype=torch.int64), len(masked))
        logits = prior.logits(each, masked, told)
        log_p = prior.code_head.log_prob(logits, each, slice(None))
    found = (log_p * masked).sum(1) * 4 / masked.sum(1)
    assert (found.mean() - logs.mean()).abs() < 5 * found.std() / len(found) ** 0.5
    assert logs.mean() < logs.exp().mean().log()
    with torch.no_grad():
        bound = prior.log_prob(sequence, torch.tensor([1])).sum().item()
    assert bound == pytest.approx(logs.mean().item(), abs=1.0)


def test_validation_is_the_bound_in_one_pass(prior):
    """Over many rows of one sequence, each with a mask of its own."""
    rows, label = torch.tensor([[0, 2, 1, 1]]).expand(2_000, -1), torch.ones(2_000, dtype=torch.int64)
    with torch.no_grad():
        found = -prior.validation_loss(rows, label).item() * 4
        assert found == -prior.validation_loss(rows, label).item() * 4
    logs = [in_order(prior, 1, [0, 2, 1, 1], order, [-1] * 4) for order in itertools.permutations(range(4))]
    assert found == pytest.approx(sum(logs) / 24, abs=0.15)


@pytest.mark.parametrize("passes", [1, 3, 4, 16])
def test_the_masks_of_the_bound(passes):
    """Every number of masked codes equally often where the passes allow it; each slot as often as any."""
    prior = Masked(PriorConfig(kind="masked", width=32, depth=1), alphabet_of_length(8))
    masks = torch.stack([prior.bound_masks(passes, seed) for seed in range(400)])
    counts = masks.sum(2)
    assert counts.min() >= 1 and counts.max() <= 8
    if passes == 16:
        assert (counts.sort(1).values == torch.arange(8).repeat_interleave(2) + 1).all()
    assert (torch.bincount(counts.flatten(), minlength=9)[1:] / counts.numel() - 1 / 8).abs().max() < 0.06
    assert (masks.float().mean((0, 1)) - 9 / 16).abs().max() < 0.06


def alphabet_of_length(length):
    return Alphabet((3,), (0,) * length)


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_sees_both_ways(name):
    """A masked slot's logits depend on every other code, and on nothing at masked slots.

    Reformer's hashes decide who sees whom: there the first is left open.
    """
    torch.manual_seed(0)
    prior = Masked(PriorConfig(kind="masked", mixer=name, width=32, depth=2), alphabet_of_length(6)).double()
    with torch.no_grad():
        prior.head.weight.mul_(40)
        prior.position.weight.mul_(20)
    codes, masked = torch.randint(3, (1, 6)), torch.tensor([False, False, True, False, False, False])
    told = prior.conditioned(None, 1)
    before = prior.logits(codes, masked, told)[0, 2]
    for slot in range(6):
        other = codes.clone()
        other[0, slot] = (codes[0, slot] + 1) % 3
        changed = not torch.equal(prior.logits(other, masked, told)[0, 2], before)
        assert changed == (slot != 2) or (name == "reformer" and slot != 2), slot


def test_training_masks():
    prior = Masked(PriorConfig(kind="masked", width=32, depth=1), alphabet_of_length(64))
    masks = prior.training_masks(4_000, 64)
    share = masks.float().mean(1)
    assert masks.sum(1).min() >= 1 and share.max() > 0.98
    assert share.mean().item() == pytest.approx(2 / math.pi, abs=0.02)
    assert (masks.float().mean(0) - 2 / math.pi).abs().max() < 0.05


@pytest.mark.parametrize("name", MASK_SCHEDULES)
def test_schedules_fall_from_one_to_nothing(name):
    r = torch.linspace(0, 1, 101, dtype=torch.float64)
    share = MASK_SCHEDULES[name](r)
    assert share[0].item() == pytest.approx(1) and share[-1].item() == pytest.approx(0, abs=1e-12)
    assert (share.diff() < 0).all()
    hidden, unknown = torch.tensor([16, 5, 1, 0]), torch.tensor([16, 5, 1, 0])
    for round in range(16):
        before, hidden = hidden, still_masked(unknown, hidden, (round + 1) / 16, name).clamp_min(0)
        assert ((hidden < before) | (before == 0)).all()
    assert (hidden == 0).all()


def test_linear_rounds_draw_equally_many():
    hidden, seen = torch.tensor([16]), []
    for round in range(8):
        hidden = still_masked(torch.tensor([16]), hidden, (round + 1) / 8, "linear")
        seen.append(hidden.item())
    assert seen == [14, 12, 10, 8, 6, 4, 2, 0]


def test_more_rounds_than_codes_are_as_many_as_codes(prior):
    assert prior.rounds(99) == 4 and prior.rounds(3) == 3


# order, re-masking, editing ---------------------------------------------------------------------------------


def drawn_in(prior, options, known=None):
    """The codes before each round and after the last, of three sequences."""
    seen, inner = [], prior.logits
    prior.logits = lambda codes, *given: seen.append(codes.clone()) or inner(codes, *given)
    seen.append(sample(prior, None, [0, 1, 2], options, known=known))
    prior.logits = inner
    return seen


def test_halton_order_goes_through_the_sequence():
    """Each sequence from a place of its own; whatever the probabilities."""
    prior = Masked(PriorConfig(kind="masked", width=32, depth=1), alphabet_of(Grid(4, 4), (3,))).double()
    states = drawn_in(prior, Sampling(steps=16, mask_schedule="linear", mask_order="halton"))
    begins = set()
    for row in range(3):
        when = sum((codes[row] < 0).long() for codes in states)  # rounds until a slot is known
        path = when.argsort()
        numbers = prior.halton[path]
        assert torch.equal(numbers, (torch.arange(16) + numbers[0]) % 16)
        begins.add(int(numbers[0]))
    assert len(begins) > 1
    places = torch.tensor(prior.alphabet.places)[prior.halton.argsort()]
    assert len({(row // 2, column // 2) for row, column in places[:4].tolist()}) >= 3


def test_codes_are_taken_back_but_known_ones_stay():
    prior = Masked(PriorConfig(kind="masked", width=32, depth=1), alphabet_of_length(16)).double()
    known = torch.full((3, 16), -1)
    known[:, :4] = 1
    plain = drawn_in(prior, Sampling(steps=6), known)
    states = drawn_in(prior, Sampling(steps=6, remask=0.4), known)
    for before, after in itertools.pairwise(plain):
        assert not ((before >= 0) & (after < 0)).any()
    taken = sum(int(((before >= 0) & (after < 0)).sum()) for before, after in itertools.pairwise(states))
    assert taken > 3 and all(torch.equal(codes[:, :4], known[:, :4]) for codes in states)
    assert (states[-1] >= 0).all()
    for round in range(1, 7):  # as many are known after a round as without
        hidden = (plain[round] < 0).sum(1)
        back = (0.4 * (12 - hidden)).long() if round < 6 else 0
        assert torch.equal((states[round] < 0).sum(1), hidden + back)
    told = []
    again = sample(prior, None, [1], Sampling(steps=6, remask=0.4), told.append, known[:1])
    assert torch.equal(again, states[-1][1:2])
    assert min(told) < 0 and sum(told) == 12, "what is taken back is taken off the progress"


def test_editing_replaces_codes_that_the_others_contradict():
    """All sequences are constant; a code drawn otherwise is corrected in a later round."""
    torch.manual_seed(0)
    options = {"edit_share": 0.3}
    prior = Masked(
        PriorConfig(kind="masked", width=32, depth=1, prior_options=options), alphabet_of_length(6)
    )
    codes = torch.arange(3)[torch.arange(48) % 3, None].expand(-1, 6)
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        prior.training_loss(codes, None, codes, 0.0).backward()
        optimiser.step()
    prior.eval()
    wild = {"temperature": 2.5, "steps": 6, "choice_temperature": math.inf}
    plain = sample(prior, None, list(range(40)), Sampling(**wild))
    edited = sample(prior, None, list(range(40)), Sampling(**wild, edit=0.6))

    def odd(codes):
        return (codes != codes.mode(1, keepdim=True).values).float().mean().item()

    assert odd(plain) > 0.05 and odd(edited) < 0.7 * odd(plain)
    with pytest.raises(UserError, match="edit_share"):
        sample(Masked(PriorConfig(kind="masked"), alphabet_of_length(6)), None, [0], Sampling(edit=0.5))


# bounds from both sides -------------------------------------------------------------------------------------


def test_the_likelihood_lies_in_the_bracket(prior):
    """Means over many draws of orders, against the enumeration of all."""
    sequences = sequences_of(prior)[::9]
    every = list(itertools.permutations(range(4)))
    log_p = torch.tensor(
        [
            [in_order(prior, 1, sequence, order, [-1] * 4) for sequence in sequences.tolist()]
            for order in every
        ]
    )
    exact, random = log_p.exp().mean(0).log(), torch.Generator().manual_seed(0)
    drawn = [tangent_bracket(log_p[torch.randint(24, (6,), generator=random)]) for _ in range(600)]
    below, above = (torch.stack([getattr(b, side) for b in drawn]).mean(0) for side in ("below", "above"))
    assert (below <= exact + 0.01).all() and (above >= exact - 0.01).all()
    assert (above - below).max() < 1.0
    with torch.no_grad():
        found = prior.bracket(sequences, torch.ones(len(sequences), dtype=torch.int64), orders=16)
    assert (found.below - exact).abs().max() < 0.9 and (found.above - exact).abs().max() < 0.9
    with pytest.raises(UserError, match="at least 3"):
        prior.bracket(sequences, None, orders=2)


def test_the_bracket_of_an_exact_prior_is_its_likelihood():
    exact = built("autoregressive")
    found = exact.bracket(sequences_of(exact)[:3], None)
    assert torch.equal(found.below, found.above)


@pytest.mark.parametrize(
    "options", [{"schedule": "cosin"}, {"steps": 0}, {"bound_passes": 0}, {"edit_share": 1.0}]
)
def test_wrong_options(options):
    with pytest.raises(UserError, match=r"was expected|did you mean cosine"):
        Masked(PriorConfig(kind="masked", width=32, prior_options=options), alphabet_of_length(4))
    for wrong in ({"steps": -1}, {"choice_temperature": -0.5}, {"mask_schedule": "liner"}, {"remask": 2.0}):
        with pytest.raises(UserError, match=r"was expected|did you mean linear"):
            Sampling(**wrong)
