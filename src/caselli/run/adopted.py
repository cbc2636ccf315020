"""A run that begins with a tokenizer trained elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from caselli.engine import machine
from caselli.errors import UserError
from caselli.model import save_tokenizer
from caselli.run.config import DataConfig
from caselli.run.folder import RunFolder
from caselli.run.two_stage_config import TwoStageConfig
from caselli.tokenizer import Tokenizer

STALE_FILES = (
    "prior.json",
    "prior.safetensors",
    "decoder.json",
    "decoder.safetensors",
    "results.json",
    "log.jsonl",
    "report.html",
)
"""Files of a run that depend on its tokenizer, removed when it is replaced."""
STALE_FOLDERS = ("codes", "checkpoints", "pictures")
"""Folders of a run that depend on its tokenizer, removed when it is replaced."""


def adopt(tokenizer: Tokenizer, size: int, out: str | Path) -> Path:
    """Writes a run folder that holds a tokenizer and has seen no pictures yet; returns it.

    `caselli train SOURCE -o RUN --stage prior --resume` then begins a prior over its codes.

    Arguments:
        tokenizer: with its weights.
        size: height and width of the pictures it is used at.
        out: the folder; new or empty, or a run whose tokenizer and all that came of it is replaced.

    Errors: `UserError` for a folder that holds something else.
    """
    folder = RunFolder(out)
    folder.refuse_foreign()
    for name in STALE_FILES:
        (folder.path / name).unlink(missing_ok=True)
    for name in STALE_FOLDERS:
        shutil.rmtree(folder.path / name, ignore_errors=True)
    data = DataConfig(source="", size=size, channels=tokenizer.config.channels)
    config = TwoStageConfig(recipe="adopted", data=data, tokenizer=tokenizer.config)
    save_tokenizer(tokenizer, folder.path, size)
    folder.write("two_stage", config, "", machine("float32"))
    return folder.path


def kept(folder: RunFolder, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes that a run which holds a tokenizer is begun with when it meets its pictures: those asked
    for, and what the tokenizer settles.

    Errors: `UserError` for a change of the tokenizer, or of the size and channels it was trained at.
    """
    own = folder.describe()["config"]
    settled = {f"data.{name}": own["data"][name] for name in ("size", "channels")}
    for name, value in changes.items():
        if name.startswith("tokenizer.") or settled.get(name, value) != value:
            raise UserError(
                f"{name} {value!r} was given to a run whose tokenizer was trained elsewhere",
                "its tokenizer, size and channels stay as they are",
                "leave it out",
            )
    return {**changes, **settled, "tokenizer": own["tokenizer"]}
