"""`caselli slim RUN -o RUN2 --quantise int8 | --prune 0.5 | --distil-to "mamba2, mamba2"`."""

from __future__ import annotations

from typing import Any

from caselli.cli.output import new_folder
from caselli.cli.stopping import stoppable
from caselli.run import SlimConfig


def command(
    run: str, source: str | None = None, *, out: str, resume: bool = False, config: SlimConfig
) -> None:
    """Makes a run smaller, as a run of its own, and prints both side by side.

    Arguments:
        source: pictures (where the run had them).
        out: folder of the new run.
    """
    new_folder(out)

    from caselli.run import slim

    with stoppable():
        folder = slim(run, out, config, source, resume=resume)
    _say(folder)


def _say(folder: Any) -> None:
    """Both runs' figures, and how the new one's compare."""
    from caselli.report import slim_table
    from caselli.run import RunFolder

    for cells in slim_table(RunFolder(folder).results().get("slim", {})):
        print(f"{cells[0]:<40} {cells[1]:>14} {cells[2]:>14} {cells[3]:>8}")
