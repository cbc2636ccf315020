"""How a residual model is learnt: maximum likelihood of the training pictures' pixels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from caselli.codec.residual import Places, ResidualConfig, ResidualModel, context
from caselli.data import Pictures, to_bytes, to_float
from caselli.errors import UserError
from caselli.model import Model
from caselli.shapes import Int, Tensor

PIXELS, PICTURES = 768, 32
"""Of a step: the pixels, and the pictures they come from."""
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
    """A residual model of a tokenizer's mistakes.

    Arguments:
        model: whose tokenizer makes the reconstructions.
        pictures: the training split, at any size that the tokenizer takes.
        seconds: how long it learns.
        steps: instead of seconds.
        width: of its hidden layers.
        start: one to go on from, instead of a new one; it is changed.
        seed: of weights and pixels.
        say: told bits per dimension now and then.

    Errors: `UserError` for a budget of nothing.
    """
    if (seconds if steps is None else steps) <= 0:
        raise UserError("a budget of nothing was given", "more than 0 was expected")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = start or ResidualModel(ResidualConfig(pictures.channels, width))
        peak = PEAK_RATE if start is None else PEAK_RATE / 2
        optimiser = torch.optim.Adam(network.train().parameters(), lr=peak)
        begin, step, nats, share = time.perf_counter(), 0, math.nan, 0.0
        while share < 1:
            for group in optimiser.param_groups:
                group["lr"] = peak * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * share))
            if step % 16 == 0:
                batch = _pair(model, pictures)
            loss = _loss(network, *batch)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            nats = loss.item() if step == 0 else 0.98 * nats + 0.02 * loss.item()
            step += 1
            share = step / steps if steps is not None else (time.perf_counter() - begin) / seconds
            if step % 100 == 0:
                say(f"step {step}: {nats / math.log(2):.3f} bits per dimension")
    return network.eval()


@torch.no_grad()
def _pair(model: Model, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Pictures and their reconstructions, as integers."""
    some = pictures.read(torch.randint(len(pictures), (PICTURES,)))
    shown = to_bytes(model.decode(model.encode(to_float(some))).cpu())
    return some.long(), shown.long()


def _loss(network: ResidualModel, pixels: Int[Tensor, "B C H W"], shown: Tensor) -> Tensor:
    """Mean −log p of the channels of random pixels."""
    count, channels, height, width = pixels.shape
    places = Places(*(torch.randint(n, (PIXELS,)) for n in (count, height, width)))
    known = context(pixels, shown, places)
    values = pixels[places.picture, :, places.row, places.column]
    terms = [F.cross_entropy(network(known, values, c), values[:, c]) for c in range(channels)]
    return torch.stack(terms).mean()
