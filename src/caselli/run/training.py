"""The one way through a run of any kind: begun or resumed, trained stage by stage, looked at, reported."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from caselli import ranks
from caselli.engine import Log, Machine, expect_trackers, kept_threads, machine
from caselli.errors import UserError
from caselli.files import alone
from caselli.plain import override
from caselli.report import write_report
from caselli.run import old_pixels
from caselli.run.adopted import kept
from caselli.run.config import DataConfig
from caselli.run.folder import RunFolder, changes_between, resumed_config
from caselli.run.kind import Kind, Stage
from caselli.run.kinds import RECIPES, kind_and_recipe
from caselli.run.pictures import Data, remembered

RECIPE = "auto"
"""The recipe of a run that names none."""


def train(
    source: str | Path,
    out: str | Path,
    *,
    recipe: str = RECIPE,
    stage: str = "both",
    size: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Trains whatever the recipe makes (a tokenizer and a prior over its codes, a one-stage family, a
    segmenter) and writes the report; returns the run folder.

    Arguments:
        source: pictures; see `caselli.data.open`. With masks for a segmenter; see
            `caselli.data.open_segmented`.
        out: the run folder; new or empty, unless `resume`.
        recipe: name in `RECIPES`; a run that is resumed keeps its own.
        stage: both, for all stages of the recipe, or the one to train: tokenizer, prior, decoder or guide.
        size: height and width in pixels; None for the set's own.
        minutes: wall-clock budget of the training asked for; the schedules follow the clock.
        steps: optimiser steps of each stage, instead of the recipe's.
        resume: go on with the run in `out`; it keeps its configuration. Begins one if there is none.
        changes: fields by dotted name, such as `{"prior.width": 128}`.
        progress: True for a bar while pictures are read.

    Errors: `UserError` for whatever is wrong with the arguments, the pictures or the folder.

    Example:
        >>> train("pictures", "run", minutes=10)  # doctest: +SKIP
        PosixPath('run')
    """
    ranks.start()
    folder = RunFolder(out)
    folder.refuse_foreign()
    with alone(folder.path) if ranks.is_first() else contextlib.nullcontext():
        return _trained(source, folder, recipe, stage, size, minutes, steps, resume, changes, progress)


def _trained(
    source: str | Path,
    folder: RunFolder,
    recipe: str,
    stage: str,
    size: int | None,
    minutes: float | None,
    steps: int | None,
    resume: bool,
    changes: Mapping[str, Any] | None,
    progress: bool,
) -> Path:
    """The whole of `train` in a folder of its own."""
    out, is_begun = folder.path, _holds_run(folder, resume)
    if is_begun and ranks.is_first() and old_pixels.is_old(folder):
        old_pixels.modernise(folder)
    ranks.wait()
    kind, own_recipe = kind_and_recipe(out, recipe)
    if is_begun and recipe != RECIPE and recipe in RECIPES and RECIPES[recipe].kind is not kind:
        raise UserError(
            f"recipe {recipe!r} was given to a run of kind {kind.name}",
            "a resumed run keeps its recipe",
            "leave it out, or choose another -o",
        )
    old_pixels.refuse_old_names(own_recipe, changes or {})
    shares = kind.stage_shares(own_recipe)
    stages = _stages(kind, shares, stage)
    trained = [each for each in stages if shares.get(each, 1)]
    if is_begun:
        trained = [each for each in trained if _goes_on(each(kind.probe(folder)))]
    budget = budget_of({each: shares.get(each, 1) for each in trained}, minutes, steps)
    asked = {"data.source": remembered(source), **({} if size is None else {"data.size": size})}
    asked |= changes or {}
    if is_begun and stage == "both":  # with those besides the recipe's that get a longer budget by name
        probe = kind.probe(folder)
        stages = [each for each in kind.stages if each in stages or _is_named(each(probe), asked)]
    awaits = folder.awaits_pictures()
    ranks.wait()  # all have looked before the first rank writes
    if is_begun and not awaits:
        budget = kind.shared_again(kind.probe(folder).config, budget)
        run = resumed(kind, folder, {**budget, **asked}, progress, stages)
    else:
        run = begun(kind, folder, recipe, budget, kept(folder, asked) if awaits else asked, progress)
    for each in stages:
        _go_through(each(run))
    for each in (each(run) for each in kind.stages if each not in stages):
        if each.has_result() and not each.is_done():
            words = "--stage {0} --resume with a longer budget trains the {0} over what there is now"
            each.log.say(words.format(each.product))
    if ranks.is_first():
        write_page(folder, kind)
    ranks.wait()
    return folder.path


