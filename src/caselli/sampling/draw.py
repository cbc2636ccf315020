"""Drawing sequences from a prior: one function for every kind and every mixer."""

from __future__ import annotations

from collections.abc import Callable

import torch

from caselli.errors import UserError
from caselli.prior import PRIORS, Conditions, Prior
from caselli.sampling.base import Engine
from caselli.sampling.choice import uniform_noise
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.eager import EagerEngine
from caselli.sampling.options import AS_LEARNED, Sampling
from caselli.shapes import Int, Tensor


@torch.no_grad()
def sample(
    prior: Prior | Engine,
    condition: Conditions | Int[Tensor, "B"] | None,
    seeds: list[int],
    options: Sampling = AS_LEARNED,
    progress: Callable[[int], None] = lambda codes: None,
    known: Int[Tensor, "B T"] | None = None,
    watch: Callable[[Int[Tensor, "B T"]], None] = lambda codes: None,
) -> Int[Tensor, "B T"]:
    """A sequence for each seed.

    Arguments:
        prior: the distribution, in evaluation mode, or an engine that has one.
        condition: of each sample; a label for each is short for labels alone, None for none.
        seeds: one a sample; the same seed, conditions and options give the same sequence in any batch.
        options: guidance, temperature and truncation.
        progress: receives the number of codes drawn since its last call, less those taken back.
        known: codes that are kept, −1 where one is to be drawn; rows may differ. Those in front go through
            the layers at once. One behind unknown ones is kept too, but codes drawn before it do not see it:
            the exact conditional distribution has the known codes first. A prior of any order sees all of
            them from the start.
        watch: receives all codes whenever some have been drawn, −1 where one is still to come; what it raises
            ends the drawing.

    Errors: `UserError` for guidance without a condition, and for options that the kind of prior does not
    follow.
    """
    engine = prior if isinstance(prior, Engine) else EagerEngine(prior)
    alphabet, device = engine.prior.alphabet, engine.prior.offset.device
    _check_options(engine.prior, options)
    conditions = Conditions.of(condition).to(device)
    lacks = engine.needs_condition and conditions.is_empty()
    strengths = options.strengths(engine.prior.rounds(options.steps), None if lacks else engine.guiding)
    if lacks and any(strength != 1 for strength in strengths):
        raise UserError(
            f"guidance {options.guidance} was given without a label or another condition",
            "guidance strengthens a condition",
            "give one, or leave guidance at 1",
        )
    codes = torch.full((len(seeds), alphabet.length), -1) if known is None else known.clone()
    codes = codes.to(device)
    first = int((codes >= 0).cumprod(1).sum(1).min())
    if first < alphabet.length:
        parts = engine.prior.code_head.parts
        uniform = uniform_noise(seeds, alphabet.length * parts).to(device)
        uniform = uniform if parts == 1 else uniform.unflatten(1, (-1, parts))

        def tell(drawn: int) -> None:
            progress(drawn)
            watch(codes)

        engine.draw(SeededDrawing(codes, first, conditions, uniform, seeds, strengths, options, tell))
    return codes


def _check_options(prior: Prior, options: Sampling) -> None:
    """Errors: `UserError` for a changed option that other kinds of prior follow, and this one does not; or
    that has no meaning for the prior's head."""
    for name in prior.code_head.refuses:
        if name in options.changed():
            raise UserError(
                f"{name.replace('_', '-')} was given to a prior with the head {prior.config.head!r}",
                "it draws a code in parts, and does not know the probabilities of whole codes",
                "use temperature or top-p, which act on each part",
            )
    for name, value in options.changed().items():
        fitting = [kind.replace("_", "-") for kind, known in PRIORS.items() if name in known.sampling_options]
        if fitting and name not in prior.sampling_options:
            raise UserError(
                f"{name.replace('_', '-')} {value} was given to a prior of kind {prior.kind!r}",
                f"a {' or '.join(fitting)} prior was expected",
                "leave it out",
            )
