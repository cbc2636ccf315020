"""Drawing sequences from a prior: one function for every kind and every mixer."""

from __future__ import annotations

from collections.abc import Callable

import torch

from caselli.errors import UserError
from caselli.prior.base import Prior
from caselli.prior.conditions import Conditions
from caselli.prior.drawing import AS_LEARNED, Drawing, Sampling, noise
from caselli.prior.random_order import RandomOrder
from caselli.sampling.base import Eager, Engine
from caselli.sampling.compile import Unavailable
from caselli.sampling.fused import Fused
from caselli.sampling.graph import Captured
from caselli.sampling.packed import Packed
from caselli.sampling.rounding import own_precision, rounded
from caselli.sampling.straight import InSequence
from caselli.shapes import Int, Tensor


def best_engine(prior: Prior, precision: str | None = None) -> tuple[Engine, str]:
    """The fastest engine that serves a prior on this machine, and why it is not the fused one (else empty).

    Arguments:
        prior: the distribution, in evaluation mode. An engine keeps the weights as they are now.
        precision: of the linear layers' weights, see `caselli.sampling.rounding.PRECISIONS`; None for that in
            which they are stored.
    """
    precision, why = precision or own_precision(prior), ""
    if isinstance(prior, RandomOrder):
        engine, why = best_engine(prior.in_sequence(), precision)
        return InSequence(rounded(prior, precision), engine), why
    for engine in (Fused, Packed, Captured):
        try:
            return engine(prior, precision), why
        except Unavailable as reason:
            why = why or str(reason)
    return Eager(rounded(prior, precision)), why


@torch.no_grad()
def sample(
    prior: Prior | Engine,
    condition: Conditions | Int[Tensor, "B"] | None,
    seeds: list[int],
    options: Sampling = AS_LEARNED,
    progress: Callable[[int], None] = lambda codes: None,
    known: Int[Tensor, "B T"] | None = None,
) -> Int[Tensor, "B T"]:
    """A sequence for each seed.

    Arguments:
        prior: the distribution, in evaluation mode, or an engine that has one.
        condition: what is known of each sample; a label for each is short for labels alone, None for none.
        seeds: one a sample; the same seed, conditions and options give the same sequence in any batch.
        options: guidance, temperature and truncation.
        progress: told the number of codes drawn since it was last told.
        known: codes that are kept, −1 where one is to be drawn, in each row as it likes. Those in front are
            taken in at once. One behind unknown ones is kept too, but what is drawn before it does not see
            it: the exact conditional distribution has the known codes first. A masked and a random-order
            prior see all of them from the start.

    Errors: `UserError` for guidance without a condition.
    """
    engine = prior if isinstance(prior, Engine) else Eager(prior)
    alphabet, device = engine.prior.alphabet, engine.prior.offset.device
    strengths, told = options.strengths(engine.prior.rounds(options)), Conditions.of(condition).to(device)
    if told.is_empty() and any(strength != 1 for strength in strengths):
        raise UserError(
            f"guidance {options.guidance} was given without a label or another condition",
            "guidance strengthens a condition",
            "give one, or leave guidance at 1",
        )
    codes = torch.full((len(seeds), alphabet.length), -1) if known is None else known.clone()
    codes = codes.to(device)
    first = int((codes >= 0).cumprod(1).sum(1).min())
    if first < alphabet.length:
        uniform = noise(seeds, alphabet.length).to(device)
        engine.draw(Drawing(codes, first, told, uniform, seeds, strengths, options, progress))
    return codes
