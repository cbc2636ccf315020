"""A run sent to a hub of models, through huggingface_hub."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from pathlib import Path

from caselli.errors import MissingExtra, UserError
from caselli.interop.target import Exportable
from caselli.interop.to_hub import ToHub

SENT = ["*.safetensors", "*.json", "run.yaml", "README.md", "samples.png"]
"""Files that are sent, and fetched: weights as safetensors, plain data, the card and its picture."""


def push(
    run: Exportable,
    name: str,
    *,
    private: bool = False,
    token: str | None = None,
) -> str:
    """Sends a run to a repository of models, which is made if need be; returns the commit's address.

    Arguments:
        run: what is sent, with the licence and the pictures' source for the card.
        name: USER/NAME.
        private: makes a new repository visible to its owner alone.
        token: access token; None for the one that `hf auth login` keeps.

    Errors: `UserError` for a run or a name that does not fit and for a hub that refuses; `MissingExtra`
    without huggingface_hub.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra("push", "huggingface_hub", "hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "model"
        ToHub().write(dataclasses.replace(run, name=name), folder)
        try:
            api.create_repo(name, private=private, exist_ok=True)
            return api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=SENT).commit_url
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{name} cannot be sent ({reason})", "a hub that takes it was expected", "see `hf auth login`"
            ) from None
