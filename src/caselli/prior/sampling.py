"""Drawing sequences from a prior: one function for every mixer, the state is the cache."""

from __future__ import annotations

from collections.abc import Callable

import torch

from caselli.errors import UserError
from caselli.prior.autoregressive import Autoregressive
from caselli.prior.drawing import AS_LEARNED, Sampling, noise
from caselli.prior.engine import Drawing, Eager, Engine
from caselli.prior.fused import Fused
from caselli.prior.native import Unavailable
from caselli.prior.packed import Packed
from caselli.prior.rounding import rounded
from caselli.shapes import Int, Tensor


def best_engine(prior: Autoregressive, precision: str = "float32") -> tuple[Engine, str]:
    """The fastest engine that serves a prior on this machine, and why it is not the fused one (else empty).

    Arguments:
        prior: the distribution, in evaluation mode. An engine keeps the weights as they are now.
        precision: of the linear layers' weights, see `caselli.prior.rounding.PRECISIONS`.
    """
    why = ""
    for engine in (Fused, Packed):
        try:
            return engine(prior, precision), why
        except Unavailable as reason:
            why = why or str(reason)
    return Eager(rounded(prior, precision)), why


@torch.no_grad()
def sample(
    prior: Autoregressive | Engine,
    condition: Int[Tensor, "B"] | None,
    seeds: list[int],
    options: Sampling = AS_LEARNED,
    progress: Callable[[int], None] = lambda codes: None,
    known: Int[Tensor, "B T"] | None = None,
) -> Int[Tensor, "B T"]:
    """A sequence for each seed.

    Arguments:
        prior: the distribution, in evaluation mode, or an engine that has one.
        condition: a label for each sample, or None for the null label.
        seeds: one a sample; the same seed, label and options give the same sequence in any batch.
        options: guidance, temperature and truncation.
        progress: told the number of codes drawn since it was last told.
        known: codes that are kept, −1 where one is to be drawn, in each row as it likes. Those in front are
            taken in at once. One behind unknown ones is kept too, but what is drawn before it does not see
            it: the exact conditional distribution has the known codes first.

    Errors: `UserError` for guidance without a condition.
    """
    engine = prior if isinstance(prior, Engine) else Eager(prior)
    alphabet, device = engine.prior.alphabet, engine.prior.offset.device
    strengths = options.strengths(alphabet.length)
    guides = any(strength != 1 for strength in strengths)
    if guides and condition is None:
        raise UserError(
            f"guidance {options.guidance} was given without a label",
            "guidance strengthens a label",
            "give a label, or leave guidance at 1",
        )
    codes = torch.full((len(seeds), alphabet.length), -1) if known is None else known.clone()
    codes = codes.to(device)
    first = int((codes >= 0).cumprod(1).sum(1).min())
    if first < alphabet.length:
        null = torch.full((len(seeds),), alphabet.classes, device=device)
        labels = null if condition is None else condition.to(device)
        labels = torch.cat((labels, null)) if guides else labels
        uniform = noise(seeds, alphabet.length).to(device)
        engine.draw(Drawing(codes, first, labels, uniform, strengths, options, progress))
    return codes
