"""A further stage of a finished run, for the commands that train one."""

from __future__ import annotations

import dataclasses

from caselli.cli.stopping import stoppable


@dataclasses.dataclass(frozen=True)
class Further:
    """Budget of a further stage, and its pictures."""

    minutes: float | None = None
    """Wall-clock budget."""
    steps: int | None = None
    """Steps of the training (the stage's own)."""
    source: str | None = None
    """The run's pictures, where they have moved."""

    def train(self, run: str, stage: str) -> None:
        """Trains a stage that a finished run gets, by name; goes on with one that was interrupted."""
        from caselli.run import RunFolder, kind_of, train

        pictures = self.source or kind_of(run).config_in(RunFolder(run)).data.source
        with stoppable("the same command"):
            train(pictures, run, stage=stage, minutes=self.minutes, steps=self.steps, resume=True)
