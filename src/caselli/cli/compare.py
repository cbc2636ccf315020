"""`caselli compare NAME ...`: methods side by side, a table, a plot, pictures and a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from caselli.cli.stopping import stoppable
from caselli.errors import UserError, lookup


def run(arguments: list[str]) -> None:
    """Lists the comparisons, or runs one: its options are the fields of its settings."""
    from caselli.cli.command import call
    from caselli.compare import COMPARISONS

    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(COMPARISONS))
        return
    name, *words = arguments
    kind = lookup(COMPARISONS, "comparison", name)
    for word in words:
        if word.partition("=")[0] in kind.gone:
            raise UserError(f"{word} was given", kind.gone[word.partition("=")[0]])

    def command(
        settings: Any, *, out: Path | None = None, resume: bool = False, overwrite: bool = False
    ) -> None:
        _compare(kind(settings), out, resume, overwrite)

    command.__annotations__ = {**command.__annotations__, "settings": kind.Settings}
    command.__doc__ = (
        f"{kind.__doc__}\n\nArgs:\n    out: a folder for table, figures, plot, pictures and page"
    )
    call(f"compare {name}", command, words)


def _compare(comparison: Any, out: Path | None, resume: bool, overwrite: bool) -> None:
    from caselli.compare import compare, text

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    with stoppable():
        rows = compare(comparison, out, resume=resume, overwrite=overwrite, say=say)
    print(text(comparison, rows), end="")


def _help(comparisons: dict[str, Any]) -> str:
    width = max(map(len, comparisons))
    lines = [f"  {name:<{width}}  {kind.words()}" for name, kind in comparisons.items()]
    return "\n".join(["usage: caselli compare NAME ...", "", *lines])
