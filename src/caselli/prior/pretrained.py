"""Text encoders of the `transformers` library, from a local folder, frozen."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from caselli.errors import MissingExtra, UserError
from caselli.files import expect_memory
from caselli.mixer.dense import Dense
from caselli.shapes import Float, Int, Tensor


@functools.lru_cache(maxsize=2)
def load_tokenizer(path: str) -> Callable[[str, int], list[int]]:
    """The folder's tokenizer: a function of a caption and the largest number of tokens, which gives tokens.

    Errors: `UserError` for a folder without one; `MissingExtra` without `transformers`.
    """
    library = _transformers(path)
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise _unusable(path, "tokenizer", error) from None
    return lambda caption, most: tokenizer(caption, truncation=True, max_length=most)["input_ids"]


def weights_digest(path: str) -> str:
    """16 hex digits that change with the encoder's weights.

    Errors: `UserError` for a folder without weights in safetensors.
    """
    files = sorted(Path(path).glob("model*.safetensors"))
    if not files:
        raise _no_encoder(path)
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as weights:
            hashlib.file_digest(weights, lambda: digest)
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=2)
def load_encoder(path: str, digest: str) -> FrozenEncoder:
    """The folder's text encoder, whose weights must have this digest.

    Errors: `UserError` for a folder without one in safetensors, or with another; `MissingExtra` without
    `transformers`.
    """
    library = _transformers(path)
    if weights_digest(path) != digest:
        raise UserError(
            f"{path} holds another text encoder than the prior was trained with",
            f"weights of digest {digest} were expected",
            "restore them, or train the prior anew",
        )
    expect_memory(sum(file.stat().st_size for file in Path(path).glob("model*.safetensors")))
    try:
        model = library.AutoModelForTextEncoding.from_pretrained(
            path, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise _unusable(path, "text encoder in safetensors", error) from None
    return FrozenEncoder(model)


def _transformers(path: str) -> Any:
    if not (Path(path) / "config.json").is_file():
        raise _no_encoder(path)
    try:
        import transformers
    except ImportError:
        raise MissingExtra("a pretrained text encoder", "transformers", "text") from None
    return transformers


def _no_encoder(path: str) -> UserError:
    return UserError(
        f"{path!r} was given as a text encoder",
        "a local folder with config.json, model.safetensors and a tokenizer was expected",
        "give one with --prior.text_path",
    )


def _unusable(path: str, what: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0]
    return UserError(f"{path} holds no {what} that transformers can read ({reason})")


class FrozenEncoder:
    """A pretrained network beside the model that uses it: neither trained, nor copied, nor saved with it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict) -> FrozenEncoder:
        return self

    @property
    def width(self) -> int:
        """Width of the features."""
        return self.model.config.hidden_size

    @torch.no_grad()
    def __call__(self, tokens: Int[Tensor, "B L"], mask: Int[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """Features of the last layer, on the tokens' device."""
        if next(self.model.parameters()).device != tokens.device:
            self.model.to(tokens.device)
        return self.model(input_ids=tokens, attention_mask=mask).last_hidden_state


class Features(nn.Module):
    """A frozen encoder's features, projected to a width; only the projection is trained."""

    def __init__(self, encoder: FrozenEncoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm, self.project = nn.LayerNorm(encoder.width), Dense(encoder.width, width)

    def forward(self, text: Int[Tensor, "B L"]) -> Float[Tensor, "B L E"]:
        mask = (text > 0).long()
        mask[:, 0] = 1  # a row without a token would be a softmax of nothing
        features = self.encoder((text - 1).clamp_min(0), mask)
        return self.project(self.norm(features.to(self.project.weight.dtype)))
