"""Weights with the plain data that rebuild them: `NAME.safetensors` and `NAME.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from caselli.errors import UserError
from caselli.files import atomic_write, write_text

FORMAT = 1
"""Version of the files; a later one is refused."""


def save_weights(stem: Path, module: nn.Module, described: dict[str, Any]) -> None:
    """Writes both files; the description last, so that where it is, the weights are."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    with atomic_write(stem.with_suffix(".safetensors")) as temporary:
        save_file(tensors, temporary)
    write_text(stem.with_suffix(".json"), json.dumps({"format": FORMAT, **described}, indent=2))


def read_description(stem: Path) -> dict[str, Any]:
    """The plain data, or a `UserError` for a file that is damaged or of a later version."""
    path = stem.with_suffix(".json")
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        version = described["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error})", "the file that training wrote was expected"
        ) from None
    if version != FORMAT:
        raise UserError(f"{path} has format {version}", f"format {FORMAT} was expected", "upgrade caselli")
    return described


def load_weights(stem: Path, module: nn.Module) -> None:
    """The weights into a module of the same configuration, in evaluation mode afterwards."""
    path = stem.with_suffix(".safetensors")
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be loaded ({reason})", "the weights of this run were expected"
        ) from None
    module.eval()
