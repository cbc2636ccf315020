"""Commands that can be stopped and go on, alone or as one of several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from caselli.errors import UserError


@contextmanager
def stoppable(again: str = "the same command and --resume") -> Iterator[None]:
    """Says how to go on where a training within was stopped; lets go of the other processes at the end.

    Arguments:
        again: what to type to go on.

    Errors: `UserError` where another process has ended.
    """
    from caselli import ranks
    from caselli.engine import Interrupted

    try:
        yield
    except Interrupted as error:
        raise KeyboardInterrupt(f"{error}; go on with {again}") from None
    except RuntimeError as error:
        if not ranks.is_lost(error):
            raise
        raise UserError(
            "another process of this training has ended",
            "all of them were expected",
            f"go on with {again}",
        ) from None
    finally:
        ranks.stop()
