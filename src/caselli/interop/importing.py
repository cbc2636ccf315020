"""A checkpoint of others as a tokenizer of ours: families by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import caselli.interop as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError, lookup
from caselli.interop.layout import Hints
from caselli.tokenizer import Tokenizer
from caselli.weights import Weights, read_foreign, settings_beside

SIGNS = {
    "taming": "encoder.down.0.block.0.conv1.weight",
    "llamagen": "encoder.conv_blocks.0.res.0.conv1.weight",
    "diffusers": "encoder.down_blocks.0.resnets.0.conv1.weight",
    "dalle": "blocks.group_1.block_1.res_path.conv_1.w",
}
"""Name of a weight that each family has and no other."""
ARITHMETIC: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "norm_type": ("group", None),
    "lookup_from_codebook": (False,),
}
"""Settings of a diffusers config.json that change what the same weights compute → values followed."""
SIZE = 256
"""Height and width in pixels that a tokenizer is used at, where its files do not say."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A tokenizer made from a checkpoint."""

    tokenizer: Tokenizer
    """In evaluation mode, float32."""
    size: int
    """Height and width of the pictures that it is used at."""


def import_tokenizer(
    paths: Sequence[str | Path], family: str, size: int | None = None, groups: int | None = None
) -> Imported:
    """Reads a checkpoint of others; no code in it is run.

    Arguments:
        paths: the file; encoder and decoder where the family has two; a folder of diffusers.
        family: name in `IMPORTERS`.
        size: height and width of the pictures it is used at; by default the config.json's beside the file, or
            256.
        groups: groups of the normalisations; by default the config.json's, or 32.

    Errors: `UserError` for an unknown family, a file of another family, missing or unknown weights, a damaged
    file, and one that holds code.

    Example:
        >>> import_tokenizer(["last.ckpt"], "taming").tokenizer  # doctest: +SKIP
    """
    importer = lookup(room.IMPORTERS, "family", family)
    for name, value in (("size", size), ("groups", groups)):
        if value is not None and value < 1:
            raise UserError(f"{name} {value} was given", "at least 1 was expected")
    files = [read_foreign(path) for path in paths]
    _refuse_other_family(files, family)
    settings = settings_beside(paths[0])
    _refuse_other_arithmetic(settings)
    tokenizer = importer(files, Hints(groups or _number(settings, "norm_num_groups")))
    size = size or _number(settings, "sample_size") or SIZE
    tokenizer.architecture.check(tokenizer.config, (size, size))
    return Imported(tokenizer, size)


def _refuse_other_family(files: Sequence[Weights], family: str) -> None:
    names = {name for weights in files for name in weights}
    for other, sign in SIGNS.items():
        if other != family and any(name.endswith(sign) for name in names):
            raise UserError(
                f"weights of {other} were given as {family}",
                f"a checkpoint of {family} was expected",
                f"try --from {other}",
            )


def _refuse_other_arithmetic(settings: dict[str, Any]) -> None:
    """Raises a `UserError` for a setting of a diffusers config.json that means another network than ours."""
    for name, expected in ARITHMETIC.items():
        if name in settings and settings[name] not in expected:
            raise UserError(
                f"config.json has {name} {settings[name]!r}",
                f"{' or '.join(map(repr, expected))} was expected: other networks would give other codes",
            )


def _number(settings: dict, name: str) -> int | None:
    value = settings.get(name)
    return value if isinstance(value, int) and value > 0 else None
