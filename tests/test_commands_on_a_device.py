"""Commands compute on the device of the process, from pictures to pictures, where that is not the CPU."""

from __future__ import annotations

import contextlib
import importlib
import shlex
from unittest import mock

import pytest

import caselli
from caselli.cli import main
from caselli.engine import rate
from tests.pictures import TINY, bars_and_stripes
from tests.pretend import NAME as DEVICE
from tests.pretend import on_the_device

MACHINE = importlib.import_module("caselli.engine.machine")  # the function of that name stands before it
RECIPES = {
    "tiny": TINY,
    "vae": {"model.width": 4, "training.batch": 8, "reading.seconds": 0.0},
    "gan": {"model.width": 4, "model.count": 4, "training.batch": 8, "reading.seconds": 0.0},
}
FEW = {"precision": "float32", "data.workers": 0, "reading.judged": 0}

COMMANDS = {
    "tiny": (
        "sample RUN -n 2 -o OUT.png",
        "sample RUN -n 1 --size 32x32 -o OUT.png",
        "score RUN SET --most 3",
        "reconstruct RUN PICTURE -o OUT.png",
        "complete RUN PICTURE --count 2 -o OUT.png",
        "interpolate RUN PICTURE PICTURE --smooth 0.5 -o OUT.png",
        "variations RUN PICTURE --count 2 -o OUT.png",
        "encode RUN SET -o OUT.safetensors",
        "residual RUN SET --steps 2",
        "evaluate RUN SET --captions --split all --among 3 --samples 1",
    ),
    "vae": (
        "sample RUN -n 2 -o OUT.png",
        "score RUN SET --most 3",
        "reconstruct RUN PICTURE -o OUT.png",
        "evaluate RUN SET",
    ),
    "gan": ("sample RUN -n 2 -o OUT.png", "evaluate RUN SET"),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """With captions, which priors are then told."""
    folder = bars_and_stripes(tmp_path_factory.mktemp("pictures") / "bars", count=16)
    named = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = [f"{name},bar {number}" for number, name in enumerate(named)]
    (folder / "captions.csv").write_text("\n".join(["file,caption", *rows]))
    return folder


@contextlib.contextmanager
def machine_of_the_device():
    """The device is the one of this process; it has no autocast."""
    with (
        mock.patch.object(MACHINE, "default_device", lambda: DEVICE),
        mock.patch.object(MACHINE, "_bfloat16_units", lambda device: ""),
        mock.patch.dict(rate.SIZES, {DEVICE: (64, 1)}),
    ):
        yield


@pytest.mark.parametrize("recipe", COMMANDS)
@on_the_device
def test_from_pictures_to_pictures(recipe, pictures, tmp_path, capsys):
    run, picture = tmp_path / "run", sorted(pictures.rglob("*.png"))[0]
    changes = RECIPES[recipe] | FEW
    with machine_of_the_device():
        caselli.train(pictures, run, recipe=recipe, steps=2, changes=changes, progress=False)
        assert f"; {DEVICE}, float32" in capsys.readouterr().err
        for number, command in enumerate(COMMANDS[recipe]):
            words = {"RUN": run, "SET": pictures, "PICTURE": picture, "OUT": tmp_path / f"{number}"}
            for name, value in words.items():
                command = command.replace(name, shlex.quote(str(value)))
            assert main(shlex.split(command)) == 0, command
