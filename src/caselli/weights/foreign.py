"""Weights in files that others wrote, read without running anything that is in them."""

from __future__ import annotations

import dataclasses
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from caselli.errors import UserError, first_line, is_out_of_memory
from caselli.files import read_tensors, regular
from caselli.shapes import Tensor

Weights = dict[str, Tensor]

HARMLESS = (
    "argparse.",
    "collections.",
    "dall_e.",
    "functools.",
    "lightning.",
    "numpy.",
    "omegaconf.",
    "pathlib.",
    "pytorch_lightning.",
    "torch.nn.modules.",
    "typing.",
)
"""Modules whose objects lie beside the weights in published files; each becomes a stand-in without code."""
WRAPPERS = ("params_ema", "model_ema", "ema", "params", "model_state_dict", "model", "state_dict")
"""Names under which training scripts put their weights; the averaged ones first."""
AVERAGED = ("params_ema", "model_ema", "ema")
"""Names of those whose weights are averages over the training, of which a line tells."""
PREFIXES = ("module.", "_orig_mod.", "first_stage_model.")
"""Beginnings put before the names of a network's weights by other programs: on several devices, compiled, and
within a larger model, whose other weights are left out."""
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""Files of weights in a folder of diffusers or transformers."""


ARGUMENTS = ("args", "config", "hyper_parameters")
"""Names under which training scripts put their settings."""


class StandIn:
    """Takes the place of any object in a file: keeps what was stored with it, does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file of weights as it was written."""

    path: Path
    """The file itself, also where a folder was given."""
    weights: Weights
    """By the names in the file, in the file's precision."""
    wrappers: tuple[str, ...]
    """Names of the dictionaries that the weights lie in, from the outside."""
    said: tuple[str, ...]
    """A line about each of them, for the user."""
    settings: dict[str, Any]
    """The config.json beside the file; empty without one."""
    arguments: dict[str, Any]
    """Settings of the training in the file itself; empty without any."""


def read_checkpoint(path: str | Path) -> Checkpoint:
    """A .safetensors, .pt, .pth, .ckpt, .bin or .pkl file, or one in a folder of diffusers or transformers.

    Errors: `UserError` for a file that is not there, cut short, holds code to be run or no weights.
    """
    settings = settings_beside(path)
    path = weights_file(regular(path))
    if not path.is_file():
        raise UserError(f"there is no file {path}", "a checkpoint was expected")
    found = read_tensors(path)[0] if path.suffix == ".safetensors" else _read_pickle(path)
    inner, wrappers, said = _unwrapped(found)
    weights = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    if not weights:
        raise UserError(f"{path} holds no weights", "a dictionary of tensors was expected")
    damaged = [name for name, value in weights.items() if not _is_finite(value)]
    if damaged:
        raise UserError(
            f"{path} holds weights that are no numbers: {damaged[0]}", "finite weights were expected"
        )
    return Checkpoint(path, weights, wrappers, said, settings, _arguments(found))


def read_foreign(path: str | Path) -> Weights:
    """The weights of a file by their names in the network itself, in float32; says where they lay.

    Errors: as of `read_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    for line in checkpoint.said:
        print(line, file=sys.stderr)
    return widened(_without_prefixes(checkpoint.weights))


def widened(weights: Weights) -> Weights:
    """Weights of any precision in float32; integers stay.

    Example:
        >>> widened({"w": torch.zeros(2, dtype=torch.float16)})["w"].dtype
        torch.float32
    """
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def _is_finite(value: Tensor) -> bool:
    """True without infinities and numbers that are none."""
    return bool((value.float() if value.is_floating_point() else value).isfinite().all())


def settings_beside(path: str | Path) -> dict[str, Any]:
    """The settings in the config.json of the file's folder; empty where there is none."""
    config = weights_file(Path(path)).parent / "config.json"
    try:
        settings = json.loads(regular(config).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{config} cannot be read ({error})", "a JSON object was expected") from None
    return settings if isinstance(settings, dict) else {}


def weights_file(path: Path) -> Path:
    """The file itself, or the one that a folder of diffusers holds.

    Example:
        >>> weights_file(Path("last.ckpt")).name
        'last.ckpt'
    """
    if not path.is_dir():
        return path
    found = [path / name for name in WEIGHTS if (path / name).is_file()]
    if not found:
        raise UserError(
            f"{path} is a folder", f"a file, or a folder with {' or '.join(WEIGHTS)} was expected"
        )
    return found[0]


def _read_pickle(path: Path) -> Any:
    unknown = _unknown_objects(path)
    foreign = [name for name in unknown if not name.startswith(HARMLESS)]
    if foreign:
        raise UserError(
            f"{path} holds objects that reading it would run code of: {', '.join(sorted(foreign)[:3])}",
            "a file of weights alone was expected",
            "save its state_dict anew where you trust it",
        )
    try:
        with safe_globals([(StandIn, name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader raise anything
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"{path} is cut short, damaged or no checkpoint ({first_line(error)[:120]})",
            "what torch.save wrote was expected",
        ) from None


def _unknown_objects(path: Path) -> list[str]:
    """Names of the functions and classes in a file that are not torch's plain data; none is imported."""
    try:
        return get_unsafe_globals_in_checkpoint(path) if zipfile.is_zipfile(path) else []
    except Exception as error:  # no pickle in it: reading it says what is wrong
        if is_out_of_memory(error):
            raise
        return []


def _unwrapped(found: Any) -> tuple[Mapping[str, Any], tuple[str, ...], tuple[str, ...]]:
    """The innermost dictionary, the names of those around it, and a line about each."""
    if isinstance(found, StandIn):
        return _of_module(found), (), ()
    if not isinstance(found, Mapping):
        return {}, (), ()
    name = next((name for name in WRAPPERS if isinstance(found.get(name), Mapping)), None)
    if name is None:
        return found, (), ()
    others = [other for other in WRAPPERS if other != name and isinstance(found.get(other), Mapping)]
    beside = f", and {' and '.join(map(repr, others))} beside them are left out" if others else ""
    own = (f"the weights are taken from {name!r}{beside}",) if others or name in AVERAGED else ()
    inner, wrappers, said = _unwrapped(found[name])
    return inner, (name, *wrappers), (*own, *said)


def _arguments(found: Any) -> dict[str, Any]:
    """The settings that a training script put beside its weights."""
    beside = [found.get(name) for name in ARGUMENTS] if isinstance(found, Mapping) else []
    kept = [value.state if isinstance(value, StandIn) else value for value in beside]
    return {name: value for one in kept if isinstance(one, Mapping) for name, value in one.items()}


def _without_prefixes(weights: Weights) -> Weights:
    """The weights by their names in the network itself; says what was taken off."""
    for prefix in PREFIXES * 2:  # one may lie within another
        inner = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        if inner:
            left = f", and {len(weights) - len(inner)} weights beside them are left out"
            said = left if len(inner) < len(weights) else ""
            print(
                f"the names of the weights begin with {prefix!r}, which is taken off{said}", file=sys.stderr
            )
            weights = inner
    return weights


def _of_module(module: StandIn, prefix: str = "") -> Weights:
    """The weights of a module that was saved whole."""
    state = module.state if isinstance(module.state, Mapping) else {}
    weights = {prefix + name: value for name, value in {**state.get("_parameters", {})}.items()}
    for name, child in {**state.get("_modules", {})}.items():
        if isinstance(child, StandIn):
            weights |= _of_module(child, f"{prefix}{name}.")
    return weights
