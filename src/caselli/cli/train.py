"""`caselli train SOURCE -o RUN`."""

from __future__ import annotations

import argparse
from typing import Any

import jsonargparse

from caselli.errors import UserError

DESCRIPTION = """Trains a tokenizer on pictures, then a prior over its codes, and writes RUN/report.html.
With a one-stage recipe (vae, gan, mixture, pixels) it trains that; `--recipe gan --help` shows its fields.
SOURCE is glyphs, digits, a folder of pictures, an .npz, idx .gz files or tar shards. Every field below can be
set by its dotted name, or in a YAML file given with --config; what is not set comes from the recipe."""


def run(arguments: list[str]) -> None:
    """Parses, trains."""
    given = _parser(_recipe(arguments)).parse_args(arguments, defaults=False)
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


class _Parser(jsonargparse.ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise UserError(message, remedy="see `caselli train --help`")


def _recipe(arguments: list[str]) -> str:
    """The recipe asked for, or that of the run in the folder; it decides which fields there are."""
    from caselli.run.family_config import recipe_of_run

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--recipe")
    early.add_argument("-o", "--out")
    try:
        given, _ = early.parse_known_args(arguments)
    except argparse.ArgumentError:  # an option without its value: the parser proper says so
        return _OWN["recipe"]
    begun = None if given.out is None else recipe_of_run(given.out)
    return begun or given.recipe or _OWN["recipe"]


def _parser(recipe: str) -> jsonargparse.ArgumentParser:
    from caselli.run import (
        FAMILY_RECIPES,
        RECIPES,
        SEGMENTATION_RECIPES,
        STAGES,
        DataConfig,
        ReadingConfig,
    )

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    usage = "caselli train SOURCE -o RUN [options]"
    parser = _Parser(prog="caselli train", usage=usage, description=DESCRIPTION)
    parser.add_argument("source", help="pictures", nargs="?")
    parser.add_argument("-o", "--out", type=str, metavar="RUN", help="the run folder")
    parser.add_argument("--recipe", type=str, help=f"what the run starts from: {', '.join(RECIPES)} (small)")
    parser.add_argument("--size", type=int, help="height and width in pixels")
    parser.add_argument("--minutes", type=float, help="wall-clock budget of the training")
    parser.add_argument("--steps", type=int, help="steps of each stage, instead of the recipe's")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN, or begin it")
    parser.add_argument("--config", action="config", help="a YAML file of fields")
    parser.add_argument("--seed", type=int, help="of everything random")
    parser.add_argument("--precision", type=str, help="auto, float32 or bfloat16")
    parser.add_class_arguments(DataConfig, "data", skip={"source", "size"})
    if recipe in FAMILY_RECIPES:
        _family_fields(parser, recipe)
    elif recipe in SEGMENTATION_RECIPES:
        _segmentation_fields(parser)
    else:
        parser.add_argument("--stage", type=str, help=f"{', '.join(STAGES)} (both)")
        _two_stage_fields(parser)
    if recipe not in SEGMENTATION_RECIPES:
        parser.add_class_arguments(ReadingConfig, "reading")
    return parser


def _two_stage_fields(parser: jsonargparse.ArgumentParser) -> None:
    from caselli.prior import PriorConfig
    from caselli.run import StagesConfig
    from caselli.tokenizer import TokenizerConfig

    parser.add_class_arguments(TokenizerConfig, "tokenizer")
    parser.add_class_arguments(PriorConfig, "prior")
    parser.add_class_arguments(StagesConfig, "training")


def _family_fields(parser: jsonargparse.ArgumentParser, recipe: str) -> None:
    from caselli.engine import TrainingConfig
    from caselli.family import FAMILIES
    from caselli.run.family_recipes import FAMILY_OF_RECIPE

    kind = FAMILIES[FAMILY_OF_RECIPE[recipe]].config_kind
    parser.add_class_arguments(kind, "model", skip={"channels", "size"})
    parser.add_class_arguments(TrainingConfig, "training")


def _segmentation_fields(parser: jsonargparse.ArgumentParser) -> None:
    from caselli.engine import TrainingConfig
    from caselli.segmentation import SegmenterConfig

    parser.add_class_arguments(SegmenterConfig, "segmenter", skip={"channels", "classes"})
    parser.add_class_arguments(TrainingConfig, "training")


def _dotted(given: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            flat |= _dotted(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
