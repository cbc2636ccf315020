"""The run folder: what it holds, and that nothing in it is lost."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from caselli.engine import Checkpoints, Machine
from caselli.errors import UserError
from caselli.files import regular, write_text
from caselli.plain import flatten, override, to_plain
from caselli.run.config import RunConfig
from caselli.version import __version__

SLIMMED = "slim.json"
"""File in the folder of a run that was made smaller: how that was done."""
MAY_CHANGE = ("training.", "data.source", "data.workers", "reading.", "track")
"""Fields that a resumed run may be given anew: its budget, where its pictures lie, and what does not change
the result."""


class RunFolder:
    """`run.yaml`, `results.json` and the names of everything else in a run.

    Arguments:
        path: the folder; made when it is first written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def holds_run(self) -> bool:
        """True where a run was begun here."""
        return (self.path / "run.yaml").exists()

    def awaits_pictures(self) -> bool:
        """True where the run holds a tokenizer trained elsewhere, and its pictures are yet to be chosen."""
        return self.holds_run() and self.describe().get("data_fingerprint") == ""

    def refuse_foreign(self, first: str = "") -> None:
        """Raises `UserError` when the folder holds something that is no run of ours.

        Arguments:
            first: file that is written before `run.yaml`; alone it is what a command left that was cut short.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file", "a folder for the run was expected")
        if (
            self.path.exists()
            and not self.holds_run()
            and any(_counts(path) and path.name != first for path in self.path.iterdir())
        ):
            raise UserError(
                f"{self.path} holds other files", "a new or empty folder was expected", "choose another -o"
            )

    def describe(self) -> dict[str, Any]:
        """The contents of `run.yaml`."""
        try:
            described = yaml.safe_load(regular(self.path / "run.yaml").read_text(encoding="utf-8"))
            if not isinstance(described["config"], dict):
                raise TypeError("no configuration")
        except (OSError, ValueError, RecursionError, yaml.YAMLError, KeyError, TypeError) as error:
            raise UserError(f"{self.path / 'run.yaml'} cannot be read ({error})") from None
        return described

    def reached(self, stage: str) -> tuple[int, float] | None:
        """Steps and seconds of a stage's newest checkpoint; None where there is none to go on from, as in a
        run that was made smaller, whose networks have another form."""
        if (self.path / SLIMMED).exists():
            return None
        return Checkpoints(self.path / "checkpoints" / stage).reached()

    def early(self, stage: str) -> dict[str, Any] | None:
        """The state of a stage that was kept early in its training; None where none was."""
        return Checkpoints(self.path / "checkpoints" / stage).load_early()

    def write(self, kind: str, config: RunConfig, data: str, machine: Machine) -> None:
        """Writes `run.yaml`.

        Arguments:
            kind: name of the kind of run.
            config: the whole configuration.
            data: fingerprint of the data; empty where they are yet to be chosen.
            machine: where the run computes.
        """
        described = {
            "kind": kind,
            "caselli": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "data_fingerprint": data,
            "machine": to_plain(machine),
            "config": to_plain(config),
        }
        write_text(self.path / "run.yaml", yaml.safe_dump(described, sort_keys=False, allow_unicode=True))

    def results(self) -> dict[str, Any]:
        """The figures measured so far."""
        path = self.path / "results.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def drop_results(self, *names: str) -> None:
        """Takes sections out of `results.json`."""
        results = {name: section for name, section in self.results().items() if name not in names}
        write_text(self.path / "results.json", json.dumps(results, indent=2))

    def add_results(self, **sections: dict[str, Any]) -> None:
        """Adds sections of figures to `results.json`."""
        results = {**self.results(), **sections}
        write_text(self.path / "results.json", json.dumps(results, indent=2))


def _counts(path: Path) -> bool:
    """True for what makes a folder taken: not what the system, or the studio, keeps out of sight."""
    return not path.name.startswith(".")


def resumed_config(old: Any, changes: Mapping[str, Any]) -> Any:
    """A run's own configuration with a new budget.

    Errors: `UserError` when `changes` would make it another run.
    """
    new = override(old, changes)
    for name, value in changes_between(old, new).items():
        if not name.startswith(MAY_CHANGE):
            raise UserError(
                f"{name} {value!r} was given to a run that was begun with {flatten(old)[name]!r}",
                "a resumed run keeps its configuration",
                "leave it out, or choose another -o",
            )
    return new


def changes_between(old: Any, new: Any) -> dict[str, Any]:
    """The fields of one configuration, by dotted name, that another of its kind has otherwise."""
    before = flatten(old)
    return {name: value for name, value in flatten(new).items() if before[name] != value}
