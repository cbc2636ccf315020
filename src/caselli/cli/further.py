"""A further stage of a finished run, for the commands that train one."""

from __future__ import annotations


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
