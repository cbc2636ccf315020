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
    trained_further(run, "decoder", minutes, steps, source)


def trained_further(
    run: str, stage: str, minutes: float | None, steps: int | None, source: str | None
) -> None:
    """A stage that a finished run gets, by name; over the run's own pictures unless a source is given."""
    from caselli import ranks
    from caselli.engine import Interrupted
    from caselli.run import RunFolder, kind_of, train

    before = kind_of(run).config_in(RunFolder(run))
    pictures = before.data.source if source is None else source
    try:
        train(pictures, run, stage=stage, minutes=minutes, steps=steps, resume=True)
    except Interrupted as error:
        raise KeyboardInterrupt(f"{error}; go on with the same command") from None
    finally:
        ranks.stop()
