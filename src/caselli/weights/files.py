"""Weights with the plain data that rebuild them: `NAME.safetensors` and `NAME.json`.

A module that was made smaller is stored as small as it is; its `Compression` says how.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from caselli.errors import UserError, is_out_of_memory
from caselli.files import read_tensors, regular, write_tensors, write_text
from caselli.plain import of_plain, to_plain
from caselli.weights.compression import UNCOMPRESSED, Compression, narrow, pack_all, unpack_all
from caselli.weights.integer import multiply_integers

C = TypeVar("C")

FORMATS = (1, 2)
"""Versions of the files, without and with a compression; a later one is refused."""


def save_weights(
    stem: Path, module: nn.Module, described: dict[str, Any], compression: Compression = UNCOMPRESSED
) -> None:
    """Writes both files; the description last, so that where it is, the weights are.

    Arguments:
        stem: folder and name of the files.
        module: whose weights are stored.
        described: records and plain data that rebuild the module, such as its configuration.
        compression: how the module differs from what its configuration builds.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    write_tensors(stem.with_suffix(".safetensors"), pack_all(tensors, compression))
    plain = compression.plain()
    described = {"format": FORMATS[bool(plain)], **to_plain(described)} | (
        {"compression": plain} if plain else {}
    )
    write_text(stem.with_suffix(".json"), json.dumps(described, indent=2))


def read_description(stem: Path) -> dict[str, Any]:
    """The description of a module's weights.

    Errors: `UserError` for a file that is damaged or of a later version.
    """
    path = stem.with_suffix(".json")
    try:
        described = json.loads(regular(path).read_text(encoding="utf-8"))
        version = described["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error})", "the file that training wrote was expected"
        ) from None
    if version not in FORMATS:
        known = " or ".join(map(str, FORMATS))
        raise UserError(f"{path} has format {version}", f"format {known} was expected", "upgrade caselli")
    return described


def read_config(kind: type[C], described: dict[str, Any], stem: Path) -> C:
    """The configuration in a description, which `save_weights` got as `config`.

    Errors: `UserError` that names the file and the field, where this version knows no such configuration.
    """
    try:
        return of_plain(kind, described.get("config"), "config")
    except UserError as error:
        raise UserError(
            f"{stem.with_suffix('.json')} cannot be read ({error})", remedy="upgrade caselli"
        ) from None


def read_compression(stem: Path) -> Compression:
    """Compression of the module in a file.

    Errors: `UserError` for a file that is damaged or of a later version.
    """
    return of_plain(Compression, read_description(stem).get("compression", {}), "compression")


def load_weights(stem: Path, module: nn.Module) -> Compression:
    """Loads weights into a module of the same configuration; returns how it was made smaller.

    The module becomes as narrow as the description says, and is in evaluation mode afterwards.

    Errors: `UserError` for files that are damaged or of another module.
    """
    path = stem.with_suffix(".safetensors")
    try:
        compression = read_compression(stem)
        narrow(module, compression)
        shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
        module.load_state_dict(
            unpack_all(read_tensors(path, "the weights of this run were expected")[0], compression, shapes)
        )
    except _DAMAGED as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be loaded ({reason})", "the weights of this run were expected"
        ) from None
    multiply_integers(module, compression.integers())
    module.eval()
    return compression


_DAMAGED = (OSError, RuntimeError, AttributeError, KeyError, TypeError, ValueError, IndexError)
"""Errors of a reader whose files are damaged or do not fit each other."""
