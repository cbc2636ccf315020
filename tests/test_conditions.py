"""What a prior is told: the parts, the prefix, and that every engine follows the told distribution."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch

from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.order import Grid, Raster
from caselli.prior import (
    VOCABULARIES,
    Alphabet,
    Autoregressive,
    Bytes,
    Conditioner,
    Conditions,
    Pieces,
    PriorConfig,
    Words,
    build,
    described_vocabulary,
    read_vocabulary,
    vocabulary_of,
)
from caselli.prior.task import PriorTask, visible_parts
from caselli.prior.text import TextEncoder
from caselli.prior.vocabulary import UNKNOWN
from caselli.sampling import EagerEngine, FusedEngine, PackedEngine, Sampling, Unavailable, sample

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))
ALPHABET = Alphabet(
    (3,), (0,) * 4, classes=2, text=Bytes(6), picture=(0, 0), picture_shape=(1, 2), places=PLACES
)
CAUSAL = [name for name, kind in MIXERS.items() if kind(width=64).causal]


def prior(mixer="attention", alphabet=ALPHABET, **options):
    torch.manual_seed(0)
    config = PriorConfig(
        mixer=mixer, width=64, depth=2, text_width=32, text_depth=1, text_vectors=3, **options
    )
    model = Autoregressive(config, alphabet).double().eval()
    with torch.no_grad():  # away from the nearly uniform start, and conditions that matter
        model.head.weight.mul_(8)
        model.conditioner.text.out.weight.mul_(60)
        model.conditioner.picture.weight.mul_(5)
        if model.conditioner.beside is not None:
            model.conditioner.beside.weight.mul_(20)
    return model


def told(rows, text="cat", codes=(1, 2), label=1):
    return Conditions(
        torch.full((rows,), label), Bytes(6).encode([text] * rows), torch.tensor([codes] * rows)
    )


def all_sequences():
    return torch.tensor(list(itertools.product(range(3), repeat=4)))


def exact(model, conditions):
    with torch.no_grad():
        return model.log_prob(all_sequences(), conditions).sum(1).exp().double()


def chi_square(codes, p):
    """Standard deviations by which the statistic lies above its mean, cells of few samples joined."""
    seen = torch.bincount((codes * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double()
    expected = p * len(codes)
    rare = expected < 5
    expected = torch.cat((expected[~rare], expected[rare].sum()[None])).clamp_min(1e-9)
    seen = torch.cat((seen[~rare], seen[rare].sum()[None]))
    degrees = max(1, len(expected) - 1)
    return (((seen - expected) ** 2 / expected.clamp_min(1)).sum().item() - degrees) / math.sqrt(2 * degrees)


# records ------------------------------------------------------------------------------------------------


def test_conditions_are_doubled_selected_and_dropped_part_by_part():
    conditions = told(3)
    doubled = conditions.doubled()
    assert [len(part) for part in doubled.parts().values()] == [6, 6, 6]
    assert (
        (doubled.labels[3:] == -1).all() and (doubled.text[3:] <= 0).all() and (doubled.codes[3:] == -1).all()
    )
    assert torch.equal(doubled.rows(slice(0, 3)).text, conditions.text)
    assert Conditions(text=conditions.text).doubled().labels is None
    big = told(4_000)
    dropped = big.dropped({"labels": 0.5, "text": 0.2, "codes": 0.0})
    gone = torch.stack(
        ((dropped.labels < 0), (dropped.text <= 0).all(1), (dropped.codes < 0).all(1)), 1
    ).double()
    assert gone.mean(0).tolist() == pytest.approx([0.5, 0.2, 0.0], abs=0.03)
    assert (gone[:, 0] * gone[:, 1]).mean().item() == pytest.approx(0.1, abs=0.03)  # each for itself
    assert Conditions.of(None).is_empty() and Conditions.of(conditions) is conditions


def test_absent_parts_are_null_parts():
    model = prior()
    sequences = all_sequences()
    rows = len(sequences)
    with torch.no_grad():
        torch.testing.assert_close(
            model.log_prob(sequences, None), model.log_prob(sequences, told(rows).null())
        )
        for part in ("labels", "text", "codes"):
            one = Conditions(**{part: told(rows).parts()[part]})
            assert (model.log_prob(sequences, one) - model.log_prob(sequences, None)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["autoregressive", "random_order", "parallel", "pixel_cnn", "masked"])
def test_what_lies_at_a_place_reaches_the_slots_there(kind):
    """By the slots' own inputs alone; and what is drawn follows it."""
    torch.manual_seed(0)
    config = PriorConfig(kind=kind, width=32, depth=2, text="none")
    alphabet = Alphabet((3,), (0,) * 4, picture=(0,) * 4, picture_shape=(2, 2), picture_pool=2, places=PLACES)
    model = build(config, alphabet).double().eval()
    assert model.conditioner.length == 2  # the label's vector, and one for four codes
    with torch.no_grad():
        model.conditioner.picture.weight.zero_(), model.conditioner.beside.weight.mul_(50)
        model.head.weight.mul_(20)
        sequences, codes = all_sequences(), torch.tensor([[0, 1, 2, 0]])
        log_p = model.log_prob(sequences, Conditions(codes=codes.expand(81, -1)))
        for place in range(4):
            other = codes.clone()
            other[0, place] = (other[0, place] + 1) % 3
            changed = model.log_prob(sequences, Conditions(codes=other.expand(81, -1))) != log_p
            assert changed[:, place].any()
            assert kind in ("masked", "pixel_cnn") or not changed[:, :place].any()
        drawn = sample(model, Conditions(codes=codes), [0], Sampling(temperature=0))[0]
    if model.exact:
        p = log_p.sum(1).exp()
        torch.testing.assert_close(p.sum(), torch.ones_like(p.sum()))
        for slot in range(4):
            own = (sequences[:, :slot] == drawn[:slot]).all(1)
            shares = torch.stack([p[own & (sequences[:, slot] == code)].sum() for code in range(3)])
            assert drawn[slot] == shares.argmax()


