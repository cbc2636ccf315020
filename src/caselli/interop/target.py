"""The contract of a form in which a run leaves for other tools."""

from __future__ import annotations

import dataclasses
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from caselli.errors import MissingExtra
from caselli.figures import Figure


@dataclasses.dataclass(frozen=True)
class Exportable:
    """A run that is to be written in another form."""

    folder: Path
    """The run's folder."""
    figures: Mapping[str, Figure]
    """The figures of such runs, by name."""
    name: str = ""
    """Name of the model on its card: USER/NAME, or that of the folder that is written."""
    licence: str = ""
    """Licence of the run and its pictures, for a model card; empty where none was said."""
    pictures: str = ""
    """Where the pictures came from, for a model card; empty where nobody said."""


class Target(ABC):
    """A form that a run can be written in.

    A target is final and has its line in `caselli.interop.TARGETS`.
    """

    name: ClassVar[str]
    """Name in the table."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages needed beside torch."""
    extra: ClassVar[str] = "export"
    """The extra of Caselli that installs them."""

    def require(self) -> None:
        """Raises `MissingExtra` for the first library that is not installed."""
        for library in self.libraries:
            if importlib.util.find_spec(library) is None:
                raise MissingExtra(f"export to {self.name}", library, self.extra)

    @abstractmethod
    def write(self, run: Exportable, folder: Path) -> str:
        """Writes the files into a folder, which is made; returns in words what they are.

        Errors: `UserError` for a run that has no such form.
        """
