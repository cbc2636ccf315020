"""An architecture from a configuration."""

from __future__ import annotations

import dataclasses

import caselli.tokenizer as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError, lookup
from caselli.tokenizer.base import Architecture
from caselli.tokenizer.config import TokenizerConfig


def build(config: TokenizerConfig) -> Architecture:
    """The architecture that a configuration names, with its options.

    Errors: `UserError` for an unknown name or option; it lists the known ones.

    Example:
        >>> build(TokenizerConfig(architecture="vqgan", architecture_options={"groups": 8})).groups
        8
    """
    kind = lookup(room.ARCHITECTURES, "architecture", config.architecture)
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in config.architecture_options if name not in known]
    if unknown:
        raise UserError(
            f"option {', '.join(unknown)} was given to architecture {config.architecture!r}",
            f"one of {', '.join(known)} was expected" if known else "it has no options",
        )
    return kind(**config.architecture_options)
