"""`caselli inspect MODEL [--input 3x256x256] [--at LAYER] [--measure] [-o page.html]`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from caselli.cli.parser import free, parser
from caselli.errors import UnknownName, UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from caselli.anatomy import Inspection, Machine
    from caselli.report import Page
    from caselli.report.inspection import Timing


@dataclasses.dataclass(frozen=True)
class _Subject:
    """What is inspected."""

    module: nn.Module
    shape: tuple[int, ...]
    """The input that it is looked at with unless another is given."""
    trained: dict[nn.Module, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """All that a stage of a run trains, with the inputs."""
    stage: str = ""
    """That stage's name in the log."""


def run(arguments: list[str]) -> None:
    """Parses, inspects, prints the table, writes the page."""
    options = parser(
        "inspect", "Tells what each layer of a network sees and costs, without running it on data."
    )
    options.add_argument(
        "model", metavar="MODEL", help="a run, a network of the zoo, or package.module:callable"
    )
    options.add_argument("--input", default=None, help="CxHxW of one picture (3x224x224; a run's own)")
    options.add_argument("--at", metavar="LAYER", help="the layer whose field is looked at closely")
    options.add_argument(
        "--part",
        default="encoder",
        help="of a run: encoder (a critic too) or decoder (a generator too) (encoder)",
    )
    options.add_argument("--original", action="store_true", help="a zoo network as its authors had it")
    options.add_argument("--rate", type=float, help="the machine's multiply-accumulates, in 10⁹ a second")
    options.add_argument("--bandwidth", type=float, help="the machine's memory, in 10⁹ bytes a second")
    options.add_argument("--measure", action="store_true", help="measure this machine, and run the network")
    options.add_argument("--picture", metavar="FILE", help="what the field is drawn over (letters)")
    options.add_argument("-o", "--out", metavar="PAGE", help="write a page, PAGE.html, with the field drawn")
    options.add_argument("--overwrite", action="store_true", help="replace PAGE if it is there")
    given = options.parse_args(arguments)
    stated = [value for value in (given.rate, given.bandwidth) if value is not None]
    if len(stated) == 1 or any(value <= 0 for value in stated):
        raise UserError("half a machine was given", "positive --rate and --bandwidth were expected")
    out = None if given.out is None else free(given.out, given.overwrite)

    from caselli import anatomy

    real = given.measure or out is not None  # only then are weights needed
    subject = _subject(given.model, given.original, given.part, real)
    found = anatomy.inspect(subject.module, _shape(given.input) or subject.shape, given.at)
    print(found.table())
    machine = _machine(given)
    timings = () if machine is None else _timings(subject, found, machine, given)
    for timing in timings:
        what, floor, measured, share = timing.words()
        tail = f", took {measured}: {share} of the limit" if measured else ""
        print(f"{what} on {machine.name}: at least {floor}{tail}")
    if out is not None:
        _page(subject, found, given, machine, timings).write(out)
        print(f"look at {out}", file=sys.stderr)


def _machine(given) -> Machine | None:
    from caselli.anatomy import Machine, measured_machine

    if given.rate is not None:
        return Machine(1e9 * given.rate, 1e9 * given.bandwidth, "the machine given")
    return measured_machine() if given.measure else None


def _timings(subject: _Subject, found: Inspection, machine: Machine, given) -> tuple[Timing, ...]:
    """Floor times of a forward pass and a training step, and of what a run's stage trained."""
    import torch

    from caselli.anatomy import cost, forward_seconds
    from caselli.report.inspection import Timing

    seconds = forward_seconds(subject.module, torch.rand(1, *found.input_shape)) if given.measure else None
    timings = [
        Timing("a picture forward", found.floor(machine), seconds),
        Timing("a picture forward and backward", found.floor(machine, training=True)),
    ]
    if subject.trained:
        machine, how = _machine_of_run(Path(given.model), machine, given.measure)
        floors = [cost(part, shape).floor(machine, training=True) for part, shape in subject.trained.items()]
        what = f"a picture in the training of this run's {subject.stage}{how}"
        timings.append(Timing(what, sum(floors), _trained_seconds(given.model, subject.stage)))
    return tuple(timings)


