"""What each kind of prior sees and does not see, and what only it can do."""

from __future__ import annotations

import itertools

import pytest
import torch

from caselli.errors import UserError
from caselli.order import Grid
from caselli.prior import (
    Alphabet,
    LayerConfig,
    NextScale,
    ParallelHeads,
    PixelCNN,
    PriorConfig,
    RandomOrder,
    build,
)
from caselli.quantizer import MultiScale
from caselli.sampling import StraightEngine, best_engine, sample
from tests.conformance.cases_prior import alphabet_of, built
from tests.conformance.test_prior import excess, sequences_of


def seen_by(prior, length):
    """Which codes' vectors each slot's logits depend on, by gradients: `T T`."""
    vectors = []
    handle = prior.code.register_forward_hook(lambda module, given, made: vectors.append(made))
    codes = torch.zeros(1, length, dtype=torch.int64)
    logits = prior.logits(codes, None)
    handle.remove()
    seen = torch.zeros(length, length, dtype=torch.bool)
    for slot in range(length):
        allowed = logits[0, slot][~logits[0, slot].isneginf()]
        (gradient,) = torch.autograd.grad(allowed.square().sum(), vectors[0], retain_graph=True)
        seen[slot] = gradient[0].abs().sum(1) > 0
    return seen


# PixelCNN ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("height", "width"), [(4, 6), (6, 4), (1, 5)])
def test_a_pixel_cnn_sees_exactly_the_codes_before(kernel, height, width):
    """Deep enough, no blind spot: all of them, and none else."""
    torch.manual_seed(0)
    options = {"prior_options": {"kernel": kernel}, "width": 8, "depth": 7}
    alphabet = alphabet_of(Grid(height, width), (5,))
    prior = PixelCNN(PriorConfig(kind="pixel_cnn", **options), alphabet).double()
    assert torch.equal(
        seen_by(prior, height * width), torch.ones(height * width, height * width).bool().tril(-1)
    )


def test_a_shallow_pixel_cnn_sees_as_far_as_its_kernel():
    """One layer: three rows above with two columns to each side, and three codes to the left."""
    prior = PixelCNN(
        PriorConfig(kind="pixel_cnn", width=8, depth=1, prior_options={"kernel": 5}),
        alphabet_of(Grid(5, 7), (5,)),
    ).double()
    seen = seen_by(prior, 35)[3 * 7 + 4].view(5, 7)
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[0:3, 2:7], expected[3, 1:4] = True, True
    assert torch.equal(seen, expected)


def test_codebooks_of_a_position_see_those_before():
    prior = PixelCNN(
        PriorConfig(kind="pixel_cnn", width=8, depth=4), alphabet_of(Grid(2, 2, codebooks=3), (3, 4, 5))
    ).double()
    codes = torch.tensor([[0, 1, 2] * 4])
    before = prior.logits(codes, None)
    for slot in range(12):
        other = codes.clone()
        other[0, slot] = (codes[0, slot] + 1) % 3
        changed = (prior.logits(other, None) != before).any(2)[0]
        assert changed.tolist() == [later > slot for later in range(12)]


def test_rows_drawn_one_by_one_are_the_whole_grid():
    """Along given codes, from the caches, against the convolutions of the whole grid."""
    torch.manual_seed(0)
    prior = PixelCNN(PriorConfig(kind="pixel_cnn", width=16, depth=3), alphabet_of(Grid(5, 4), (6,))).double()
    codes, seen = torch.randint(6, (3, 20)), []
    outputs = prior.outputs
    prior.outputs = lambda *given: seen.append(outputs(*given)) or seen[-1]
    given = codes.clone()
    given[0] = -1  # so that every slot is drawn in one row
    drawn = sample(prior, torch.tensor([0, 1, 2]), [0, 1, 2], known=given)
    prior.outputs = outputs
    with torch.no_grad():
        expected = prior.logits(drawn, torch.tensor([0, 1, 2]))
    assert torch.equal(drawn[1:], codes[1:])
    torch.testing.assert_close(torch.cat(seen, 1), expected)


def test_a_pixel_cnn_goes_by_rows():
    with pytest.raises(UserError, match="raster"):
        PixelCNN(PriorConfig(kind="pixel_cnn", order="hilbert"), alphabet_of(Grid(4, 4), (3,), "hilbert"))
    for kernel in (1, 4):
        with pytest.raises(UserError, match="odd"):
            build(
                PriorConfig(kind="pixel_cnn", prior_options={"kernel": kernel}), alphabet_of(Grid(2, 2), (3,))
            )


