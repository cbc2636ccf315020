"""A run that begins with a tokenizer trained elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from caselli.engine import machine
from caselli.model import save_tokenizer
from caselli.run.config import DataConfig, RunConfig
from caselli.run.folder import RunFolder
from caselli.tokenizer import Tokenizer

OF_TOKENIZER = ("prior.json", "prior.safetensors", "results.json", "log.jsonl", "report.html")
"""What is left of a run whose tokenizer is replaced, and no longer true."""
FOLDERS_OF_TOKENIZER = ("codes", "checkpoints", "pictures")
"""The same, folders."""


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
    for name in OF_TOKENIZER:
        (folder.path / name).unlink(missing_ok=True)
    for name in FOLDERS_OF_TOKENIZER:
        shutil.rmtree(folder.path / name, ignore_errors=True)
    data = DataConfig(source="", size=size, channels=tokenizer.config.channels)
    config = RunConfig(recipe="adopted", data=data, tokenizer=tokenizer.config)
    save_tokenizer(tokenizer, folder.path, size)
    folder.write(config, "", machine("float32"))
    return folder.path
