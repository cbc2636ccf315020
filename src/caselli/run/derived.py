"""Settings of a run that is made of another one: plain data, stored in the new run's folder."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC
from pathlib import Path
from typing import Any, ClassVar

from caselli.errors import UserError
from caselli.files import write_text
from caselli.plain import to_plain
from caselli.run.folder import RunFolder


@dataclasses.dataclass(frozen=True)
class DerivedConfig(ABC):
    """The way in which a run is made of another one."""

    file: ClassVar[str]
    """File of the new run's folder that says so."""

    def save(self, folder: Path, run: Path) -> None:
        """Writes what is done, and to which run."""
        write_text(folder / self.file, json.dumps(self._noted(run), indent=2))

    def expect_in(self, folder: Path, run: Path) -> None:
        """Errors: `UserError` where the folder was begun with something else."""
        try:
            before = json.loads((folder / self.file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / self.file} cannot be read ({error})") from None
        before = before if isinstance(before, dict) else {}
        for name, value in self._noted(run).items():
            if value != before.get(name):
                raise UserError(
                    f"{name} {value} was given to a run that was begun with {before.get(name)}",
                    "a resumed run keeps its configuration",
                    "leave it out, or choose another -o",
                )

    def has_begun(self, new: RunFolder, run: Path, resume: bool) -> bool:
        """True where the new run is there, and goes on with the same settings.

        Errors: `UserError` where its folder is the old run's, or holds another run, or nobody said to resume.
        """
        if new.path.resolve() == run.resolve():
            raise UserError(f"{new.path} was given as run and as -o", "a new folder was expected")
        if not new.holds_run():
            return False
        if not (new.path / self.file).exists() or not resume:
            raise UserError(
                f"{new.path} holds a run already",
                "a new folder was expected",
                "choose another -o, or --resume",
            )
        self.expect_in(new.path, run)
        return True

    def _noted(self, run: Path) -> dict[str, Any]:
        return {**to_plain(self), "run": str(run.resolve())}
