"""An independent classifier, trained on real pictures alone: it reads samples, and gives features."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional

from caselli.data import Augment, Batches, Pictures
from caselli.engine.machine import machine
from caselli.errors import UserError
from caselli.evaluate.features import in_batches
from caselli.layer.features import FeatureNetwork
from caselli.shapes import Float, Int, Tensor

FEATURES = 256
BATCH = 256
PEAK_RATE = 3e-3
WARM_UP = 0.15
"""The share of training in which the learning rate rises; afterwards it falls along a cosine."""
ROTATIONS = ("0°", "90°", "180°", "270°")


class Reader(FeatureNetwork):
    """A small convolutional classifier: pictures in [-1, 1] → logits, `B K`.

    Arguments:
        channels: 1 (grey) or 3 (colour).
        size: the pictures' side, in pixels, from 8.
        classes: the names of what it tells apart.
        name: what its features are called in reports.

    Example:
        >>> reader = Reader(1, 32, ("a", "b"))
        >>> reader(torch.zeros(5, 1, 32, 32)).shape, reader.features(torch.zeros(5, 1, 32, 32)).shape
        (torch.Size([5, 2]), torch.Size([5, 256]))
    """

    def __init__(self, channels: int, size: int, classes: tuple[str, ...], name: str = "reader") -> None:
        super().__init__()
        if size < 8 or len(classes) < 2:
            raise UserError(
                f"pictures of {size} pixels and {len(classes)} classes were given",
                "at least 8 pixels and 2 classes were expected",
            )
        self.channels, self.size, self.classes = channels, size, tuple(classes)
        self.features_name = f"{name} (a small classifier trained on the data themselves)"
        halvings = max(0, math.ceil(math.log2(size / 32)))
        layers = [_convolution(channels, 32, 5, 2)]
        layers += [_convolution(32, 32, 3, 2) for _ in range(halvings)]
        layers += [_convolution(32, 64, 3, 2), _convolution(64, 128, 3, 1), _convolution(128, 128, 3, 2)]
        side = 4 if size > 24 else 2
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(side), nn.Flatten())
        self.penultimate = nn.Sequential(nn.Linear(128 * side * side, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, len(self.classes))
        self.to(memory_format=torch.channels_last)

    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """What the last layer sees, F = 256."""
        if pictures.ndim != 4 or pictures.shape[1:] != (self.channels, self.size, self.size):
            raise UserError(
                f"pictures of shape {tuple(pictures.shape)} were given to a reader",
                f"B {self.channels} {self.size} {self.size} was expected",
            )
        return self.penultimate(self.body(pictures.contiguous(memory_format=torch.channels_last)))

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        return self.head(self.features(pictures))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def train_reader(
    pictures: Pictures,
    *,
    seconds: float = 20.0,
    steps: int | None = None,
    seed: int = 0,
    precision: str = "auto",
) -> Reader:
    """Trains a reader on labelled real pictures, moved by up to a sixteenth of their side.

    It must never see what it is to judge: give it the training split, and measure it on held-out pictures
    first. Some classes may be one shape (o and O, where size varies); so judge samples by its accuracy on
    them divided by its accuracy on real held-out pictures.

    Arguments:
        pictures: the training split, with labels.
        seconds: how long to train; the schedule follows the clock, so runs differ a little.
        steps: train for so many steps of 256 pictures instead: repeatable.
        seed: of weights, order and augmentation.
        precision: `float32`, `bfloat16` or `auto`, whichever is faster here.

    Example:
        >>> from caselli import data
        >>> pixels = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
        >>> pixels[32:] = 255
        >>> labels = torch.arange(64) // 32
        >>> greys = data.Pictures.of("greys", pixels, classes=("black", "white"), labels=labels)
        >>> reader = train_reader(greys, steps=20, precision="float32")
        >>> accuracy(reader, data.to_float(pixels), labels)
        1.0
    """
    if pictures.labels is None:
        raise UserError(
            f"{pictures.name} has no labels",
            "labelled pictures were expected",
            "use train_rotation_reader for features of unlabelled pictures",
        )
    reader = _seeded(Reader, seed, pictures.channels, pictures.size, pictures.classes)

    def lessons() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in _batches(pictures, seed).stream():
            yield batch.pictures, batch.labels

    return _train(reader, lessons(), _clock(seconds, steps), precision)


def train_rotation_reader(
    pictures: Pictures,
    *,
    seconds: float = 20.0,
    steps: int | None = None,
    seed: int = 0,
    precision: str = "auto",
) -> Reader:
    """Trains a reader to tell by how much a picture was turned: features where there are no labels.

    Source: Gidaris, Singh, Komodakis (2018), Unsupervised representation learning by predicting image
    rotations.

    Arguments:
        pictures: the training split.
        seconds, steps, seed, precision: as in `train_reader`.

    Example:
        >>> from caselli import data
        >>> pixels = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(16, 1, 1, 1)
        >>> reader = train_rotation_reader(data.Pictures.of("slopes", pixels), steps=2, precision="float32")
        >>> reader.features_name
        'rotation reader (a small classifier trained on the data themselves)'
    """
    reader = _seeded(Reader, seed, pictures.channels, pictures.size, ROTATIONS, "rotation reader")

    def lessons() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in _batches(pictures, seed).stream():
            quarters = torch.arange(len(batch.pictures)) % 4
            turned = [batch.pictures[quarters == k].rot90(k, (2, 3)) for k in range(4)]
            yield torch.cat(turned), quarters.sort().values

    return _train(reader, lessons(), _clock(seconds, steps), precision)


def _batches(pictures: Pictures, seed: int) -> Batches:
    return Batches(pictures, BATCH, seed=seed, augment=Augment(shift=max(1, pictures.size // 16)))


def _seeded(build: Callable[..., Reader], seed: int, *arguments: object) -> Reader:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(*arguments)


def _clock(seconds: float, steps: int | None) -> Callable[[int], float]:
    """How far training is, 0 to 1, from the number of steps done."""
    if steps is not None:
        return lambda step: step / steps
    start = time.perf_counter()
    return lambda step: (time.perf_counter() - start) / seconds


def _train(
    reader: Reader,
    lessons: Iterator[tuple[Tensor, Tensor]],
    clock: Callable[[int], float],
    precision: str,
) -> Reader:
    here = machine(precision)
    reader.to(here.device).train()
    optimiser = torch.optim.AdamW(reader.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    step = 0
    while (progress := clock(step)) < 1:
        x, labels = (tensor.to(here.device) for tensor in next(lessons))
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * _rate(progress)
        with here.autocast():
            loss = functional.cross_entropy(reader(x), labels, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
    lessons.close()
    return reader.eval()


def _rate(progress: float) -> float:
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


@torch.no_grad()
def read(reader: Reader, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B"]:
    """The class that the reader sees in each picture; any number of pictures."""
    return in_batches(reader, lambda x: reader(x).argmax(1), pictures)


def accuracy(reader: Reader, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]) -> float:
    """The share of pictures that are read as their label."""
    return float((read(reader, pictures) == labels.to(reader.device)).double().mean())


def confusion(
    reader: Reader, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]
) -> Int[Tensor, "K K"]:
    """How often each label (row) was read as each class (column)."""
    size = len(reader.classes)
    pairs = labels.to(reader.device) * size + read(reader, pictures)
    return torch.bincount(pairs, minlength=size * size).view(size, size)


def confused(
    counts: Int[Tensor, "K K"], classes: tuple[str, ...], most: int = 10
) -> list[tuple[str, str, int]]:
    """(label, read as, how often), the most frequent mistakes first.

    Example:
        >>> confused(torch.tensor([[5, 2], [1, 6]]), ("o", "O"))
        [('o', 'O', 2), ('O', 'o', 1)]
    """
    wrong = counts.clone().fill_diagonal_(0).flatten()
    order = wrong.argsort(descending=True, stable=True)[:most].tolist()
    size = len(classes)
    return [(classes[i // size], classes[i % size], int(wrong[i])) for i in order if wrong[i] > 0]
