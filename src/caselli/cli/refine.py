"""`caselli refine RUN`."""

from __future__ import annotations

from caselli.cli.further import Further


def command(run: str, *, further: Further) -> None:
    """Trains a run's decoder further, on codes that its prior draws, and writes RUN/report.html anew.

    What the decoder makes of drawn codes is compared with real pictures, as sets, by what a network of
    features sees in them. Codes, prior and likelihood stay as they are. It takes 400 steps. Interrupted, it
    goes on when it is called again.
    """
    further.train(run, "decoder")
