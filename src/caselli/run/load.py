"""What a run folder loads into, whatever its recipe."""

from __future__ import annotations

from pathlib import Path

from caselli import model
from caselli.family import FamilyModel, load_family
from caselli.model import Model


def load(run: str | Path) -> Model | FamilyModel:
    """The model of a run folder: a tokenizer with its prior, or a one-stage family.

    No code of the folder's is run, only weights and plain data are read.

    Errors: `UserError` for a folder that is no trained run, and for damaged files.
    """
    if (Path(run) / "family.json").exists():
        return load_family(run)
    return model.load(run)
