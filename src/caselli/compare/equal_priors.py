"""A prior of any mixers that is as large as another, and the memory that sampling from it keeps."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from caselli.compare.sequence_model import described
from caselli.errors import UserError
from caselli.interop import Imported
from caselli.layer import count_parameters
from caselli.model import build_prior
from caselli.plain import options_of
from caselli.prior import Prior, PriorConfig


def prior_of(name: str, like: PriorConfig, shared: Imported, classes: int) -> PriorConfig:
    """A prior of other mixers, whose MLP is as wide as makes it as large as another.

    Arguments:
        name: mixers, as `described` reads them.
        like: the other, over the same codes.
        shared: tokenizer of both, and the size of its pictures.
        classes: number of labels.

    Errors: `UserError` for mixers that are larger by themselves.
    """
    columns = shared.tokenizer.report((shared.size, shared.size)).grid[-1]
    config = dataclasses.replace(like, **_mixers(name, columns))

    def parameters(config: PriorConfig) -> int:
        with torch.random.fork_rng(devices=[]):
            return count_parameters(build_prior(config, shared.tokenizer, shared.size, classes)[0])

    one, two = (parameters(dataclasses.replace(config, expansion=n / config.width)) for n in (1, 2))
    inner = 1 + round((parameters(like) - one) / (two - one))
    if inner < 1:
        raise UserError(
            f"{'+'.join(config.mixers())} was given",
            f"it has {one:,} parameters by itself: {parameters(like):,} were expected",
        )
    return dataclasses.replace(config, expansion=inner / config.width)


def _mixers(name: str, columns: int) -> dict[str, Any]:
    """Names and options of the mixers; one that looks at the columns of the codes is told how many."""
    options: dict[str, Any] = {}
    for kind, own in described(name):
        options |= {"columns": columns} if "columns" in options_of(kind) else {}
        options |= own
    return {"mixer": [part.split(":")[0] for part in name.split("+")], "mixer_options": options}


def kept_bytes(prior: Prior, length: int) -> int:
    """Bytes of the states of all layers after the codes of a picture."""
    total = 0
    with torch.no_grad():
        for block in prior.blocks:
            x = torch.zeros(1, length, block.mixer.width, **block.mixer.like())
            total += sum(tensor.nbytes for tensor in block.mixer(x)[1].tensors())
    return total
