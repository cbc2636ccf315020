"""The whole configuration of a run; what `run.yaml` holds and dotted names on the command line change."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from caselli.engine import TrainingConfig
from caselli.errors import UnknownName, UserError
from caselli.prior import PriorConfig
from caselli.tokenizer import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the pictures come from and how they are varied."""

    source: str = "glyphs"
    """Anything that `caselli.data.open` opens."""
    size: int | None = None
    """Height and width in pixels; None for the set's own."""
    channels: int | None = None
    """1 grey, 3 colour; None for the set's own."""
    flip: bool = False
    """Whether pictures are mirrored left to right half of the time."""
    shift: int = 0
    """Largest random shift in pixels."""
    views: int = 1
    """How many varied versions of each picture the prior learns from; the first is the picture as it is."""
    workers: int | None = None
    """Processes that decode; None for as many as there are cores, 0 for none."""
    paired: str = ""
    """Pictures that belong to those of the source, by equal names but for the suffix, for a prior with
    `condition_picture: paired`: depth, outlines, masks."""


@dataclasses.dataclass(frozen=True)
class StagesConfig:
    """Budget and optimiser of each stage."""

    tokenizer: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Of the first stage."""
    prior: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Of the second stage."""


@dataclasses.dataclass(frozen=True)
class ReadingConfig:
    """How an independent classifier judges the samples of a labelled set."""

    seconds: float = 20.0
    """How long the classifier is trained on real pictures; 0 for no judgement."""
    samples: int = 992
    """Samples that it is given, about, in equal numbers for each label."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that a run is made from."""

    recipe: str = "small"
    """The recipe that the other fields started from."""
    seed: int = 0
    """Of everything random."""
    precision: str = "auto"
    """auto (measured), float32 or bfloat16 (autocast; weights stay float32)."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """Pictures."""
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """First stage."""
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    """Second stage."""
    training: StagesConfig = dataclasses.field(default_factory=StagesConfig)
    """Budgets and optimisers."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Judging the samples."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted names and values.

    Example:
        >>> flatten(RunConfig())["prior.width"]
        256
    """
    flat = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        flat |= flatten(value, name + ".") if dataclasses.is_dataclass(value) else {name: value}
    return flat


def override(config: Any, changes: dict[str, Any]) -> Any:
    """The configuration with the fields of dotted names changed.

    Errors: `UserError` for an unknown name or a value of the wrong kind.

    Example:
        >>> override(RunConfig(), {"prior.width": 128, "tokenizer.quantizer_options.decay": 0.9}).prior.width
        128
    """
    for name, value in changes.items():
        config = _set(config, name.split("."), value, name)
    return config


def _set(config: Any, path: list[str], value: Any, name: str) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(config, dict):
        return {**config, head: _set(config.get(head, {}), rest, value, name) if rest else value}
    if not dataclasses.is_dataclass(config):
        raise UserError(f"field {name!r} was given", f"{path[0]!r} is beneath a plain value")
    known = {field.name for field in dataclasses.fields(config)}
    if head not in known:
        raise UnknownName("field", name, [name[: len(name) - len(".".join(path))] + k for k in sorted(known)])
    old = getattr(config, head)
    if rest:
        new = _set(old, rest, value, name)
    elif dataclasses.is_dataclass(old):
        if not isinstance(value, dict):
            raise UserError(f"{name} {value!r} was given", "fields beneath it were expected")
        new = override(old, value)
    else:
        new = _convert(value, typing.get_type_hints(type(config))[head], name)
    return dataclasses.replace(config, **{head: new})


def _convert(value: Any, kind: Any, name: str) -> Any:
    """The value as a field's type says, a list for one name included."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or (str in arguments and isinstance(value, str)):
            return value
        return _convert(value, next(a for a in arguments if a not in (type(None), str)), name)
    if origin in (list, tuple):
        items = value if isinstance(value, list | tuple) else [value]
        return origin(_convert(item, arguments[0], name) for item in items)
    if origin is dict:
        kind = dict
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
        return value
    if kind is str and isinstance(value, int | float):
        return str(value)
    raise UserError(f"{name} {value!r} was given", f"{getattr(kind, '__name__', kind)} was expected")
