"""The network of features that judges a run: one that did not train it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from caselli.errors import UserError
from caselli.features import TEACHERS, EfficientNetLite

JUDGES = ("efficientnet-lite0", "efficientnet-lite2", "efficientnet-lite1")
"""Networks that judge, in the order of preference."""
SMALL = 64
"""Pictures of up to this many pixels a side are judged at `SMALL_SIDE`, which takes a fifth of the time."""
SMALL_SIDE = 128


def refuse_teacher(name: str, teachers: Collection[str]) -> None:
    """A `UserError` where the network trained what it is to judge.

    Example:
        >>> refuse_teacher("efficientnet-lite0", ["efficientnet-lite1"])
    """
    if name in teachers:
        others = [judge for judge in JUDGES if judge not in teachers]
        raise UserError(
            f"{name} was asked to judge a run that it trained: its figures would flatter the run",
            "a network that had no part in the training was expected",
            f"take --features {' or '.join(others)}",
        )


def judge(
    name: str, size: int, teachers: Collection[str] = (), file: str | Path | None = None
) -> EfficientNetLite:
    """An EfficientNet-Lite as a judge of pictures of one size.

    Arguments:
        name: one of `JUDGES`.
        size: height and width of the pictures, in pixels.
        teachers: networks that trained the run.
        file: local file of its weights; unless given, the one that the `eyes` extra brings.

    Errors: `UserError` for a network that trained the run; `MissingExtra` without weights.
    """
    refuse_teacher(name, teachers)
    return TEACHERS[name].load(file, SMALL_SIDE if size <= SMALL else None)


def installed_judge(teachers: Collection[str] = ()) -> str | None:
    """Name of the first judge that is installed and did not train the run; None where there is none."""
    fitting = (name for name in JUDGES if name not in teachers and TEACHERS[name].is_installed())
    return next(fitting, None)
