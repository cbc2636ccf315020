"""A run from a folder, or from a hub of models by its name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from caselli.errors import MissingExtra, UserError
from caselli.run.kinds import load
from caselli.trained import Trained

FETCHED = ["*.safetensors", "*.json", "run.yaml"]
"""Files that are fetched: weights as safetensors and plain data."""


def from_pretrained(name: str | Path, **options: Any) -> Trained:
    """The trained network of a run, out of a folder, or out of a repository of models.

    Arguments:
        name: a folder; else USER/NAME on the hub.
        options: of `huggingface_hub.snapshot_download`, such as revision, endpoint or token.

    Errors: `UserError` for a name that cannot be fetched or is no run; `MissingExtra` without
    huggingface_hub.

    Example:
        >>> from_pretrained("run").sample(16)  # doctest: +SKIP
    """
    if Path(name).is_dir():
        return load(name)
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra(f"{name}, which is no folder here,", "huggingface_hub", "hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(str(name), allow_patterns=FETCHED, **options)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name} cannot be fetched ({reason})", "a folder, or USER/NAME on the hub was expected"
        ) from None
    return load(folder)
