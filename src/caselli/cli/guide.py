"""`caselli guide RUN`."""

from __future__ import annotations

from caselli.cli.further import Further


def command(run: str, *, further: Further) -> None:
    """Trains a weaker prior that a run's prior is led away from, and writes RUN/report.html anew.

    Pictures of the run are drawn with it from then on; `--guidance 1` draws without it. Codes, prior and
    likelihood stay as they are. It takes a quarter of the prior's steps, 350 at most. Interrupted, it goes on
    when it is called again.
    """
    further.train(run, "guide")