def _machine_of_run(run: Path, machine: Machine, measure: bool) -> tuple[Machine, str]:
    """The machine in the precision that the run was trained in, and that precision in words."""
    import torch

    from caselli.anatomy import measured_machine
    from caselli.run import RunFolder

    if not measure or RunFolder(run).describe()["machine"]["precision"] != "bfloat16":
        return machine, ""
    return measured_machine(dtype=torch.bfloat16), " (bfloat16)"


def _trained_seconds(run: str, stage: str) -> float | None:
    """Seconds that a picture took in the training of a run, as its log has it."""
    from caselli.report.folder import read

    curve = read(Path(run)).curves.get((stage, "train", "samples_per_second"))
    return None if curve is None else 1 / sorted(curve.values)[len(curve.values) // 2]


def _subject(name: str, original: bool, part: str, real: bool) -> _Subject:
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


def _of_run(run: Path, part: str) -> _Subject:
    """A run's segmenter, or a part of its tokenizer or of its one-stage family."""
    if (run / "family.json").exists():
        return _of_family(run, part)
    if (run / "segmenter.json").exists():
        from caselli.segmentation import load_segmenter

        segmenter = load_segmenter(run)
        shape = (segmenter.config.channels, segmenter.size, segmenter.size)
        return _Subject(segmenter.network, shape, {segmenter.network: shape}, "segmenter")
    from caselli.model import load_tokenizer

    tokenizer, size = load_tokenizer(run)
    config, grid = tokenizer.config, tokenizer.architecture.latent_shape(tokenizer.config, (size, size))
    tokenizer.eval()
    parts = {
        "encoder": (tokenizer.encoder, (config.channels, size, size)),
        "decoder": (tokenizer.decoder, (config.latent_width, *grid)),
    }
    return _part(parts, part, "tokenizer")


def _of_family(run: Path, part: str) -> _Subject:
    """The network of a one-stage family that reads pictures, or the one that makes them."""
    from torch import nn

    from caselli.family import load_family
    from caselli.family.network import Decoder, Encoder

    model, parts = load_family(run), {}
    for module in model.family.modules():
        if isinstance(module, Encoder):
            parts["encoder"] = (module, (model.channels, model.size, model.size))
        if isinstance(module, Decoder):
            first = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
            parts["decoder"] = (module, (first.in_features,))
    if not parts:
        raise UserError(
            f"the run of a {model.name} family was given",
            "networks between pictures and latents were expected",
            "vae and gan have them",
        )
    return _part(parts, part, model.name)


def _part(parts: dict[str, tuple[nn.Module, tuple[int, ...]]], name: str, stage: str) -> _Subject:
    if name not in parts:
        raise UnknownName("part", name, parts)
    return _Subject(*parts[name], dict(parts.values()), stage)


def _users(name: str) -> nn.Module:
    """What `package.module:callable` gives; the user's own code, found from the current folder too."""
    from torch import nn

    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{name} cannot be imported ({error})", "package.module:callable was expected"
        ) from None
    finally:
        sys.path.pop(0)
    made = found() if inspect.isclass(found) or not isinstance(found, nn.Module) else found
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} gives a {type(made).__name__}", "a torch.nn.Module was expected")
    return made.eval()


def _shape(text: str | None) -> tuple[int, ...]:
    """The sizes named; none if nothing is."""
    if text is None:
        return ()
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", text):
        raise UserError(f"input {text!r} was given", "channels and sizes such as 3x256x256 were expected")
    return tuple(map(int, text.split("x")))


def _page(subject: _Subject, found: Inspection, given, machine: Machine | None, timings) -> Page:
    """The page, with the fields over a picture and the effective field of the middle."""
    from caselli.anatomy import effective_field
    from caselli.report.inspection import inspection_page

    picture = effective = None
    if len(found.input_shape) == 3 and found.at.axes:
        picture = _picture(given.picture, found.input_shape)
        shown = picture if len(picture) == found.input_shape[0] else picture.mean(0, keepdim=True)
        x = shown.expand(1, *found.input_shape)
        effective = effective_field(subject.module, x, found.at.layer or None, found.at.position)
    return inspection_page(found, given.model, picture, effective, machine, timings)


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