# random order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random_order", "random_order, recurrent", "random_order, several"])
def test_every_order_has_a_distribution_of_its_own(name):
    prior = built(name)
    sequences, found = sequences_of(prior), []
    for order in itertools.islice(itertools.permutations(range(4)), 0, 24, 5):
        rows = torch.tensor(order).expand(sequences.shape)
        with torch.no_grad():
            p = prior.log_prob(sequences, None, order=rows).sum(1).exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-5)
        found.append(p)
    assert not torch.allclose(found[0], found[1], atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(found[0], prior.log_prob(sequences, None).sum(1).exp())


@pytest.mark.parametrize("name", ["random_order", "random_order, recurrent", "random_order, several"])
def test_what_is_known_comes_first_wherever_it_lies(name):
    """Rows that know different codes, each drawn from the exact conditional in its own order."""
    prior = built(name)
    known = torch.full((2_000, 4), -1)
    known[:1_000, 2], known[1_000:, 1], known[1_000:, 3] = 1, 0, 1
    codes = sample(prior, torch.ones(2_000, dtype=torch.int64), list(range(2_000)), known=known)
    sequences = sequences_of(prior)
    for rows, told, order in (
        (codes[:1_000], {2: 1}, (2, 0, 1, 3)),
        (codes[1_000:], {1: 0, 3: 1}, (1, 3, 0, 2)),
    ):
        with torch.no_grad():
            label, order = torch.ones(len(sequences), dtype=torch.int64), torch.tensor(order)
            p = prior.log_prob(sequences, label, order=order.expand(sequences.shape)).sum(1).exp()
        p = p * torch.stack([sequences[:, slot] == code for slot, code in told.items()]).all(0)
        assert excess(prior, rows, p / p.sum()) < 5


def test_training_goes_from_random_orders_to_the_sequence_as_it_stands(monkeypatch):
    prior, orders = built("random_order"), []
    sequence = torch.zeros(4_000, 4, dtype=torch.int64)
    monkeypatch.setattr(
        RandomOrder, "log_prob", lambda self, s, c, seen, order: orders.append(order) or torch.zeros(s.shape)
    )
    for progress in (0.0, 0.5, 0.7, 0.75, 1.0):
        prior.training_loss(sequence, None, sequence, progress)
    straight = [(order == torch.arange(4)).all(1).float().mean().item() for order in orders]
    random = [1.0, 1.0, 0.28, 0.1, 0.1]
    assert straight == pytest.approx([1 - share * 23 / 24 for share in random], abs=0.03)
    first = torch.bincount(orders[0][:, 0], minlength=4) / 4_000
    assert (first - 1 / 4).abs().max() < 0.04


@pytest.mark.parametrize("wrong", [{"anneal_from": 0.8}, {"final_share": 1.5}, {"anneal_to": 2.0}])
def test_wrong_annealing(wrong):
    with pytest.raises(UserError, match="anneal_from"):
        RandomOrder(PriorConfig(kind="random_order", prior_options=wrong), alphabet_of(Grid(2, 2), (3,)))


def test_in_sequence_it_is_an_autoregressive_prior():
    """The twin has the same distribution; the engine takes it where known codes are in front."""
    prior = built("random_order")
    twin, sequences = prior.straight(), sequences_of(prior)
    labels = torch.arange(len(sequences)) % 3
    with torch.no_grad():
        expected = prior.log_prob(sequences, labels)
        torch.testing.assert_close(twin.log_prob(sequences, labels), expected)
    engine, _ = best_engine(prior.float())
    assert isinstance(engine, StraightEngine)
    seeds, label = list(range(200)), torch.ones(200, dtype=torch.int64)
    front, behind = torch.full((200, 4), -1), torch.full((200, 4), -1)
    front[:100, 0], behind[:, 2] = 1, 1
    for known, straight in ((None, True), (front, True), (behind, False)):
        codes = sample(engine, label, seeds, known=known)
        assert (codes == sample(prior, label, seeds, known=known)).float().mean() > 0.99
        assert (engine.last is engine.straight) == straight
        assert engine.bytes_per_step() > 0 and engine.name


# parallel heads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_parallel_heads_see_the_steps_before(delay):
    """Slot (position, codebook) belongs to step position + delay · codebook, and sees all earlier steps."""
    grid = Grid(1, 4, codebooks=3)
    config = PriorConfig(kind="parallel", width=16, depth=2, prior_options={"delay": delay})
    prior = ParallelHeads(config, alphabet_of(grid, (3, 4, 5))).double()
    step = [position + delay * book for position in range(4) for book in range(3)]
    assert prior.steps == tuple(step) and prior.rounds() == 4 + 2 * delay
    codes = torch.tensor([[0, 1, 2] * 4])
    before = prior.logits(codes, None)
    for slot in range(12):
        other = codes.clone()
        other[0, slot] = (codes[0, slot] + 1) % 3
        changed = (prior.logits(other, None) != before).any(2)[0]
        assert changed.tolist() == [step[later] > step[slot] for later in range(12)]


def test_parallel_heads_from_the_state_equal_the_parallel_form():
    prior = built("parallel")
    codes = sequences_of(prior)[::7]
    with torch.no_grad():
        expected = prior.logits(codes, None)
        for known in range(len(prior.slots)):
            y, state = prior.start(None, len(codes), codes, known)
            for step in range(known, len(prior.slots)):
                slots = prior.slots[step][prior.slots[step] >= 0]
                logits = prior.outputs(y.expand(-1, len(slots), -1), slots)
                torch.testing.assert_close(logits, expected[:, slots])
                if step + 1 < len(prior.slots):
                    y, state = prior.step(codes, state)


# next scale -------------------------------------------------------------------------------------------------


def next_scale(scales=(1, 2, 4), size=16):
    torch.manual_seed(0)
    quantizer = MultiScale(width=8, scales=scales, options={"codebook_size": size}).eval()
    length = sum(quantizer.lengths)
    config = PriorConfig(kind="next_scale", width=32, depth=2)
    prior = NextScale(config, alphabet_of(Grid(1, length, flat=True), (size,)), quantizer).double().eval()
    return prior, quantizer


def test_a_scale_sees_all_coarser_ones_and_nothing_of_its_own():
    prior, quantizer = next_scale()
    codes = torch.randint(16, (1, 21))
    scale = torch.arange(3).repeat_interleave(torch.tensor(quantizer.lengths))
    before = prior.logits(codes, None)
    for slot in range(21):
        other = codes.clone()
        other[0, slot] = (codes[0, slot] + 5) % 16
        changed = (prior.logits(other, None) != before).any(2)[0]
        assert torch.equal(changed, scale > scale[slot])


def test_the_latents_so_far_end_in_what_the_quantizer_decodes():
    prior, quantizer = next_scale()
    codes, total = torch.randint(16, (3, 21)), 0
    for scale in range(3):
        total = total + prior._added(codes, scale)
    torch.testing.assert_close(total.float(), quantizer.decode(codes))


def test_scales_drawn_one_by_one_are_the_whole():
    prior, _ = next_scale()
    codes, seen = torch.randint(16, (3, 21)), []
    outputs = prior.outputs
    prior.outputs = lambda *given: seen.append(outputs(*given)) or seen[-1]
    given = codes.clone()
    given[0] = -1
    drawn = sample(prior, torch.tensor([0, 1, 2]), [0, 1, 2], known=given)
    prior.outputs = outputs
    with torch.no_grad():
        expected = prior.logits(drawn, torch.tensor([0, 1, 2]))
    assert len(seen) == 3 and torch.equal(drawn[1:], codes[1:])
    torch.testing.assert_close(torch.cat(seen, 1), expected)


def test_the_quantizer_is_frozen_and_kept():
    prior, quantizer = next_scale()
    names = [name for name, parameter in prior.named_parameters() if parameter.requires_grad]
    assert not any(name.startswith("quantizer") for name in names)
    assert any(name.startswith("quantizer") for name in prior.state_dict())
    with torch.no_grad():
        for parameter in quantizer.parameters():
            parameter.zero_()
    assert prior.quantizer.shared.codebook.values().abs().max() > 0


def test_next_scale_needs_scales_and_attention():
    alphabet = alphabet_of(Grid(1, 5, flat=True), (16,))
    quantizer = MultiScale(width=8, scales=(1, 2), options={"codebook_size": 16})
    with pytest.raises(UserError, match="multi_scale"):
        build(PriorConfig(kind="next_scale", width=32), alphabet)
    with pytest.raises(UserError, match="has attention"):
        build(PriorConfig(kind="next_scale", width=32, mixer="mamba"), alphabet, quantizer)
    with pytest.raises(UserError, match="did you mean heads"):
        build(PriorConfig(kind="next_scale", width=32, mixer_options={"head": 2}), alphabet, quantizer)


# engines ----------------------------------------------------------------------------------------------------


def test_the_engine_says_why_it_is_not_the_fused_one():
    for name in ("masked", "pixel_cnn", "next_scale", "parallel"):
        engine, why = best_engine(built(name).float())
        assert name.split(",")[0].replace("_", "-") in why and engine.name.startswith("step by step")


def test_a_random_order_prior_without_positions_of_its_own_is_drawn_from():
    torch.manual_seed(0)
    config = PriorConfig(kind="random_order", width=32, depth=1, layer=LayerConfig(positions="none"))
    model = build(config, Alphabet((8,), (0,) * 6)).eval()
    twin = model.straight()
    codes = torch.randint(8, (3, 6))
    torch.testing.assert_close(twin.log_prob(codes, None), model.log_prob(codes, None))


def test_options_of_a_kind_are_of_their_type():
    with pytest.raises(UserError, match="steps"):
        build(PriorConfig(kind="masked", prior_options={"steps": 2.5}), Alphabet((8,), (0,) * 6))