def begun(
    kind: type[Kind],
    folder: RunFolder,
    recipe: str,
    budget: dict[str, Any],
    changes: dict[str, Any],
    progress: bool,
) -> Kind:
    """A new run, its configuration written to its folder.

    Arguments:
        budget: minutes or steps of its stages, which the recipe may share out otherwise.
        changes: what was asked for field by field, and stays as it is.
    """
    own = {name.removeprefix("data."): value for name, value in changes.items() if name.startswith("data.")}
    data = kind.open(override(DataConfig(), own), progress)
    config = kind.configured(recipe, data, budget, changes)
    expect_trackers(config.track)
    if ranks.is_first():
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write(kind.name, config, data.fingerprint, machine(config.precision))
    ranks.wait()
    return _ready(kind(folder, config, data, recorded_machine(folder)))


def resumed(
    kind: type[Kind],
    folder: RunFolder,
    changes: dict[str, Any],
    progress: bool,
    stages: Sequence[type[Stage]] = (),
) -> Kind:
    """A run that was begun before, with a new budget for the stages that are to be trained."""
    before = kind.probe(folder)
    config = resumed_config(before.config, changes)
    changed = changes_between(before.config, config)
    data = kind.open(config.data, progress)
    _expect_same(folder, config.data.source, data.fingerprint)
    kind.check(config, data)
    expect_trackers(config.track)
    run = kind(folder, config, data, recorded_machine(folder))
    _expect_budgets(run, changed, stages)
    if ranks.is_first():
        if any(name.startswith("reading.") for name in changed):
            folder.drop_results(*(stage.results for stage in kind.stages))  # to be looked at anew
        folder.write(kind.name, config, data.fingerprint, run.machine)
    return _ready(run)


def recorded_machine(folder: RunFolder) -> Machine:
    """The machine as `run.yaml` has it: the precision of a run is decided once, on one rank."""
    recorded = folder.describe()["machine"]
    return dataclasses.replace(machine(recorded["precision"]), reason=recorded["reason"])


def write_page(folder: RunFolder, kind: type[Kind]) -> None:
    """Writes the report from what lies in the folder."""
    page = write_report(folder.path, kind.figures())
    Log(folder.path, "report").say(f"look at {page}")


def _holds_run(folder: RunFolder, resume: bool) -> bool:
    """True where the folder holds a run to go on with."""
    is_begun = folder.holds_run()
    if is_begun and not resume:
        raise UserError(
            f"{folder.path} holds a run already",
            "a new folder was expected",
            "go on with --resume, or choose another -o",
        )
    return is_begun


def _stages(kind: type[Kind], own: Iterable[type[Stage]], asked: str) -> list[type[Stage]]:
    """The stages that are to be trained: those of the recipe, or the one asked for."""
    names = [stage.product for stage in kind.stages]
    if asked not in ("both", *names):
        if len(names) == 1:
            expected, remedy = f"a run of kind {kind.name} has the one stage {names[0]}", "leave it out"
        else:
            expected, remedy = f"one of both, {', '.join(names)} was expected", ""
        raise UserError(f"stage {asked!r} was given", expected, remedy)
    return [stage for stage in kind.stages if asked == stage.product or (asked == "both" and stage in own)]


def _is_named(stage: Stage, asked: Mapping[str, Any]) -> bool:
    """True where a field of a stage that was trained before is asked for by its name."""
    return stage.spent() is not None and any(name.startswith(f"{stage.training}.") for name in asked)


def _goes_on(stage: Stage) -> bool:
    """True where a training can begin or go on; what came from elsewhere or was made smaller stays as is."""
    return not stage.has_result() or stage.spent() is not None


