"""A quantizer from its name, its width and a dictionary of options: for wrappers and configurations."""

from __future__ import annotations

from collections.abc import Mapping

import caselli.quantizer as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError, lookup
from caselli.plain import options_of
from caselli.quantizer.base import Quantizer


def build(name: str, width: int, options: Mapping[str, object] | None = None) -> Quantizer:
    """Builds an entry of `QUANTIZERS`.

    Arguments:
        name: in the table.
        width: D, the latents' width.
        options: the method's own arguments.

    Raises:
        UserError: for an unknown name or option; it lists the known ones.

    Example:
        >>> build("vq", 64, {"codebook_size": 512}).sizes
        (512,)
    """
    method, options = lookup(room.QUANTIZERS, "quantizer", name), dict(options or {})
    known = options_of(method)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise UserError(
            f"option {', '.join(unknown)} was given to quantizer {name!r}",
            f"one of {', '.join(known)} was expected",
        )
    return method(width, **options)
