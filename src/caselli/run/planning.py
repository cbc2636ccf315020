"""A run planned before it is paid for: sizes, memory and time of each stage, computed and not run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
from collections.abc import Mapping
from typing import Any

from caselli.anatomy import StepCost, in_bytes, in_thousands, step_cost
from caselli.engine import Fit, Machine, TrainingConfig, of_shape
from caselli.engine.ema import Ema
from caselli.errors import UserError, expect, lookup
from caselli.plain import override
from caselli.run.config import DataConfig
from caselli.run.devices import CPU, Device, device_of, devices_of
from caselli.run.folder import RunFolder
from caselli.run.kind import Kind, Stage
from caselli.run.kinds import RECIPES
from caselli.run.training import budget_of
from caselli.shapes import Tensor

TERA = 10**12
USABLE = 0.9
"""Share of a device's memory that tensors may fill: the rest is the libraries', or lost in gaps."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a rank at the peak of a training step."""

    weights: int
    gradients: int
    average: int
    """The averaged twin of the weights."""
    optimiser: int
    activations: int
    """Everything that comes and goes within a step, at its peak."""

    @property
    def standing(self) -> int:
        """Bytes that stay from step to step."""
        return self.weights + self.gradients + self.average + self.optimiser

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return self.standing + self.activations

    def words(self) -> str:
        """The parts and their sum."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return ", ".join(f"{name} {in_bytes(value)}" for name, value in parts.items())


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One stage of a planned run."""

    name: str
    config: TrainingConfig
    parameters: int
    blocks: int
    """Number of layers that can be shared out, or computed twice."""
    parts: int
    """Ranks that the weights are shared out over; 1 for a copy on each."""
    samples: int
    """Number of samples that are trained on."""
    own: int
    """Samples of a rank in a step."""
    memory: Memory
    cost: StepCost
    seconds: float
    """Seconds of a step."""
    rate_share: float
    """Share of the device's arithmetic rate that those seconds mean."""
    hours: float | None
    """Hours that the stage gets; None for the steps of the recipe."""

    @property
    def samples_per_second(self) -> float:
        """Samples a second of all ranks together."""
        return self.config.batch / self.seconds

    @property
    def steps(self) -> int:
        """Steps that are taken in the hours, or those of the configuration."""
        return self.config.steps if self.hours is None else max(1, int(3600 * self.hours / self.seconds))

    @property
    def passes(self) -> float:
        """Times that each sample is seen."""
        return self.steps * self.config.batch / self.samples


@dataclasses.dataclass(frozen=True)
class Plan:
    """A planned run."""

    recipe: str
    devices: int
    device_name: str
    device: Device
    precision: str
    share: float
    """Share of the floor's pace that is assumed."""
    size: int
    channels: int
    pictures: int
    """Number of pictures that are trained on."""
    stages: tuple[StagePlan, ...]


