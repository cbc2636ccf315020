"""Codes looked at one by one: what else could stand there, how surprising it is, what it sees and reaches."""

from __future__ import annotations

import dataclasses
import math

import torch

from caselli.anatomy import ReceptiveField, apart
from caselli.errors import UserError
from caselli.model.model import Model
from caselli.prior import Conditions
from caselli.shapes import Float, Int, Tensor

NOT_DRAWN = 0.0
"""Grey of the pixels of codes that are not drawn yet."""


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """Codes that a place could have, the likeliest first."""

    codes: Int[Tensor, "n"]
    probabilities: Float[Tensor, "n"]
    """p(code | condition, the codes that the prior sees there) of each."""
    own: float
    """Probability of the code that is there."""


@dataclasses.dataclass(frozen=True)
class Extent:
    """A rectangle of pixels, the last row and column included."""

    top: int
    left: int
    bottom: int
    right: int


@torch.no_grad()
def alternatives(
    model: Model,
    codes: Int[Tensor, "1 *grid"],
    place: int,
    count: int,
    conditions: Conditions | None = None,
) -> Alternatives:
    """The prior's likeliest codes for one place of a picture.

    Arguments:
        model: with a prior.
        codes: those of the picture; the one at the place does not matter for the others' probabilities.
        place: index among the codes, flattened.
        count: number of alternatives, at most all.
        conditions: see `Model.conditions`.

    Errors: `UserError` for a place that there is not.
    """
    prior, slot = model.require_prior(), _slot(model, place)
    sequence = model.order.flatten(codes.to(model.device), model.grid)
    others = codes.to(model.device).flatten(1).index_fill(1, torch.tensor(place, device=model.device), -1)
    conditions = prior.with_known(Conditions.of(conditions).to(model.device), others.view(codes.shape))
    p = prior.log_probs_at(slot, sequence, conditions)[0].exp()
    best = p.topk(min(count, len(p)))
    return Alternatives(best.indices.cpu(), best.values.cpu(), float(p[sequence[0, slot]]))


@torch.no_grad()
def surprise(
    model: Model, codes: Int[Tensor, "B *grid"], conditions: Conditions | None = None
) -> Float[Tensor, "B *grid"]:
    """Bits that the prior needs for each code, −log₂ p; of a prior that is not exact, each code's share of an
    upper bound.

    Arguments:
        model: with a prior.
        conditions: see `Model.conditions`.
    """
    sequence = model.order.flatten(codes.to(model.device), model.grid)
    nats = model.require_prior().log_prob(sequence, Conditions.of(conditions).to(model.device))
    return model.order.restore(-nats / math.log(2), model.grid).cpu()


@torch.no_grad()
def unfinished(model: Model, codes: Int[Tensor, "B *grid"]) -> Float[Tensor, "B C H W"]:
    """Pictures of codes of which some are not drawn yet (−1): grey where one is missing.

    Where codes lie on one axis, and have no places, the missing ones are taken for code 0.
    """
    codes = codes.to(model.device)
    pictures = model.decode(codes.clamp_min(0))
    if model.grid.flat:
        return pictures.cpu()
    there = (codes >= 0).all(1) if model.grid.codebooks > 1 else codes >= 0
    cell = model.size // model.grid.height, model.size // model.grid.width
    shown = there.repeat_interleave(cell[0], 1).repeat_interleave(cell[1], 2)[:, None]
    return torch.where(shown, pictures, NOT_DRAWN).cpu()


class CodeFields:
    """The pixels that a code sees and reaches, by the receptive fields of encoder and decoder.

    Arguments:
        model: its codes have places.

    Errors: `UserError` for codes on one axis.
    """

    def __init__(self, model: Model) -> None:
        if model.grid.flat:
            raise UserError(
                "a tokenizer whose codes lie on one axis was given", "codes with places were expected"
            )
        parts, self.size = model.parts(), model.size
        self._encoder, self._decoder = (
            ReceptiveField(apart(parts[name].network), parts[name].shape) for name in ("encoder", "decoder")
        )

    def sees(self, row: int, column: int) -> Extent:
        """Pixels on which the code at a row and a column depends."""
        rows, columns = self._encoder.at(None, (row, column)).axes
        return Extent(rows.seen[0], columns.seen[0], rows.seen[-1], columns.seen[-1])

    def reaches(self, row: int, column: int) -> Extent:
        """Pixels that depend on the code at a row and a column."""
        rows, columns = self._decoder.touched((row, column))
        return Extent(rows[0], columns[0], rows[-1], columns[-1])


def _slot(model: Model, place: int) -> int:
    """Slot of the sequence that holds a place."""
    if not 0 <= place < model.grid.length:
        raise UserError(f"place {place} was given", f"0 to {model.grid.length - 1} was expected")
    return int((model.order.slots(model.grid) == place).nonzero())
