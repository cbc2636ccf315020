"""Training of a residual model: maximum likelihood of the training pictures' pixels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from caselli.codec.residual import Places, ResidualConfig, ResidualModel, context
from caselli.data import Pictures, generator, to_bytes, to_float
from caselli.engine import Fit, Losses, Task, TrainingConfig, fit
from caselli.model import Model
from caselli.shapes import Int, Tensor

PIXELS = 768
"""Number of pixels sampled per step."""
PICTURES, STEPS_ON_THEM = 32, 16
"""Number of pictures that pixels are sampled from, and of steps after which others take their place."""
PEAK_RATE = 4e-3


def learn_residual(
    model: Model,
    pictures: Pictures,
    *,
    seconds: float = 120.0,
    steps: int | None = None,
    width: int = 48,
    start: ResidualModel | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda words: None,
) -> ResidualModel:
    """A residual model of the pixels that a tokenizer's reconstructions leave open.

    Arguments:
        model: gives the reconstructions.
        pictures: the training split, at any size that the tokenizer takes.
        seconds: budget of time.
        steps: budget in steps, instead of the seconds.
        width: width of the hidden layers.
        start: a model to continue from, in place, instead of a new one.
        seed: seed of the weights and of the sampled pixels.
        say: called with the bits per dimension every 100 steps.

    Errors: `UserError` for an empty budget.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = start or ResidualModel(ResidualConfig(pictures.channels, width))
    config = TrainingConfig(
        steps=1000 if steps is None else steps,
        minutes=seconds / 60 if steps is None else None,
        batch=PICTURES,
        learning_rate=PEAK_RATE if start is None else PEAK_RATE / 2,
        warmup=20,
        betas=(0.9, 0.999),
        weight_decay=0.0,
    )
    pairs = ReconstructedBatches(model, pictures, seed)
    fit(ResidualTask(network), pairs, config, seed=seed, until=_Progress(say))
    return network.eval()


@dataclasses.dataclass(frozen=True)
class Reconstructed:
    """Pictures beside their reconstructions, 0 … 255."""

    pixels: Int[Tensor, "B C H W"]
    shown: Int[Tensor, "B C H W"]


class ReconstructedBatches:
    """Random pictures and their reconstructions, the same ones for `STEPS_ON_THEM` steps.

    Arguments:
        model: gives the reconstructions.
        pictures: the set.
        seed: seed of the choice.
    """

    def __init__(self, model: Model, pictures: Pictures, seed: int) -> None:
        self.model, self.pictures, self.seed = model, pictures, seed

    def stream(self, start: int = 0) -> Iterator[Reconstructed]:
        """The batches of the steps from `start` on."""
        numbers = itertools.count(start // STEPS_ON_THEM)
        repeated = (itertools.repeat(self._at(number), STEPS_ON_THEM) for number in numbers)
        return itertools.islice(itertools.chain.from_iterable(repeated), start % STEPS_ON_THEM, None)

    @torch.no_grad()
    def _at(self, number: int) -> Reconstructed:
        random = generator("residual", self.seed, number)
        pixels = self.pictures.read(torch.randint(len(self.pictures), (PICTURES,), generator=random))
        shown = to_bytes(self.model.decode(self.model.encode(to_float(pixels))).cpu())
        return Reconstructed(pixels.long(), shown.long())


class ResidualTask(Task):
    r"""Mean −log p of the channels of random pixels, given what is decoded before them.

    Arguments:
        network: the residual model.
    """

    def __init__(self, network: ResidualModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Reconstructed, step: int) -> Losses:
        """Nats per dimension."""
        count, channels, height, width = batch.pixels.shape
        places = Places(*(torch.randint(n, (PIXELS,)) for n in (count, height, width)))
        known = context(batch.pixels, batch.shown, places)
        values = batch.pixels[places.picture, :, places.row, places.column]
        terms = [F.cross_entropy(self.network(known, values, c), values[:, c]) for c in range(channels)]
        return Losses(torch.stack(terms).mean(), {})


class _Progress:
    """Says the bits per dimension, averaged over the last 50 steps or so, every 100 steps."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.nats = say, math.nan

    def __call__(self, now: Fit) -> bool:
        loss = now.figures["loss"].item()
        self.nats = loss if now.step == 1 else 0.98 * self.nats + 0.02 * loss
        if now.step % 100 == 0:
            self.say(f"step {now.step}: {self.nats / math.log(2):.3f} bits per dimension")
        return False