@pytest.mark.parametrize("name", ["bytes", "words", "pieces"])
def test_vocabularies_are_plain_data(name):
    captions = ["Grinning face", "red heart", "red face"]
    vocabulary = vocabulary_of(name, 5, "", captions)
    assert read_vocabulary(described_vocabulary(vocabulary)) == vocabulary
    text = vocabulary.encode([*captions, "", "  ", "ünseen 💜"])
    assert text.shape == (6, vocabulary.size) and (text[3:5] == 0).all() and (text[5] > 0).any()
    assert vocabulary.embedding(8)(text).shape == (6, 5, 8)
    assert len({tuple(row.tolist()) for row in text[:3]}) == 3


def test_unknown_words_and_spelling():
    words = Words.of(["Red heart", "red face!"], 4)
    assert words.encode(["RED Heart", "red moon"]).tolist() == [[2, 5, 0, 0], [2, 1, 0, 0]]
    with pytest.raises(UserError, match="did you mean words"):
        PriorConfig(text="word")
    with pytest.raises(UserError, match="no word of its own"):
        PriorConfig(text="transformers", word_dropout=0.3)
    assert set(VOCABULARIES) == {"bytes", "words", "pieces", "transformers"}


def test_a_word_never_seen_is_near_those_that_share_its_parts():
    pieces = Pieces.of(["red flag", "crossed flags", "green ship", "a ship"], 3)
    torch.manual_seed(0)
    bags = pieces.embedding(64)
    flag, flagship, ship, moon = bags(pieces.encode(["flag", "flagship", "ship", "moon"]))[:, 0]
    near = functools.partial(torch.nn.functional.cosine_similarity, dim=0)
    assert min(near(flagship, flag), near(flagship, ship)) > 0.3 > near(flag, moon).abs()
    assert (bags(pieces.encode(["flag"]))[0, 1:] == 0).all()


def test_words_are_blotted_and_padding_is_not():
    text = Words.of(["a red heart", "a"], 4).encode(["a red heart", "a"])
    torch.manual_seed(0)
    blotted = torch.stack([Conditions(text=text).blotted(0.5).text for _ in range(200)])
    assert ((blotted == text) | (blotted == UNKNOWN)).all() and (blotted[:, text == 0] == 0).all()
    assert (blotted[:, text > 0] == UNKNOWN).float().mean() == pytest.approx(0.5, abs=0.1)
    assert Conditions(text=text).blotted(0.0).text is text


