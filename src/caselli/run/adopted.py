"""A run that begins with a tokenizer, and perhaps a prior, trained elsewhere."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from caselli.engine import machine
from caselli.errors import UserError
from caselli.interop import Imported
from caselli.model import GUIDES, save_prior, save_tokenizer
from caselli.run.config import DataConfig
from caselli.run.folder import RunFolder
from caselli.run.two_stage_config import TwoStageConfig

STALE_FILES = (
    *(f"{stem}.json" for stem in ("prior", *GUIDES, "decoder", "imported")),
    *(f"{stem}.safetensors" for stem in ("prior", *GUIDES, "decoder", "imported")),
    "results.json",
    "log.jsonl",
    "report.html",
)
"""Files of a run that depend on its tokenizer, removed when it is replaced."""
STALE_FOLDERS = ("codes", "checkpoints", "pictures")
"""Folders of a run that depend on its tokenizer, removed when it is replaced."""


def adopt(imported: Imported, out: str | Path) -> Path:
    """Writes a run folder that holds networks trained elsewhere and has seen no pictures yet; returns it.

    `caselli train SOURCE -o RUN --stage prior --resume` then begins a prior over the tokenizer's codes, where
    it has none.

    Arguments:
        imported: the networks, and the way back to their files.
        out: the folder; new or empty, or a run whose networks and all that came of them are replaced.

    Errors: `UserError` for a folder that holds something else.
    """
    folder, tokenizer, prior = RunFolder(out), imported.tokenizer, imported.prior
    folder.refuse_foreign()
    for name in STALE_FILES:
        (folder.path / name).unlink(missing_ok=True)
    for name in STALE_FOLDERS:
        shutil.rmtree(folder.path / name, ignore_errors=True)
    data = DataConfig(source="", size=imported.size, channels=tokenizer.config.channels)
    config = TwoStageConfig(recipe="adopted", data=data, tokenizer=tokenizer.config)
    save_tokenizer(tokenizer, folder.path, imported.size)
    if prior is not None:
        config = dataclasses.replace(config, prior=prior.config)
        save_prior(prior, folder.path, tokenizer.fingerprint(), imported.classes)
    imported.save(folder.path)
    folder.write("two_stage", config, "", machine("float32"))
    return folder.path


def kept(folder: RunFolder, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes that a run which holds a tokenizer is begun with when it meets its pictures: those asked
    for, and what the tokenizer settles.

    Errors: `UserError` for a change of the tokenizer, or of the size and channels it was trained at; and for
    a prior trained elsewhere that would be lost.
    """
    if (folder.path / "prior.json").exists():
        raise UserError(
            f"{folder.path} has a prior that was trained elsewhere",
            "a run without one was expected: training begins a new prior",
            "import the tokenizer alone into another run, or fine-tune this one with `caselli tune`",
        )
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
