"""`caselli tune RUN SOURCE -o RUN2`."""

from __future__ import annotations

from caselli.cli.stopping import stoppable
from caselli.run import TuneConfig


def command(run: str, source: str, *, out: str, resume: bool = False, config: TuneConfig) -> None:
    """Fine-tunes a run on new pictures, as a run of its own, and says what it gained and forgot.

    Arguments:
        source: the new pictures: ten to a few thousand.
        out: folder of the new run.
    """
    from caselli.figures import known
    from caselli.run import kind_of, tune, tuned_figures

    with stoppable():
        folder = tune(run, source, out, config, resume=resume)
    for name, value in tuned_figures(folder).items():
        label, number, unit = known(kind_of(folder).figures(), name).show(value)
        print(f"{label:<48} {number:>12} {unit}")
