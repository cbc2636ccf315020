"""New pictures near given ones: variations of one, and interpolation between two."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from caselli.canvas.windows import window_seed
from caselli.errors import UserError
from caselli.model import Model
from caselli.prior import Conditions
from caselli.sampling import AS_LEARNED, Engine, Sampling, sample, uniform_noise
from caselli.shapes import Bool, Float, Int, Tensor

_TOGETHER = 64
"""Number of sequences drawn at a time, candidates included."""


@dataclasses.dataclass(frozen=True)
class Redrawing:
    r"""Settings by which a share of a picture's codes is drawn anew by the prior, in rounds.

    Each round draws places at random, so many that after the last one the expected share of places that were
    drawn at least once is the strength:

    .. math:: 1 - (1 - \text{share})^{\text{rounds}} = \text{strength}

    A code is drawn given those before it. To make it fit the kept ones behind it, one of several candidates
    is taken with odds of the probability that the prior gives to the kept codes,

    .. math:: w \propto \prod_{t \text{ kept}} p(x_t \mid x_{<t}),

    which for many candidates is the prior's own conditional distribution. A prior that sees known codes
    wherever they lie needs one alone.

    Errors: `UserError` for a strength that is no share, or less than one round or candidate.

    Source: Rubin 1988, Using the SIR Algorithm to Simulate Posterior Distributions.
    """

    strength: float = 0.5
    """Expected share of the places that are drawn anew: 0 none, 1 all."""
    rounds: int = 4
    """Number of rounds: with more of them, fewer places change at a time, and see more of the others."""
    candidates: int = 4
    """Number of candidates, one of which is taken in each round."""
    options: Sampling = AS_LEARNED
    """Guidance, temperature and truncation."""
    conditions: Conditions | None = None
    """Conditions of each new picture, see `Model.conditions`."""
    seed: int = 0
    """Variation i is drawn with seed + i; the steps of an interpolation all with this one."""
    progress: Callable[[int], None] = lambda codes: None
    """Receives the number of codes drawn since its last call."""
    engine: Engine | None = None
    """Computes the steps; by default `Model.engine`."""

    def __post_init__(self) -> None:
        _expect(0 <= self.strength <= 1, f"strength {self.strength} was given", "0 to 1 was expected")
        for name in ("rounds", "candidates"):
            given = getattr(self, name)
            _expect(given >= 1, f"{name} {given} was given", "at least 1 was expected")

    @property
    def share(self) -> float:
        """Share of the places that one round draws.

        Example:
            >>> Redrawing(strength=0.75, rounds=2).share
            0.5
        """
        return 1 - (1 - self.strength) ** (1 / self.rounds)


def variations(
    model: Model, picture: Float[Tensor, "1 C H W"], count: int, how: Redrawing | None = None
) -> Float[Tensor, "count C H W"]:
    """New pictures near a given one.

    Arguments:
        model: with a prior.
        picture: at the model's size.
        count: number of variations.
        how: strength, rounds, options, conditions and seed.

    Errors: `UserError` for a picture of another size, or less than one variation.
    """
    _check(model, picture)
    return model.decode(varied_codes(model, model.encode(picture), count, how)).cpu()


def varied_codes(
    model: Model, codes: Int[Tensor, "1 *grid"], count: int, how: Redrawing | None = None
) -> Int[Tensor, "n *grid"]:
    """The codes of variations of a picture with these; arguments and errors see `variations`."""
    _expect(count >= 1, f"{count} variations were asked for", "at least 1 was expected")
    how = how or Redrawing()
    sequences = model.order.flatten(codes.to(model.device), model.grid).repeat(count, 1)
    drawn = redrawn(model, sequences, how, list(range(how.seed, how.seed + count)))
    return model.order.restore(drawn, model.grid)


def interpolate(
    model: Model, ends: Float[Tensor, "2 C H W"], count: int, how: Redrawing | None = None
) -> Float[Tensor, "count C H W"]:
    r"""Steps from one picture to another, through the tokenizer's latents.

    .. math:: \hat x_i = D(Q((1 - t_i)\, E(a) + t_i\, E(b))), \qquad t_i = \frac{i}{n - 1}

    The first and the last are exactly the reconstructions. Between them the prior may draw a share of the
    codes anew, by the same noise at every step: a mixture of two pictures' latents is not always a picture.

    Arguments:
        model: its prior is needed only with a strength.
        ends: a and b, at the model's size.
        count: n, the ends included; at least 2.
        how: None for the latents alone; else how the prior draws a share of the codes between anew.

    Errors: `UserError` for pictures of another size, or less than two steps.
    """
    return model.decode(interpolated_codes(model, ends, count, how)).cpu()


def interpolated_codes(
    model: Model, ends: Float[Tensor, "2 C H W"], count: int, how: Redrawing | None = None
) -> Int[Tensor, "n *grid"]:
    """The codes of the steps from one picture to another; arguments and errors see `interpolate`."""
    _expect(count >= 2, f"{count} steps were asked for", "at least 2, the ends, were expected")
    _check(model, ends)
    codes = mixed_codes(model, ends, torch.linspace(0, 1, count))
    sequences = model.order.flatten(codes, model.grid)
    if how is not None and how.strength > 0 and count > 2:
        between = redrawn(model, sequences[1:-1], how, [how.seed] * (count - 2))
        sequences = torch.cat((sequences[:1], between, sequences[-1:]))
    return model.order.restore(sequences, model.grid)


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
    model: Model, sequences: Int[Tensor, "B T"], how: Redrawing, seeds: list[int]
) -> Int[Tensor, "B T"]:
    """Sequences with a share of their codes drawn anew, each by the noise of its own seed."""
    engine = how.engine or model.engine()[0]
    conditions = Conditions.of(how.conditions).to(model.device)
    how = dataclasses.replace(how, engine=engine, conditions=conditions)
    parts = torch.arange(len(seeds)).split(max(1, _TOGETHER // how.candidates))
    for number in range(how.rounds):
        noise = uniform_noise([window_seed(seed, number, -1) for seed in seeds], sequences.shape[1])
        places = noise < how.share
        done = [_round(model, sequences[i], places[i], how, i, seeds, number) for i in parts]
        sequences = torch.cat(done)
        how.progress(int(places.sum()))
    return sequences


def _round(
    model: Model,
    sequences: Int[Tensor, "b T"],
    places: Bool[Tensor, "b T"],
    how: Redrawing,
    rows: Int[Tensor, "b"],
    seeds: list[int],
    number: int,
) -> Int[Tensor, "b T"]:
    """Sequences of some rows with their places drawn anew: one of several candidates, by the kept codes."""
    prior, own = how.engine.prior, [seeds[row] for row in rows]
    count = 1 if prior.sees_all_known else how.candidates
    places = places.to(sequences.device).repeat_interleave(count, 0)
    known = torch.where(places, -1, sequences.repeat_interleave(count, 0))
    each = [window_seed(seed, number, k) for seed in own for k in range(count)]
    conditions = how.conditions.rows(rows.repeat_interleave(count))
    conditions = prior.with_known(conditions, model.order.restore(known, model.grid))
    drawn = sample(how.engine, conditions, each, how.options, known=known)
    if count == 1:
        return drawn
    fit = prior.log_prob(drawn, conditions).masked_fill(places, 0).sum(1).view(len(own), -1)
    # the argmax under Gumbel noise is a candidate drawn with odds of its weight
    gumbel = -(-uniform_noise([window_seed(seed, number, -2) for seed in own], count).log()).log()
    best = (fit + gumbel.to(fit)).argmax(1)
    return drawn.view(len(own), count, -1)[torch.arange(len(own)), best]


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
