"""`caselli guide RUN`."""

from __future__ import annotations


def command(
    run: str,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    source: str | None = None,
) -> None:
    """Trains a weaker prior that a run's prior is led away from, and writes RUN/report.html anew.

    Pictures of the run are drawn with it from then on; `--guidance 1` draws without it. Codes, prior and
    likelihood stay as they are. Interrupted, it goes on when it is called again.

    Arguments:
        minutes: wall-clock budget.
        steps: steps of the training (350); a quarter of the prior's, or fewer.
        source: the run's pictures, where they have moved.
    """
    from caselli.cli.further import trained_further

    trained_further(run, "guide", minutes, steps, source)
