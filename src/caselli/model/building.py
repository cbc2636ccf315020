"""A prior that fits a tokenizer: its order, its alphabet, and what it is told."""

from __future__ import annotations

from typing import Any

from caselli.errors import UserError, lookup
from caselli.order import ORDERS, Grid, Order
from caselli.prior import NO_CONDITION, Alphabet, Prior, PriorConfig, Vocabulary, build
from caselli.tokenizer import Tokenizer


def grid_of(tokenizer: Tokenizer, size: int) -> Grid:
    """The grid of codes of a square picture; where they lie on one axis, a single row."""
    shape, codebooks = tokenizer.code_shape((size, size)), max(1, len(tokenizer.quantizer.sizes))
    return Grid(1, *shape, codebooks, flat=True) if len(shape) == 1 else Grid(*shape, codebooks)


def condition_size(config: PriorConfig, size: int) -> int:
    """Side in pixels of the other picture that a prior is told of; 0 where there is none.

    Errors: `UserError` for a size that the factor does not divide.

    Example:
        >>> condition_size(PriorConfig(condition_picture="low_resolution"), 64)
        32
    """
    if config.condition_picture == "low_resolution":
        if size % config.condition_factor:
            raise UserError(
                f"condition_factor {config.condition_factor} was given for pictures of {size} pixels",
                "a divisor of the size was expected",
            )
        return size // config.condition_factor
    return size if config.condition_picture == "paired" else 0


def _picture(config: PriorConfig, tokenizer: Tokenizer, size: int) -> dict[str, Any]:
    """The alphabet's fields that tell of the other picture, or of the visible part."""
    if config.condition_picture == NO_CONDITION:
        return {}
    condition_size(config, size)  # raises where the factor does not divide
    grid = grid_of(tokenizer, size)
    if config.condition_picture == "visible_part" and grid.flat:
        raise UserError(
            "condition_picture visible_part was given for a tokenizer whose codes lie on one axis",
            "codes with places were expected",
        )
    slots = tuple(book for book in range(grid.codebooks) for _ in range(grid.positions))
    if grid.flat:
        return {"picture": slots}
    pool = config.condition_factor if config.condition_picture == "low_resolution" else 1
    return {"picture": slots, "picture_shape": (grid.height, grid.width), "picture_pool": pool}


def build_prior(
    config: PriorConfig, tokenizer: Tokenizer, size: int, classes: int, text: Vocabulary | None = None
) -> tuple[Prior, Order]:
    """A fresh prior over the codes of `tokenizer`, told labels, captions by `text`, and what else the
    configuration says; and its order."""
    if not tokenizer.quantizer.sizes:
        raise UserError(
            f"quantizer {tokenizer.config.quantizer!r} was given",
            "a prior needs discrete codes",
            "choose a quantizer with codebooks, or train with --stage tokenizer",
        )
    order: Order = lookup(ORDERS, "order", config.order)()
    grid = grid_of(tokenizer, size)
    limits = tokenizer.quantizer.code_limits(tokenizer.code_shape((size, size)))
    alphabet = Alphabet(
        tokenizer.quantizer.sizes,
        tuple(order.codebook(grid).tolist()),
        places=tuple(map(tuple, order.position(grid).tolist())),
        classes=classes,
        text=text,
        levels=tokenizer.quantizer.digits,
        limits=() if limits is None else tuple(order.flatten(limits[None], grid)[0].tolist()),
        **_picture(config, tokenizer, size),
    )
    return build(config, alphabet, tokenizer.quantizer), order
