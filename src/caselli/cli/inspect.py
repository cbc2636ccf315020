"""`caselli inspect MODEL [--input 3x256x256] [--at LAYER] [--measure] [-o page.html]`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from caselli.cli.output import free
from caselli.errors import UnknownName, UserError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from caselli.anatomy import Inspection, MachineRates
    from caselli.report import Page, Timing

MOST_SIDE = 1 << 16
"""Largest size of an axis of the input."""


@dataclasses.dataclass(frozen=True)
class _Subject:
    """The network that is inspected."""

    module: nn.Module
    shape: tuple[int, ...]
    """The input that it is looked at with unless another is given."""
    trained: dict[nn.Module, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """All that a stage of a run trains, with the inputs."""
    stage: str = ""
    """That stage's name in the log."""
    remarks: tuple[str, ...] = ()
    """Sentences on what a run can learn from its pictures."""


def command(
    model: str,
    *,
    input: str | None = None,
    at: str | None = None,
    part: str | None = None,
    original: bool = False,
    rate: float | None = None,
    bandwidth: float | None = None,
    measure: bool = False,
    picture: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Tells what each layer of a network sees and costs, without running it on data.

    Arguments:
        model: a run, a network of `caselli list network`, or package.module:callable.
        input: CxHxW of one picture (3x224x224; a run's own).
        at: layer whose receptive field is looked at closely.
        part: part of a run: encoder (a critic too) or decoder (a generator too) (encoder).
        original: take a network of the zoo as its authors had it.
        rate: the machine's multiply-accumulates, in 10⁹ a second.
        bandwidth: the machine's memory, in 10⁹ bytes a second.
        measure: measure this machine, and run the network.
        picture: picture file that the field is drawn over (letters).
        out: PAGE.html, a page with the field drawn.
    """
    stated = [value for value in (rate, bandwidth) if value is not None]
    if len(stated) == 1 or any(value <= 0 for value in stated):
        raise UserError("half a machine was given", "positive --rate and --bandwidth were expected")
    path = None if out is None else free(out, overwrite, (".html", ".htm"))

    from caselli import anatomy
    from caselli.private import SHAPES_LOG

    logging.getLogger(SHAPES_LOG).setLevel(logging.CRITICAL)  # the mistake is said below
    real = measure or path is not None  # only then are weights needed
    subject = _subject(model, original, part, real)
    found = anatomy.inspect(subject.module, _shape(input) or subject.shape, at)
    print(found.table())
    for remark in subject.remarks:
        print(remark)
    machine = _machine(rate, bandwidth, measure)
    timings = () if machine is None else _timings(subject, found, machine, model, measure)
    for timing in timings:
        what, floor, measured, share = timing.words()
        tail = f", took {measured}: {share} of the limit" if measured else ""
        print(f"{what} on {machine.name}: at least {floor}{tail}")
    if path is not None:
        _page(subject, found, model, picture, machine, timings).write(path)
        print(f"look at {path}", file=sys.stderr)


def _machine(rate: float | None, bandwidth: float | None, measure: bool) -> MachineRates | None:
    from caselli.anatomy import MachineRates, measured_machine

    if rate is not None and bandwidth is not None:
        return MachineRates(1e9 * rate, 1e9 * bandwidth, "the machine given")
    return measured_machine() if measure else None


def _timings(
    subject: _Subject, found: Inspection, machine: MachineRates, model: str, measure: bool
) -> tuple[Timing, ...]:
    """Floor times of a forward pass and a training step, and of what a run's stage trained."""
    import torch

    from caselli.anatomy import cost, forward_seconds
    from caselli.report import Timing

    seconds = forward_seconds(subject.module, torch.rand(1, *found.input_shape)) if measure else None
    timings = [
        Timing("a picture forward", found.floor(machine), seconds),
        Timing("a picture forward and backward", found.floor(machine, training=True)),
    ]
    if subject.trained:
        machine, how = _machine_of_run(Path(model), machine, measure)
        floors = [cost(part, shape).floor(machine, training=True) for part, shape in subject.trained.items()]
        what = f"a picture in the training of this run's {subject.stage}{how}"
        timings.append(Timing(what, sum(floors), _trained_seconds(model, subject.stage)))
    return tuple(timings)


def _machine_of_run(run: Path, machine: MachineRates, measure: bool) -> tuple[MachineRates, str]:
    """The machine in the precision that the run was trained in, and that precision in words."""
    import torch

    from caselli.anatomy import measured_machine
    from caselli.run import RunFolder

    if not measure or RunFolder(run).describe()["machine"]["precision"] != "bfloat16":
        return machine, ""
    return measured_machine(dtype=torch.bfloat16), " (bfloat16)"


def _trained_seconds(run: str, stage: str) -> float | None:
    """Seconds that a picture took in the training of a run, as its log has it."""
    from caselli.report import read_run

    curve = read_run(Path(run)).curves.get((stage, "train", "samples_per_second"))
    return None if curve is None else 1 / sorted(curve.values)[len(curve.values) // 2]


def _subject(name: str, original: bool, part: str | None, real: bool) -> _Subject:
    import torch

    from caselli.zoo import NETWORKS, Convention, input_shape

    if Path(name).is_dir():
        return _of_run(Path(name), part)
    if ":" in name:
        return _Subject(_users(name), (3, 224, 224))
    if name not in NETWORKS:
        raise UnknownName("model", name, NETWORKS)
    convention = Convention.ORIGINAL if original else Convention.TORCHVISION
    with torch.random.fork_rng(), torch.device("cpu" if real else "meta"):
        torch.manual_seed(0)
        return _Subject(NETWORKS[name](convention=convention).eval(), input_shape(name))


def _of_run(run: Path, name: str | None) -> _Subject:
    """A part of what a run loads into; its first unless one is named."""
    from caselli.run import RunFolder, load

    model = load(run)
    count = RunFolder(run).results().get("data", {}).get("count", 0)
    parts = model.parts()
    name = next(iter(parts)) if name is None else name
    if name not in parts:
        raise UnknownName("part", name, parts)
    trained = {part.network: part.shape for part in parts.values()}
    remarks = tuple(model.remarks(count)) if count else ()
    return _Subject(parts[name].network, parts[name].shape, trained, model.stage, remarks)


def _users(name: str) -> nn.Module:
    """The module of `package.module:callable`, the user's own code, found from the current folder too."""
    from torch import nn

    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the user's own code runs here
        raise UserError(
            f"{name} cannot be imported ({first_line(error)})", "package.module:callable was expected"
        ) from None
    finally:
        sys.path.pop(0)
    try:
        made = found() if inspect.isclass(found) or not isinstance(found, nn.Module) else found
        if isinstance(made, nn.Module):
            return made.eval()
    except Exception as error:
        raise UserError(
            f"{name} cannot be called without arguments ({first_line(error)})",
            "a class, a function that makes a module, or a module was expected",
            "write a function that calls it with yours, and name that",
        ) from None
    raise UserError(f"{name} gives a {type(made).__name__}", "a torch.nn.Module was expected")


def _shape(text: str | None) -> tuple[int, ...]:
    """The sizes named; none if nothing is."""
    if text is None:
        return ()
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", text):
        raise UserError(f"input {text!r} was given", "channels and sizes such as 3x256x256 were expected")
    sizes = tuple(map(int, text.split("x")))
    if max(sizes) > MOST_SIDE:
        raise UserError(f"input {text!r} was given", f"at most {MOST_SIDE:,} of anything were expected")
    return sizes


def _page(
    subject: _Subject,
    found: Inspection,
    model: str,
    picture_file: str | None,
    machine: MachineRates | None,
    timings: tuple[Timing, ...],
) -> Page:
    """The page, with the fields over a picture and the effective field of the middle."""
    from caselli.anatomy import effective_field
    from caselli.report import inspection_page

    picture = effective = None
    if len(found.input_shape) == 3 and found.at.axes:
        picture = _picture(picture_file, found.input_shape)
        shown = picture if len(picture) == found.input_shape[0] else picture.mean(0, keepdim=True)
        x = shown.expand(1, *found.input_shape)
        effective = effective_field(subject.module, x, found.at.layer or None, found.at.position)
    return inspection_page(found, model, picture, effective, machine, timings)


def _picture(name: str | None, shape: tuple[int, ...]) -> Tensor:
    """The picture asked for, or letters, in [−1, 1], at the size of the input."""
    import torch.nn.functional as F

    from caselli import data
    from caselli.data import draw_scenes, whole_picture

    channels, side = (3 if shape[0] == 3 else 1), max(*shape[1:], 16)
    if name is None:
        pixels = draw_scenes(1, side, 0, "inspect").pictures[0].expand(channels, -1, -1)
    else:
        pixels = data.pixels.centre_square(whole_picture(name, channels))
    return F.interpolate(data.to_float(pixels)[None], size=shape[1:], mode="area")[0]
