"""`caselli train SOURCE -o RUN`."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caselli.cli.command import MOST, Parser, call, fields_of
from caselli.cli.output import new_folder
from caselli.cli.stopping import stoppable
from caselli.errors import UserError

if TYPE_CHECKING:
    from caselli.run import Kind

MOST_CODES = 2**128
HELP_FIELDS, RECIPE, RUN_FILE = "--help-fields", "auto", "run.yaml"


def run(arguments: list[str]) -> None:
    """Trains, or shows the fields that a run has."""
    if HELP_FIELDS in arguments:
        after = arguments[arguments.index(HELP_FIELDS) + 1 :]
        word = after[0] if after and not after[0].startswith("-") else ""
        recipe = next((b for a, b in itertools.pairwise(arguments) if a == "--recipe"), RECIPE)
        print("\n".join(_help_fields(recipe, word)))
        return
    call("train", command, arguments)


def command(
    source: str,
    *,
    out: str,
    recipe: str = RECIPE,
    stage: str = "both",
    size: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    track: list[str] = (),
    config: str | None = None,
    resume: bool = False,
    **fields: str,
) -> None:
    """Trains whatever the recipe makes, a tokenizer and a prior over its codes unless it says otherwise, and
    writes RUN/report.html.

    Every field of a run can be set by its dotted name, such as --prior.width 128; what is not set comes from
    the recipe. `caselli train --help-fields [WORD] [--recipe NAME]` shows the fields.

    Arguments:
        source: glyphs, digits, a folder of pictures, an .npz, idx .gz files or tar shards.
        out: the run folder.
        recipe: recipe that the run starts from, see `caselli list recipe`.
        stage: both, or one stage of the run: tokenizer or prior.
        size: height and width in pixels (the set's own).
        minutes: wall-clock budget of the training.
        steps: steps of each stage, instead of the recipe's.
        seed: seed of everything random (0).
        precision: auto, float32 or bfloat16 (auto).
        track: json, tensorboard or wandb, to get the figures beside RUN/log.jsonl.
        config: YAML file of fields, or another run's run.yaml, to begin a run like that one.
        resume: go on with the run in RUN, or begin it.
    """
    new_folder(out)

    from caselli.run import kind_and_recipe, train

    like: dict[str, Any] = {}
    if config is not None and Path(config).name == RUN_FILE:
        recipe, like = _like(Path(config).parent, recipe, minutes or steps)
        config = None
    changes = like | typed(*kind_and_recipe(out, recipe), fields, config)
    changes |= {} if seed is None else {"seed": seed}
    changes |= {} if precision is None else {"precision": precision}
    changes |= {"track": tuple(track)} if track else {}
    budget = {"size": size, "minutes": minutes, "steps": steps}
    with stoppable():
        train(source, out, recipe=recipe, stage=stage, resume=resume, changes=changes, **budget)


def _like(run: Path, recipe: str, budget: float | None) -> tuple[str, dict[str, Any]]:
    """Recipe and fields of another run, but for its pictures, and for its budget where one is given."""
    from caselli.plain import flatten
    from caselli.run import RunFolder, kind_of

    folder = RunFolder(run)
    folder.describe()  # says what is wrong with it
    old = kind_of(run).config_in(folder)
    if recipe not in (RECIPE, old.recipe):
        raise UserError(
            f"recipe {recipe!r} was given with a run of recipe {old.recipe!r}", "one of them was expected"
        )
    fields = {name: value for name, value in flatten(old).items() if name != "data.source"}
    if budget is not None:
        fields = {k: v for k, v in fields.items() if not k.endswith((".steps", ".minutes"))}
    return old.recipe, fields


def _records(kind: type[Kind], recipe: str) -> Iterator[tuple[str, Any, set[str]]]:
    """The groups of fields of a run: name, record, and the fields of it that follow from the pictures."""
    whole = kind.fields(recipe)
    for field in dataclasses.fields(whole):
        record, beneath = getattr(whole, field.name), f"{field.name}."
        if dataclasses.is_dataclass(record):
            settled = {name.removeprefix(beneath) for name in kind.settled if name.startswith(beneath)}
            yield field.name, record, {"source", "size"} if field.name == "data" else settled


def _of_fields(config: str) -> Path:
    """The path of a file of fields.

    Errors: `UserError` for any other file.
    """
    import yaml

    from caselli.files import regular

    path, expected = regular(config), f"a YAML file of fields, or a run's {RUN_FILE} under that name,"
    try:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{config} cannot be read ({error})", f"{expected} was expected") from None
    if not isinstance(known, dict) or "config" in known:
        raise UserError(f"{config} holds no fields", f"{expected} was expected")
    return path


def typed(kind: type[Kind], recipe: str, fields: dict[str, str], config: str | None) -> dict[str, Any]:
    """The changes, by dotted name, of the words that were typed and of a file of fields."""
    from caselli.run import refuse_old_names

    refuse_old_names(recipe, fields)
    parser = Parser(prog="caselli train")
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--precision", type=str)
    for name, record, skipped in _records(kind, recipe):
        parser.add_class_arguments(type(record), name, skip=skipped)
    words = [] if config is None else [f"--config={_of_fields(config)}"]
    given = parser.parse_args([*words, *(f"--{k}={v}" for k, v in fields.items())], defaults=False)
    given.pop("config", None)
    changes = _dotted(given.as_dict())
    for name, value in changes.items():
        most = (
            MOST_CODES if name.endswith(".codebook_size") else MOST
        )  # its quantizer knows what it can serve
        if isinstance(value, int | float) and not 0 <= value <= most:
            raise UserError(f"{name} {value} was given", f"a number from 0 to {most:,} was expected")
    return changes


def _dotted(given: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in given.items():
        flat |= _dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _help_fields(recipe: str, word: str) -> Iterator[str]:
    """The fields of a recipe's runs that a word occurs in, by group."""
    from caselli.errors import lookup
    from caselli.run import RECIPES

    for name, record, skipped in _records(lookup(RECIPES, "recipe", recipe).kind, recipe):
        yield from _group(name, record, skipped, word)


def _group(prefix: str, record: Any, skipped: set[str], word: str) -> Iterator[str]:
    lines, beneath = [], []
    for option in fields_of(record):
        value = getattr(record, option.name)
        if option.name in skipped:
            continue
        if dataclasses.is_dataclass(value):
            beneath += _group(f"{prefix}.{option.name}", value, set(), word)
        else:
            option = dataclasses.replace(option, default=value)
            line = f"  --{prefix}.{option.name} {typing.cast(str, option.metavar)}\n      {option.line}"
            lines += [line] * (word in line)
    if lines:
        yield f"\n{(type(record).__doc__ or prefix).splitlines()[0]}"
    yield from lines
    yield from beneath
