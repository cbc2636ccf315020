"""Training of a small classifier on real pictures: on their labels, or on turns of a quarter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from caselli.data import Augment, Batches, Pictures
from caselli.engine.machine import machine
from caselli.errors import UserError
from caselli.features.classifier import Classifier
from caselli.shapes import Tensor

BATCH = 256
PEAK_RATE = 3e-3
WARM_UP = 0.15
"""Share of training in which the learning rate rises; afterwards it falls along a cosine."""
ROTATIONS = ("0°", "90°", "180°", "270°")


def own_features(pictures: Pictures, steps: int, seed: int = 0) -> Classifier:
    """A classifier trained on the pictures' labels, or on turns of a quarter where they have none."""
    train = train_rotation_classifier if pictures.labels is None else train_classifier
    return train(pictures, steps=steps, seed=seed)


def train_classifier(
    pictures: Pictures,
    *,
    seconds: float = 20.0,
    steps: int | None = None,
    seed: int = 0,
    precision: str = "auto",
) -> Classifier:
    """Trains a classifier on labelled real pictures, shifted by up to a sixteenth of their side.

    It must not be trained on what it is to judge: give it the training split, and measure it on held-out
    pictures first. Some classes may share a shape (o and O, where size varies); so judge samples by its
    accuracy on them divided by its accuracy on real held-out pictures.

    Arguments:
        pictures: the training split, with labels.
        seconds: duration of training; the schedule follows the clock, so that runs differ a little.
        steps: number of steps of 256 pictures, instead of `seconds`: repeatable.
        seed: seed of weights, order and augmentation.
        precision: `float32`, `bfloat16` or `auto`, whichever is faster here.

    Example:
        >>> from caselli import data, features
        >>> pixels = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
        >>> pixels[32:] = 255
        >>> labels = torch.arange(64) // 32
        >>> greys = data.Pictures.of("greys", pixels, classes=("black", "white"), labels=labels)
        >>> classifier = train_classifier(greys, steps=20, precision="float32")
        >>> features.accuracy(classifier, data.to_float(pixels), labels)
        1.0
    """
    if pictures.labels is None:
        raise UserError(
            f"{pictures.name} has no labels",
            "labelled pictures were expected",
            "use train_rotation_classifier for features of unlabelled pictures",
        )
    classifier = _seeded(Classifier, seed, pictures.channels, pictures.size, pictures.classes)

    def lessons() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in _batches(pictures, seed).stream():
            yield batch.pictures, batch.labels

    return _train(classifier, lessons(), _clock(seconds, steps), precision)


def train_rotation_classifier(
    pictures: Pictures,
    *,
    seconds: float = 20.0,
    steps: int | None = None,
    seed: int = 0,
    precision: str = "auto",
) -> Classifier:
    """Trains a classifier of the angle by which a picture was turned: features of unlabelled pictures.

    Source: Gidaris, Singh, Komodakis (2018), Unsupervised representation learning by predicting image
    rotations.

    Arguments:
        pictures: the training split.
        seconds, steps, seed, precision: as in `train_classifier`.

    Example:
        >>> from caselli import data
        >>> pixels = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(16, 1, 1, 1)
        >>> slopes = data.Pictures.of("slopes", pixels)
        >>> train_rotation_classifier(slopes, steps=2, precision="float32").features_name
        'rotation classifier (small, trained on the data themselves)'
    """
    classifier = _seeded(Classifier, seed, pictures.channels, pictures.size, ROTATIONS, "rotation classifier")

    def lessons() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in _batches(pictures, seed).stream():
            quarters = torch.arange(len(batch.pictures)) % 4
            turned = [batch.pictures[quarters == k].rot90(k, (2, 3)) for k in range(4)]
            yield torch.cat(turned), quarters.sort().values

    return _train(classifier, lessons(), _clock(seconds, steps), precision)


def _batches(pictures: Pictures, seed: int) -> Batches:
    return Batches(pictures, BATCH, seed=seed, augment=Augment(shift=max(1, pictures.size // 16)))


def _seeded(build: Callable[..., Classifier], seed: int, *arguments: object) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(*arguments)


def _clock(seconds: float, steps: int | None) -> Callable[[int], float]:
    """Progress of training, 0 to 1, as a function of the number of steps done."""
    if steps is not None:
        return lambda step: step / steps
    start = time.perf_counter()
    return lambda step: (time.perf_counter() - start) / seconds


def _train(
    classifier: Classifier,
    lessons: Iterator[tuple[Tensor, Tensor]],
    clock: Callable[[int], float],
    precision: str,
) -> Classifier:
    here = machine(precision)
    classifier.to(here.device).train()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    step = 0
    while (progress := clock(step)) < 1:
        x, labels = (tensor.to(here.device) for tensor in next(lessons))
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * _rate(progress)
        with here.autocast():
            loss = functional.cross_entropy(classifier(x), labels, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
    lessons.close()
    return classifier.eval()


def _rate(progress: float) -> float:
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))
