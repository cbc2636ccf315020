"""`caselli refine RUN`."""

from __future__ import annotations


def command(
    run: str,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    source: str | None = None,
) -> None:
    """Trains a run's decoder further, on codes that its prior draws, and writes RUN/report.html anew.

    What the decoder makes of drawn codes is compared with real pictures, as sets, by what a network of
    features sees in them. Codes, prior and likelihood stay as they are. Interrupted, it goes on when it is
    called again.

    Arguments:
        minutes: wall-clock budget.
        steps: steps of the training (400).
        source: the run's pictures, where they have moved.
    """
    from caselli.cli.further import trained_further

    trained_further(run, "decoder", minutes, steps, source)