def _expect_budgets(run: Kind, changed: Mapping[str, Any], stages: Sequence[type[Stage]]) -> None:
    """Raises a `UserError` for a change of a stage that would not be trained with it: `run.yaml` claims
    nothing that does not happen."""
    earlier = ""
    for stage in (each(run) for each in run.stages):
        own = {name: value for name, value in changed.items() if name.startswith(f"{stage.training}.")}
        spent, is_asked = stage.spent(), type(stage) in stages
        is_over = spent is not None and (spent > 1 or (stage.has_result() and spent >= 1))
        given = ", ".join(f"{name} {value}" for name, value in own.items()) + " was given"
        if own and not is_asked and (stage.has_result() or spent is not None):
            raise UserError(given, f"the {stage.product} is not trained now", "leave it out, or --stage both")
        if own and stage.has_result() and spent is None:
            raise UserError(given, f"the {stage.product} here has no checkpoint that it could go on from")
        if own and is_over:
            steps, seconds = run.folder.reached(stage.name)
            had = f"{steps} steps in {seconds / 60:.3g} minutes"
            raise UserError(given, f"the {stage.product} has had {had}: more was expected")
        if earlier and is_asked and is_over:
            expected = f"the {stage.product} has had its budget, and needs a longer one too"
            remedy = f"give --{stage.training}.steps or minutes, or the {earlier} alone: --stage {earlier}"
            raise UserError(f"the {earlier} goes on", expected, remedy)
        if own and is_asked and stage.has_result() and spent is not None and spent < 1:
            earlier = stage.product


def budget_of(
    shares: Mapping[type[Stage], float], minutes: float | None, steps: int | None
) -> dict[str, Any]:
    """The changes that the minutes, shared among the stages, and the steps of each stand for."""
    if not shares and (minutes or steps):
        raise UserError("a budget was given", "nothing of this run can be trained for longer", "leave it out")
    whole = sum(shares.values())
    changes: dict[str, Any] = {}
    for stage, share in shares.items():
        if minutes is not None:
            changes[f"{stage.training}.minutes"] = minutes * (share / whole)
        if steps is not None:
            changes |= {f"{stage.training}.steps": steps, f"{stage.training}.minutes": None}
    return changes


def _expect_same(folder: RunFolder, source: str, fingerprint: str) -> None:
    """Raises a `UserError` where the data are not those that the run was begun with."""
    expected = folder.describe()["data_fingerprint"]
    if fingerprint != expected:
        raise UserError(
            f"the pictures of {source} are not those that the run in {folder.path} was begun with",
            f"fingerprint {expected} was expected, {fingerprint} found",
            "restore them, name the place that they have moved to, or begin a new run with another -o",
        )


def _ready(run: Kind) -> Kind:
    """Tells of the pictures, in the log and for the report."""
    data, log = run.data, Log(run.folder.path, "data")
    log.say(f"{len(data.train)} pictures to train on, {len(data.held_out)} held out; {run.machine.reason}")
    for note in (*data.pictures.notes, *run.plan(run.config, data)):
        log.say(note)
    for bad in data.pictures.bad:
        log.say(f"skipped {bad.name}: {bad.reason}")
    if ranks.is_first():
        run.folder.add_results(data=_figures(data))
    return run


def _figures(data: Data) -> dict[str, Any]:
    pictures = data.pictures
    return {
        "name": pictures.name,
        "count": len(data.train),
        "held_out": len(data.held_out),
        "size": pictures.size,
        "channels": pictures.channels,
        "classes": len(data.classes),
        "class_names": list(data.classes),
        "notes": list(pictures.notes),
        "bad": [{"name": bad.name, "reason": bad.reason} for bad in pictures.bad],
    }


def _go_through(stage: Stage) -> None:
    """A stage: trained unless it is done, and looked at unless that is done too."""
    run, is_done = stage.run, stage.is_done()
    ranks.wait()  # all have looked before the first rank writes
    if is_done:
        stage.log.say(f"trained to {stage.config.end()} already")
    else:
        if stage.has_result() and (stage.spent() or 1) >= 1:
            raise UserError(
                f"the {stage.product} in {run.folder.path} belongs to what was there before",
                "a longer budget was expected, to train it on",
                f"give --stage {stage.product} --steps or --minutes",
            )
        with kept_threads(run.threads):  # beside a busy core as few as in training
            task, sets = stage.task(), stage.sets()
        if any(parameter.requires_grad for parameter in task.parameters()):
            task = run.fit(task, stage.config, stage.name, sets, stage.augments, stage.validated, stage.early)
        state = run.folder.early(stage.name) if stage.early else None  # by all ranks, as it may lie in parts
        if ranks.is_first():
            if state is not None:
                stage.save_early(task, state)
            stage.save(task)
    if ranks.is_first() and not (is_done and stage.results in run.folder.results()):
        with ranks.alone(), kept_threads(run.threads):
            stage.look()
    ranks.wait()