def test_the_encoder_does_not_see_the_padding():
    """The same caption in any room, beside any other."""
    encoder = TextEncoder(Bytes(4), width=32, depth=2, vectors=3, out=16).double().eval()
    short, long = (Bytes(n).encode(["cat", "a dog"[:n]]) for n in (3, 9))
    with torch.no_grad():
        torch.testing.assert_close(encoder(short)[0], encoder(long)[0])
        torch.testing.assert_close(encoder(long)[:1], encoder(long[:1]))
        assert (encoder(long)[0] - encoder(Bytes(9).encode(["cut"]))[0]).abs().max() > 1e-6
        assert encoder(torch.zeros(1, 9, dtype=torch.int64)).isfinite().all()


def test_labels_alone_are_one_vector_at_position_zero():
    """A prior without captions is what it was before there were any."""
    model = Autoregressive(PriorConfig(width=64, depth=1), Alphabet((3,), (0,) * 4, classes=2))
    assert model.conditioner.length == 1
    assert {name for name, _ in model.conditioner.named_parameters()} == {"label.weight"}
    old = {name.replace("conditioner.", ""): value for name, value in model.state_dict().items()}
    assert "label.weight" in old
    other = Autoregressive(PriorConfig(width=64, depth=1), Alphabet((3,), (0,) * 4, classes=2))
    other.load_state_dict(old)
    torch.testing.assert_close(other.conditioner.label.weight, model.conditioner.label.weight)


def test_what_a_prior_was_not_trained_with_is_refused():
    plain = Autoregressive(PriorConfig(width=64, depth=1), Alphabet((3,), (0,) * 4, classes=2))
    for conditions in (Conditions(text=told(1).text), Conditions(codes=told(1).codes)):
        with pytest.raises(UserError, match="trained without"):
            plain.log_prob(all_sequences()[:1], conditions)
    with pytest.raises(UserError, match="strengthens a condition"):
        sample(prior(), None, [0], Sampling(guidance=2.0))


def test_every_part_gets_a_gradient():
    model = prior().train()
    model.log_prob(all_sequences()[:4], told(4)).sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing
    matrices = {id(w) for w in model.hidden_matrices()}
    assert all(id(b.up.weight) in matrices for b in model.conditioner.text.blocks)


# the distribution ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", CAUSAL)
def test_steps_behind_a_prefix_equal_the_parallel_form(mixer):
    model, sequences = prior(mixer), all_sequences()
    conditions = told(len(sequences))
    with torch.no_grad():
        parallel = model.log_prob(sequences, conditions)
        for known in (0, 2):
            logits, state = model.start(conditions, len(sequences), sequences[:, :known])
            for slot in range(known, 4):
                step = logits.log_softmax(-1).gather(1, sequences[:, slot, None])[:, 0]
                assert (step - parallel[:, slot]).abs().max() < 1e-5
                if slot < 3:
                    logits, state = model.step(sequences[:, slot], state)
    assert parallel.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-6)


ENGINES = {
    "eager": lambda m: EagerEngine(m),
    "packed": lambda m: PackedEngine(m.float()),
    "fused": lambda m: FusedEngine(m.float()),
}


