"""The independent classifier."""

from __future__ import annotations

import pytest
import torch

from caselli import data
from caselli.errors import UserError
from caselli.features import (
    Classifier,
    accuracy,
    classify,
    confusion_matrix,
    features_of,
    most_confused,
    train_classifier,
    train_rotation_classifier,
)


def _bars(n: int, seed: int) -> data.Pictures:
    """Bright bars, lying or standing, at random places, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    pixels = torch.randint(0, 100, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)
    for i, place in enumerate(torch.randint(1, 14, (n,), generator=generator).tolist()):
        bar = (0, slice(place, place + 2)) if labels[i] == 0 else (0, slice(None), slice(place, place + 2))
        pixels[i][bar] = 255
    return data.Pictures.of("bars", pixels, classes=("lying", "standing"), labels=labels)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return train_classifier(_bars(512, 0), steps=25, precision="float32")


def test_it_reads_pictures_that_it_has_not_seen(classifier):
    held_out = _bars(200, 1)
    x = data.to_float(held_out.read(torch.arange(200)))
    assert accuracy(classifier, x, held_out.labels) > 0.97
    assert accuracy(classifier, x, 1 - held_out.labels) < 0.03
    counts = confusion_matrix(classifier, x, held_out.labels)
    assert counts.sum() == 200 and counts.diagonal().sum() > 190
    assert counts.sum(1).tolist() == [100, 100]


def test_training_by_steps_is_repeatable_and_leaves_the_global_seed_alone():
    pictures = _bars(64, 0)
    before = torch.random.get_rng_state()
    first, second = (train_classifier(pictures, steps=2, precision="float32") for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_training_stops_by_the_clock():
    assert isinstance(train_classifier(_bars(64, 0), seconds=0.05, precision="float32"), Classifier)


def test_features_do_not_depend_on_the_batch(classifier):
    x = torch.rand(6, 1, 16, 16) * 2 - 1
    features = features_of(classifier, x)
    assert features.shape == (6, 256)
    torch.testing.assert_close(features[2:3], features_of(classifier, x[2:3]), rtol=1e-4, atol=1e-5)
    assert classifier.features_name.startswith("classifier")


def test_rotations_give_features_without_labels():
    pictures = _bars(64, 0)
    turned = train_rotation_classifier(pictures, steps=1, precision="float32")
    assert turned.classes == ("0°", "90°", "180°", "270°")
    assert turned.features_name.startswith("rotation classifier")


@pytest.mark.parametrize("channels,size", [(1, 8), (3, 28), (1, 32), (3, 64), (1, 100)])
def test_any_size_from_eight(channels, size):
    classifier = Classifier(channels, size, ("a", "b", "c"))
    x = torch.zeros(2, channels, size, size)
    assert classify(classifier, x).shape == (2,) and features_of(classifier, x).shape == (2, 256)


def test_mistakes_are_listed_the_most_frequent_first():
    counts = torch.tensor([[9, 1, 4], [0, 9, 0], [2, 0, 9]])
    assert most_confused(counts, ("o", "x", "O"), 2) == [("o", "O", 4), ("O", "o", 2)]


def test_bad_input_is_a_users_mistake(classifier):
    unlabelled = data.Pictures.of("plain", torch.zeros(4, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match="train_rotation_classifier"):
        train_classifier(unlabelled, steps=1)
    with pytest.raises(UserError, match="B 1 16 16"):
        classify(classifier, torch.zeros(1, 3, 16, 16))
    with pytest.raises(UserError, match="2 classes"):
        Classifier(1, 16, ("only",))