def plan(
    source: str,
    *,
    recipe: str,
    on: str = CPU,
    hours: float | None = None,
    size: int | None = None,
    pictures: int | None = None,
    share: float | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """Sizes, memory and time of a run on given devices, without training anything.

    Memory is followed tensor by tensor through one training step on tensors without numbers, in the run's
    precision. Time is the step's floor (each operation bound by its arithmetic or its memory traffic, at the
    device's rates) divided by the share that is assumed; copies between devices are taken to hide behind it.

    Arguments:
        source: pictures; their size, channels, classes and number count.
        recipe: name in `RECIPES`.
        on: devices, such as 8xH100; cpu for this machine.
        hours: wall-clock budget of the training; None for the recipe's own steps or minutes.
        size: height and width in pixels; None for the set's own.
        pictures: number of pictures to train on, instead of the set's.
        share: share of the floor's pace that is assumed, 0 to 1; None for the device's own.
        changes: fields by dotted name.

    Errors: `UserError` for whatever is wrong with the arguments or the pictures.
    """
    expect(pictures is None or pictures >= 1, "pictures", pictures, "at least 1")
    count, name = devices_of(on)
    device = device_of(name)
    share = device.share if share is None else share
    kind = lookup(RECIPES, "recipe", recipe).kind
    shares = {each: own for each, own in kind.stage_shares(recipe).items() if own}
    changes = {**({} if size is None else {"data.size": size}), **(changes or {})}
    minutes = None if hours is None else 60 * hours
    if recipe == "auto" and name != CPU:  # what this machine measures says nothing of those devices
        asked = changes.get("precision", "auto")
        rate = 2 * device.rates(device.precision if asked == "auto" else asked).macs_per_second
        changes = {"rate": share * rate * count, **changes}
    run = prepared(kind, source, recipe, changes, budget_of(shares, minutes, None), pictures)
    precision = run.config.precision if run.config.precision != "auto" else device.precision
    run.machine = Machine(CPU, precision, "planned")
    planned = []
    for stage in (each(run) for each in shares):
        own = None if stage.config.minutes is None else stage.config.minutes / 60
        samples = run.data.number * (1 if stage.augments else run.config.data.views)
        planned.append(_stage(stage, samples, count, device, precision, share, own))
    shown = run.data.pictures
    facts = (recipe, count, name, device, precision, share, shown.size, shown.channels, run.data.number)
    return Plan(*facts, tuple(planned))


def prepared(
    kind: type[Kind],
    source: str,
    recipe: str,
    changes: dict[str, Any],
    budget: dict[str, Any] | None = None,
    pictures: int | None = None,
) -> Kind:
    """A run as it would begin with so many pictures, in no folder; other arguments as those of
    `caselli.run.training.begun`."""
    changes = {**changes, "data.source": source}
    own = {name.removeprefix("data."): value for name, value in changes.items() if name.startswith("data.")}
    data = dataclasses.replace(kind.open(override(DataConfig(), own), progress=True), planned=pictures)
    return kind(None, kind.configured(recipe, data, budget or {}, changes), data, None)


def _stage(
    stage: Stage, samples: int, count: int, device: Device, precision: str, share: float, hours: float | None
) -> StagePlan:
    config = stage.config
    if config.batch % (count * config.accumulate):
        raise UserError(
            f"a batch of {config.batch} in {config.accumulate} pieces was given for {count} devices",
            "as many samples for each were expected",
            f"give --{stage.training}.batch a multiple of {count * config.accumulate}",
        )
    own = config.batch // count
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        stage.run.folder = RunFolder(folder)
        task = stage.rehearsed().task()
    parameters = [p for p in task.parameters() if p.requires_grad]
    weights = _bytes(task.parameters()) + _bytes(task.buffers())
    gradients, count_of = _bytes(parameters), sum(p.numel() for p in parameters)
    cost = _cost(stage, task, dataclasses.replace(config, batch=own, float8=False), own)
    optimiser = cost.standing_bytes - 2 * weights - gradients
    blocks = [_bytes(block.parameters()) for block in task.blocks()]
    parts = count if config.parallel == "sharded" and blocks else 1
    standing = (-(-size // parts) for size in (weights, gradients, weights, optimiser))
    # a layer at work and the next one, whole, with a gradient; what is in no layer stays whole for the step
    whole = 3 * max(blocks) + 2 * (weights - sum(blocks)) if parts > 1 else 0
    memory = Memory(*standing, cost.peak_bytes - cost.standing_bytes + whole)
    seconds = cost.floor(device.rates(precision)) / share
    rate = 2 * device.rates(precision).macs_per_second
    used = cost.flops / seconds / rate
    facts = (stage.name, config, count_of, len(blocks), parts, samples, own, memory, cost)
    return StagePlan(*facts, seconds, used, hours)


def _cost(stage: Stage, task: Any, config: TrainingConfig, own: int) -> StepCost:
    """Costs of a rank's step, the average's update with it."""

    def begin() -> Any:
        fit = Fit(task, None, config, stage.run.machine)
        ema = Ema(task, config.ema)

        def step(batch: Any) -> None:
            fit.figures = fit.update(fit.task, batch)
            ema.update(fit.task, fit.step)

        return step

    one = stage.example(1)  # read here: a file cannot be read into tensors without numbers
    return step_cost(task, begin, lambda: of_shape(one, own))


def _bytes(tensors: Any) -> int:
    unique: dict[int, Tensor] = {id(t): t for t in tensors}
    return sum(t.nbytes for t in unique.values())


def advice(plan: Plan, stage: StagePlan) -> str:
    """A sentence on what to change where a stage does not fit into a device's memory; empty where it fits."""
    room = USABLE * plan.device.memory
    if stage.memory.total <= room:
        return ""
    words = f"the {stage.name} does not fit: {in_bytes(stage.memory.total)} of {in_bytes(room)} usable"
    option = f"--{'training.' + stage.name if len(plan.stages) > 1 else 'training'}"
    left = room - stage.memory.standing
    pieces = [n for n in range(2, stage.own + 1) if stage.own % n == 0 and n % stage.config.accumulate == 0]
    for number in pieces:
        if stage.memory.activations * stage.config.accumulate / number <= 0.95 * left:
            return f"{words}; {option}.accumulate {number} makes it fit, at the same batch"
    if left <= 0:
        alone = f"{words}; weights, gradients and averages alone take {in_bytes(stage.memory.standing)}"
        can_share = stage.blocks and stage.parts == 1 and plan.devices > 1
        return alone + (f": {option}.parallel sharded shares them out" if can_share else "")
    again = f", {option}.recompute true" if stage.blocks and not stage.config.recompute else ""
    return f"{words}; a smaller {option}.batch{again}, or more devices, is needed"


def words(plan: Plan) -> list[str]:
    """The plan as lines to be read."""
    device = f"{plan.devices} × {plan.device_name}" if plan.device_name != CPU else "this machine's processor"
    rate = 2 * plan.device.rates(plan.precision).macs_per_second
    lines = [
        f"recipe {plan.recipe} on {device}, {plan.precision}: {in_thousands(plan.pictures)} pictures of "
        f"{plan.channels}×{plan.size}×{plan.size}",
        f"computed, not measured, at {rate / TERA:,.3g} TFLOP/s and {in_bytes(plan.device.bandwidth)}/s a "
        f"device; assumed is {plan.share:.0%} of the pace that these allow",
    ]
    for stage in plan.stages:
        lines += ["", *_stage_words(plan, stage)]
    lines += [f"! {line}" for line in (advice(plan, stage) for stage in plan.stages) if line]
    return lines


def _stage_words(plan: Plan, stage: StagePlan) -> list[str]:
    config, memory = stage.config, stage.memory
    total = stage.steps * stage.seconds / 3600
    of = "" if stage.hours is None else f" (the recipe has {config.steps:,})"
    once = stage.samples / stage.samples_per_second / 3600
    kept = stage.parts * (memory.weights + memory.average + memory.optimiser)
    return [
        f"{stage.name}: {in_thousands(stage.parameters)} parameters, batch {config.batch}, "
        f"{stage.own} a rank",
        f"  memory a rank: {in_bytes(memory.total)} of {in_bytes(plan.device.memory)} ({memory.words()})",
        f"  a step: {stage.cost.flops / TERA:.3g} TFLOP a rank in {stage.seconds:.3g} s, "
        f"{stage.rate_share:.0%} of the rate: {stage.samples_per_second:,.0f} samples a second",
        f"  {stage.steps:,} steps{of} in {total:,.3g} hours; each of {in_thousands(stage.samples)} samples "
        f"is seen {stage.passes:,.3g} times, "
        + (f"they repeat after {once:,.3g} hours" if stage.passes > 1 else "none twice"),
        f"  a checkpoint: {in_bytes(kept)}",
    ]