@pytest.mark.parametrize("mixer", ["attention", "local", "mamba", ["mamba", "attention"]], ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_samples_follow_what_they_are_told(engine, mixer):
    """A caption, a label and another picture's codes, drawn by every engine."""
    model = prior(mixer)
    p = exact(model, told(81))
    try:
        built = ENGINES[engine](model)
    except Unavailable as reason:
        pytest.skip(str(reason))
    codes = sample(built, told(1_500), list(range(1_500)))
    assert chi_square(codes, p) < 5
    others = [exact(model.double(), told(81, **other)) for other in ({"text": "dog"}, {"codes": (0, 1)})]
    assert all((p - other).abs().sum() > 0.06 for other in others)  # what is told matters


def test_guidance_away_from_all_parts():
    """u + s (c − u), u with every part left out; the fused engine draws the same."""
    model, options = prior(), Sampling(guidance=1.7)
    sequences, conditions = all_sequences(), told(81)
    with torch.no_grad():
        c, u = model.logits(sequences, conditions), model.logits(sequences, None)
    nats = (u + 1.7 * (c - u)).log_softmax(-1).gather(2, sequences[..., None])[..., 0].sum(1)
    codes = sample(model, told(2_000), list(range(2_000)), options)
    assert chi_square(codes, nats.exp().double()) < 5
    try:
        fused = FusedEngine(model.float())
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert (sample(fused, told(2_000), list(range(2_000)), options) == codes).double().mean() > 0.998


def test_the_same_seed_in_any_batch():
    model = prior().float()
    captions = ["cat", "dog", "owl"]
    text = Bytes(6).encode(captions)
    together = sample(model, Conditions(text=text), [5, 6, 7])
    for row in range(3):
        alone = sample(model, Conditions(text=text[row : row + 1]), [5 + row])
        assert torch.equal(alone[0], together[row])


def test_known_codes_behind_a_prefix():
    model = prior()
    known = torch.tensor([[2, 0, -1, -1]]).repeat(1_000, 1)
    codes = sample(model, told(1_000), list(range(1_000)), known=known)
    assert (codes[:, :2] == known[:, :2]).all()
    p = exact(model, told(81))
    p[((all_sequences()[:, :2] != torch.tensor([2, 0])).any(1))] = 0
    assert chi_square(codes, p / p.sum()) < 5


# training -----------------------------------------------------------------------------------------------


class Batch:
    """A batch of codes with captions."""

    def __init__(self, codes, captions=None, condition=None, labels=None):
        self.codes, self.captions, self.condition, self.labels = codes, captions, condition, labels


def test_visible_parts_are_halves_bands_and_rectangles():
    parts = visible_parts(2_000, 4, 6, torch.Generator().manual_seed(1))
    kinds = {tuple(part.flatten().tolist()) for part in parts}
    upper = torch.zeros(4, 6, dtype=torch.bool)
    upper[:2] = True
    assert tuple(upper.flatten().tolist()) in kinds and tuple((~upper).flatten().tolist()) in kinds
    assert 0.3 < parts.double().mean() < 0.7
    assert torch.equal(parts, visible_parts(2_000, 4, 6, torch.Generator().manual_seed(1)))


def test_a_prior_told_the_visible_part_learns_to_copy_it():
    """Random codes cannot be guessed, but for those that are shown."""
    torch.manual_seed(0)
    config = PriorConfig(width=64, depth=2, condition_picture="visible_part", picture_dropout=0.0)
    alphabet = Alphabet((8,), (0,) * 4, picture=(0,) * 4)
    model = Autoregressive(config, alphabet)
    task = PriorTask(model, Raster(), Grid(2, 2))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(100):
        optimiser.zero_grad()
        task(Batch(torch.randint(8, (64, 2, 2))), 0).total.backward()
        optimiser.step()
    model.eval()
    x = torch.randint(8, (64, 4))
    with torch.no_grad():
        shown = model.log_prob(x, Conditions(codes=x)).mean()
        hidden = model.log_prob(x, Conditions(codes=torch.full_like(x, -1))).mean()
    assert shown > -0.7 and hidden < -1.9  # log 8 = 2.08


def test_a_prior_learns_what_captions_say():
    torch.manual_seed(0)
    config = PriorConfig(width=64, depth=1, text_width=32, text_depth=1, text_vectors=2, text_dropout=0.1)
    model = Autoregressive(config, Alphabet((4,), (0,) * 3, text=Bytes(8)))
    task = PriorTask(model, Raster(), Grid(1, 3))
    captions, pictures = (
        ("red", "green", "blue", ""),
        torch.tensor([[0, 1, 2], [1, 1, 3], [2, 0, 0], [3, 3, 3]]),
    )
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(150):
        pick = torch.randint(4, (32,))
        batch = Batch(pictures[pick][:, None], tuple(captions[i] for i in pick))
        optimiser.zero_grad()
        task(batch, 0).total.backward()
        optimiser.step()
    model.eval()
    text = Conditions(text=Bytes(8).encode(captions[:3]))
    assert torch.equal(sample(model, text, [0, 1, 2], Sampling(temperature=0.0)), pictures[:3])
    assert task.validate(Batch(pictures[:3, None], captions[:3]))["bits_per_code"] < 0.2


def test_the_conditioner_is_of_one_length():
    conditioner = Conditioner(PriorConfig(width=32, text_vectors=5), ALPHABET)
    for conditions in (Conditions(), told(2), Conditions(labels=torch.tensor([0, -1]))):
        assert conditioner(conditions, 2).shape == (2, 1 + 5 + 2, 32)
