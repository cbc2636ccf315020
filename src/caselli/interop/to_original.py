"""An imported run as the files that it came from."""

from __future__ import annotations

from pathlib import Path

from caselli.interop.origin import write_back
from caselli.interop.target import Exportable, Target
from caselli.model import load


class ToOriginal(Target):
    """An imported run as the files that it came from, in the layout that they had."""

    name = "original"

    def write(self, run: Exportable, folder: Path) -> str:
        model = load(run.folder)
        networks = {"tokenizer": model.tokenizer, "prior": model.prior}
        return ", ".join(map(str, write_back(run.folder, networks, folder)))
