"""Labels as a user names them, and the numbers that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caselli.errors import UnknownName, UserError
from caselli.shapes import Int, Tensor


def class_numbers(
    classes: Sequence[str], label: str | int | Sequence[str | int] | None, count: int
) -> Int[Tensor, "B"] | None:
    """Class numbers for `count` pictures; None where no label is asked for.

    Arguments:
        classes: the names, in order.
        label: a name or a number for all, or one for each picture.
        count: number of pictures.

    Errors: `UserError` for an unknown label (it names close ones), and for a wrong number of them.

    Example:
        >>> class_numbers(["cat", "dog"], ["dog", 0], 2)
        tensor([1, 0])
    """
    if label is None:
        return None
    given = [label] * count if isinstance(label, str | int) else list(label)
    if len(given) != count:
        raise UserError(f"{len(given)} labels were given for {count} pictures", "one for each was expected")
    return torch.tensor([_number(classes, one) for one in given])


def _number(classes: Sequence[str], label: str | int) -> int:
    if not classes:
        raise UserError(
            f"label {label!r} was asked for", "this model was trained without labels", "leave the label out"
        )
    if label in classes:
        return list(classes).index(label)
    if isinstance(label, int) and 0 <= label < len(classes):
        return label
    raise UnknownName("label", label, classes)
