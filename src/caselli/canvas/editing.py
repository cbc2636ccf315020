"""New pictures near given ones: variations of one, and the way from one to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from caselli.canvas.windows import sees_all, window_seed, with_known
from caselli.errors import UserError
from caselli.model import Model
from caselli.prior import Conditions
from caselli.prior.drawing import noise
from caselli.sampling import AS_LEARNED, Engine, Sampling, best_engine, sample
from caselli.shapes import Bool, Float, Int, Tensor

BATCH = 64
"""Sequences drawn at a time."""


@dataclasses.dataclass(frozen=True)
class Redrawing:
    r"""How a share of a picture's codes is drawn anew by the prior, in rounds.

    Each round draws places at random, so many that after the last one the expected share of places that were
    drawn at least once is the strength:

    .. math:: 1 - (1 - \text{share})^{\text{rounds}} = \text{strength}

    A code sees those before it when it is drawn. That it fits the kept ones behind it is seen to by chance:
    of several candidates one is taken with odds of the probability that the prior gives to the kept codes,

    .. math:: w \propto \prod_{t \text{ kept}} p(x_t \mid x_{<t}),

    which for many candidates is the prior's own conditional distribution. A prior that sees known codes
    wherever they lie needs one alone.

    Errors: `UserError` for a strength that is no share, or less than one round or candidate.

    Source: Rubin 1988, Using the SIR Algorithm to Simulate Posterior Distributions.
    """

    strength: float = 0.5
    """Expected share of the places that are drawn anew: 0 none, 1 all."""
    rounds: int = 4
    """With more of them, fewer places change at a time, and see more of the others."""
    candidates: int = 4
    """Of which one is taken in each round."""
    options: Sampling = AS_LEARNED
    """Guidance, temperature and truncation."""

    def __post_init__(self) -> None:
        _expect(0 <= self.strength <= 1, f"strength {self.strength} was given", "0 to 1 was expected")
        for name in ("rounds", "candidates"):
            given = getattr(self, name)
            _expect(given >= 1, f"{name} {given} was given", "at least 1 was expected")

    @property
    def share(self) -> float:
        """Of the places that one round draws.

        Example:
            >>> Redrawing(strength=0.75, rounds=2).share
            0.5
        """
        return 1 - (1 - self.strength) ** (1 / self.rounds)


def variations(
    model: Model,
    picture: Float[Tensor, "1 C H W"],
    count: int,
    how: Redrawing | None = None,
    conditions: Conditions | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda codes: None,
    engine: Engine | None = None,
) -> Float[Tensor, "count C H W"]:
    """New pictures near a given one.

    Arguments:
        model: with a prior.
        picture: at the model's size.
        count: how many.
        how: strength, rounds and options.
        conditions: of each new picture, see `Model.conditions`.
        seed: variation i is drawn with seed + i.
        progress: told the number of codes drawn since it was last told.
        engine: as of `Model.sample`.

    Errors: `UserError` for a picture of another size, or less than one variation.
    """
    _expect(count >= 1, f"{count} variations were asked for", "at least 1 was expected")
    _check(model, picture)
    sequences = model.order.flatten(model.encode(picture), model.grid).repeat(count, 1)
    seeds = list(range(seed, seed + count))
    sequences = redrawn(model, sequences, how or Redrawing(), conditions, seeds, progress, engine)
    return _pictures(model, sequences)


def interpolate(
    model: Model,
    ends: Float[Tensor, "2 C H W"],
    count: int,
    how: Redrawing | None = None,
    conditions: Conditions | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda codes: None,
    engine: Engine | None = None,
) -> Float[Tensor, "count C H W"]:
    r"""The way from one picture to another, through the tokenizer's latents.

    .. math:: \hat x_i = D(Q((1 - t_i)\, E(a) + t_i\, E(b))), \qquad t_i = \frac{i}{n - 1}

    The first and the last are exactly the reconstructions. Between them the prior may draw a share of the
    codes anew, by the same noise at every step: a mixture of two pictures' latents is not always a picture.

    Arguments:
        model: its prior is needed only with a strength.
        ends: a and b, at the model's size.
        count: n, the ends included; at least 2.
        how: None for the way alone; else strength and options of what the prior draws anew.
        conditions, seed, progress, engine: of that drawing, as of `variations`.

    Errors: `UserError` for pictures of another size, or less than two steps.
    """
    _expect(count >= 2, f"{count} steps were asked for", "at least 2, the ends, were expected")
    _check(model, ends)
    codes = mixed_codes(model, ends, torch.linspace(0, 1, count))
    sequences = model.order.flatten(codes, model.grid)
    if how is not None and how.strength > 0 and count > 2:
        seeds = [seed] * (count - 2)
        between = redrawn(model, sequences[1:-1], how, conditions, seeds, progress, engine)
        sequences = torch.cat((sequences[:1], between, sequences[-1:]))
    return _pictures(model, sequences)


@torch.no_grad()
def mixed_codes(
    model: Model, ends: Float[Tensor, "2 C H W"], shares: Float[Tensor, "n"]
) -> Int[Tensor, "n *grid"]:
    """The codes of (1 − t) E(a) + t E(b) for each share t."""
    tokenizer, t = model.tokenizer, shares.to(model.device)
    first, last = tokenizer.encoder(ends.to(model.device)).split(1)
    t = t.view(-1, *[1] * (first.dim() - 1))
    return tokenizer.quantizer.encode((1 - t) * first + t * last)


@torch.no_grad()
def redrawn(
    model: Model,
    sequences: Int[Tensor, "B T"],
    how: Redrawing,
    conditions: Conditions | None,
    seeds: list[int],
    progress: Callable[[int], None] = lambda codes: None,
    engine: Engine | None = None,
) -> Int[Tensor, "B T"]:
    """Sequences with a share of their codes drawn anew; each by the noise of its own seed."""
    engine = engine or best_engine(model.require_prior())[0]
    told = Conditions.of(conditions).to(model.device)
    for number in range(how.rounds):
        places = noise([window_seed(seed, number, -1) for seed in seeds], sequences.shape[1]) < how.share
        parts = torch.arange(len(seeds)).split(max(1, BATCH // how.candidates))
        done = [
            _round(model, engine, sequences[i], places[i], how, told.rows(i), [seeds[j] for j in i], number)
            for i in parts
        ]
        sequences = torch.cat(done)
        progress(int(places.sum()))
    return sequences


def _round(
    model: Model,
    engine: Engine,
    sequences: Int[Tensor, "b T"],
    places: Bool[Tensor, "b T"],
    how: Redrawing,
    told: Conditions,
    seeds: list[int],
    number: int,
) -> Int[Tensor, "b T"]:
    """The places of each sequence drawn anew: one of several candidates, by what is kept."""
    count = 1 if sees_all(engine.prior) else how.candidates
    places = places.to(sequences.device).repeat_interleave(count, 0)
    known = torch.where(places, -1, sequences.repeat_interleave(count, 0))
    each = [window_seed(seed, number, k) for seed in seeds for k in range(count)]
    told = told.rows(torch.arange(len(seeds)).repeat_interleave(count))
    told = with_known(engine.prior, told, model.order.restore(known, model.grid))
    drawn = sample(engine, told, each, how.options, known=known)
    if count == 1:
        return drawn
    fit = engine.prior.log_prob(drawn, told).masked_fill(places, 0).sum(1).view(len(seeds), -1)
    gumbel = -(-noise([window_seed(seed, number, -2) for seed in seeds], count).log()).log()
    best = (fit + gumbel.to(fit)).argmax(1)
    return drawn.view(len(seeds), count, -1)[torch.arange(len(seeds)), best]


def _pictures(model: Model, sequences: Int[Tensor, "B T"]) -> Float[Tensor, "B C H W"]:
    return model.decode(model.order.restore(sequences, model.grid)).cpu()


def _check(model: Model, pictures: Tensor) -> None:
    size = tuple(pictures.shape[-2:])
    _expect(
        size == (model.size, model.size),
        f"a picture of {size} was given",
        f"{(model.size, model.size)}, the model's size, was expected",
    )


def _expect(true: bool, given: str, expected: str) -> None:
    if not true:
        raise UserError(given, expected)
