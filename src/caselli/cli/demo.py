"""`caselli demo`."""

from __future__ import annotations

import shlex
import sys

from caselli.cli.train import command as train

SOURCE, RECIPE = "glyphs", "tiny"


def command(*, out: str = "demo", minutes: float = 4.5) -> None:
    """Trains a tokenizer and a prior on letters and digits that come with the package, and writes
    OUT/report.html; goes on with a demo that was stopped.

    It is `caselli train glyphs -o demo --recipe tiny --minutes 4.5 --resume`, no more.

    Arguments:
        out: the run folder.
        minutes: wall-clock budget of the training.
    """
    words = f"caselli train {SOURCE} -o {shlex.quote(out)} --recipe {RECIPE} --minutes {minutes:g} --resume"
    print(words, file=sys.stderr)
    train(SOURCE, out=out, recipe=RECIPE, minutes=minutes, resume=True)
