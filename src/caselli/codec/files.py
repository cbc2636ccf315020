"""The residual model in a run folder."""

from __future__ import annotations

from pathlib import Path

from caselli.codec.residual import ResidualConfig, ResidualModel
from caselli.errors import UserError
from caselli.weights import load_weights, read_config, read_description, save_weights


def save_residual(residual: ResidualModel, folder: Path, tokenizer: str) -> None:
    """`residual.safetensors` and `residual.json` in a run; `tokenizer` is the digest of its tokenizer."""
    save_weights(folder / "residual", residual, {"config": residual.config, "tokenizer": tokenizer})


def load_residual(folder: Path, tokenizer: str) -> ResidualModel | None:
    """The residual model of a run, or None where none was learnt.

    Errors: `UserError` for one of another tokenizer, or damaged files.
    """
    if not (folder / "residual.json").exists():
        return None
    described = read_description(folder / "residual")
    if described.get("tokenizer") != tokenizer:
        raise UserError(
            f"the residual model in {folder} was learnt with another tokenizer",
            "one of this run was expected",
            "learn it anew with `caselli residual RUN SOURCE --overwrite`",
        )
    residual = ResidualModel(read_config(ResidualConfig, described, folder / "residual"))
    load_weights(folder / "residual", residual)
    return residual
