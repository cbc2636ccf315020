"""The kinds of run, all recipes, and what a run folder loads into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from caselli.errors import UserError, lookup
from caselli.run import old_pixels
from caselli.run.family import FamilyRun
from caselli.run.folder import RunFolder
from caselli.run.kind import Kind, Recipe
from caselli.run.segmentation import SegmentationRun
from caselli.run.two_stage import TwoStage
from caselli.trained import Trained

KINDS: dict[str, type[Kind]] = {
    "two_stage": TwoStage,
    "family": FamilyRun,
    "segmentation": SegmentationRun,
}
"""The kinds of run by name."""

RECIPES: dict[str, Recipe] = {
    name: Recipe(kind, recipe) for kind in KINDS.values() for name, recipe in kind.recipes.items()
}
"""The recipes of every kind by name."""


def kind_of(run: str | Path) -> type[Kind]:
    """The kind of the run in a folder.

    `run.yaml` names it. Of a run that was begun before it did, or came without it, the configuration or the
    files tell: each kind has the name of its first stage's result there.

    Errors: `UserError` for a folder without a run.
    """
    folder = RunFolder(run)
    described = folder.describe() if folder.holds_run() else {}
    if "kind" in described:
        return lookup(KINDS, "kind", described["kind"])
    if old_pixels.is_old(folder):
        return TwoStage
    marks = set(described.get("config", ())) | {path.stem for path in folder.path.glob("*.json")}
    for kind in KINDS.values():
        if kind.stages[0].product in marks:
            return kind
    raise UserError(
        f"{run} was given as a run",
        "a folder with a trained run was expected",
        "make one with `caselli train SOURCE -o RUN`",
    )


def kind_and_recipe(out: str | Path, recipe: str) -> tuple[type[Kind], str]:
    """Kind and recipe of the run that a folder holds, or else of the run that is to be begun there.

    Errors: `UnknownName` for a recipe that there is not.
    """
    folder = RunFolder(out)
    if folder.holds_run():
        return kind_of(out), folder.describe()["config"].get("recipe", "")
    return lookup(RECIPES, "recipe", recipe).kind, recipe


def load(run: str | Path, adapter: str | Path | Mapping[str | Path, float] | None = None) -> Trained:
    """The trained network of a run folder: a tokenizer with its prior, a one-stage family, or a segmenter.

    No code of the folder's is run, only weights and plain data are read.

    Arguments:
        run: the folder.
        adapter: file of an adapter, or folder of a run that was fine-tuned with one, to join; several with
            their weights.

    Errors: `UserError` for a folder that is no trained run, for damaged files, and for an adapter of another
    run.

    Example:
        >>> load("run").sample(16)  # doctest: +SKIP
        >>> load("run", adapter={"butterflies": 0.7, "beetles": 0.3}).sample(16)  # doctest: +SKIP
    """
    trained = kind_of(run).load(RunFolder(run))
    if adapter is None:
        return trained
    return trained.with_adapters(adapter if isinstance(adapter, Mapping) else {adapter: 1.0})
