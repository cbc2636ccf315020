"""Training of a small classifier on real pictures: on their labels, or on turns of a quarter."""

from __future__ import annotations

import torch
from torch.nn import functional

from caselli import ranks
from caselli.data import Augment, Batch, Batches, Pictures
from caselli.engine import Losses, Task, TrainingConfig, fit, machine
from caselli.errors import UserError
from caselli.features.classifier import Classifier
from caselli.shapes import Float, Int, Tensor

BATCH = 256
PEAK_RATE = 3e-3
WARM_UP = 10
"""Steps in which the learning rate rises; it falls along a cosine."""
SPREAD = 0.05
"""Share of a label's probability that is spread over all classes."""
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
        precision: `float32`, `bfloat16` or `auto`, as the kind of processor decides.

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
    return _train(LabelTask, pictures, pictures.classes, "classifier", seconds, steps, seed, precision)


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
    return _train(RotationTask, pictures, ROTATIONS, "rotation classifier", seconds, steps, seed, precision)


class LabelTask(Task):
    """Cross-entropy of the labels, a twentieth of it spread over all classes."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, batch: Batch, step: int) -> Losses:
        return self.losses(batch.pictures, batch.labels)

    def losses(self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]) -> Losses:
        """The loss of pictures whose class is known."""
        return Losses(functional.cross_entropy(self.classifier(pictures), labels, label_smoothing=SPREAD), {})


class RotationTask(LabelTask):
    """Cross-entropy of the number of quarter turns, a fourth of the pictures turned by each."""

    def forward(self, batch: Batch, step: int) -> Losses:
        x = batch.pictures
        quarters = torch.arange(len(x), device=x.device) % 4
        turned = [x[quarters == k].rot90(k, (2, 3)) for k in range(4)]
        return self.losses(torch.cat(turned), quarters.sort().values)


def _train(
    task: type[LabelTask],
    pictures: Pictures,
    classes: tuple[str, ...],
    name: str,
    seconds: float,
    steps: int | None,
    seed: int,
    precision: str,
) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = Classifier(pictures.channels, pictures.size, classes, name)
    batches = Batches(pictures, BATCH, seed=seed, augment=Augment(shift=max(1, pictures.size // 16)))
    config = TrainingConfig(
        steps=steps or 1,
        minutes=None if steps else seconds / 60,
        batch=BATCH,
        learning_rate=PEAK_RATE,
        warmup=WARM_UP,
        betas=(0.9, 0.999),
        clip=0.0,
    )
    with ranks.alone():  # the first rank trains it, when all have trained the model that it judges
        fit(task(classifier), batches, config, machine=machine(precision), seed=seed)
    return classifier
