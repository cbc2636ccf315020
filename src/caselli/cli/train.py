"""`caselli train SOURCE -o RUN`."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING, Any

import jsonargparse

from caselli.errors import UserError

if TYPE_CHECKING:
    from caselli.run import Kind

DESCRIPTION = """Trains a tokenizer on pictures, then a prior over its codes, and writes RUN/report.html.
With a one-stage recipe (vae, gan, mixture) it trains that; `--recipe gan --help` shows its fields.
SOURCE is glyphs, digits, a folder of pictures, an .npz, idx .gz files or tar shards. Every field below can be
set by its dotted name, or in a YAML file given with --config; what is not set comes from the recipe."""


def run(arguments: list[str]) -> None:
    """Parses, trains."""
    kind, recipe = _kind(arguments)
    if recipe == "pixels":
        from caselli.run import refuse_old_names

        refuse_old_names(word.removeprefix("--").partition("=")[0] for word in arguments)
    given = _parser(kind, recipe).parse_args(arguments, defaults=False)
    own = {name: given.pop(name, default) for name, default in _OWN.items()}
    for name in ("source", "out"):
        if own[name] is None:
            raise UserError(f"no {name} was given", "`caselli train SOURCE -o RUN` was expected")
    given.pop("config", None)

    from caselli import ranks
    from caselli.engine import Interrupted
    from caselli.run import train

    try:
        train(own.pop("source"), own.pop("out"), changes=_dotted(given.as_dict()), **own)
    except Interrupted as error:
        raise KeyboardInterrupt(f"{error}; go on with the same command and --resume") from None
    finally:
        ranks.stop()


_OWN: dict[str, Any] = {
    "source": None,
    "out": None,
    "recipe": "small",
    "stage": "both",
    "size": None,
    "minutes": None,
    "steps": None,
    "resume": False,
}


_RENAMED = {"tokenizer.doctor": "tokenizer.diagnostics"}
"""Field of an earlier version → its name now."""


class _Parser(jsonargparse.ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> Any:
        renamed = [f"--{old} is --{new} now" for old, new in _RENAMED.items() if old in message]
        raise UserError(message, remedy="; ".join(renamed) or "see `caselli train --help`")


def _kind(arguments: list[str]) -> tuple[type[Kind], str]:
    """The kind of the run that is resumed or begun, and its recipe: they decide which fields there are."""
    from caselli.run import kind_and_recipe

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--recipe", default=_OWN["recipe"])
    early.add_argument("-o", "--out", default=os.devnull)
    try:
        given, _ = early.parse_known_args(arguments)
    except argparse.ArgumentError:  # an option without its value: the parser proper says so
        given = early.parse_args([])
    return kind_and_recipe(given.out, given.recipe)


def _parser(kind: type[Kind], recipe: str) -> jsonargparse.ArgumentParser:
    from caselli.run import RECIPES

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    usage = "caselli train SOURCE -o RUN [options]"
    parser = _Parser(prog="caselli train", usage=usage, description=DESCRIPTION)
    parser.add_argument("source", help="pictures", nargs="?")
    parser.add_argument("-o", "--out", type=str, metavar="RUN", help="the run folder")
    parser.add_argument("--recipe", type=str, help=f"what the run starts from: {', '.join(RECIPES)} (small)")
    stages = ", ".join(["both", *(stage.product for stage in kind.stages)])
    parser.add_argument("--stage", type=str, help=f"{stages} (both)")
    parser.add_argument("--size", type=int, help="height and width in pixels")
    parser.add_argument("--minutes", type=float, help="wall-clock budget of the training")
    parser.add_argument("--steps", type=int, help="steps of each stage, instead of the recipe's")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN, or begin it")
    parser.add_argument("--config", action="config", help="a YAML file of fields")
    parser.add_argument("--seed", type=int, help="seed of everything random")
    parser.add_argument("--precision", type=str, help="auto, float32 or bfloat16")
    record = kind.fields(recipe)
    for field in dataclasses.fields(record):
        value, beneath = getattr(record, field.name), f"{field.name}."
        if dataclasses.is_dataclass(value):
            hidden = [name for name in kind.settled if name.startswith(beneath)]
            hidden = ["data.source", "data.size"] if field.name == "data" else hidden
            skip = {name.removeprefix(beneath) for name in hidden}
            parser.add_class_arguments(type(value), field.name, skip=skip)
    return parser


def _dotted(given: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            flat |= _dotted(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
