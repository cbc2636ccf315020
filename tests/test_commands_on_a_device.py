"""Commands compute on the device of the process, from pictures to pictures, where that is not the CPU."""

from __future__ import annotations

import importlib
import shlex

import pytest

import caselli
from caselli.cli import main
from caselli.engine import rate
from tests.pictures import TINY, bars_and_stripes
from tests.pretend import pretended

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


@pytest.fixture
def device(monkeypatch):
    with pretended() as name:
        monkeypatch.setattr(MACHINE, "default_device", lambda: name)
        monkeypatch.setattr(MACHINE, "_bfloat16_units", lambda device: "")  # no autocast on the device
        monkeypatch.setitem(rate.SIZES, name, (64, 1))
        yield name


@pytest.mark.parametrize("recipe", COMMANDS)
def test_from_pictures_to_pictures(recipe, pictures, device, tmp_path, capsys):
    run, picture = tmp_path / "run", sorted(pictures.rglob("*.png"))[0]
    changes = RECIPES[recipe] | FEW
    given = {"recipe": recipe, "steps": 2, "changes": changes, "progress": False}
    caselli.train(pictures, run, **given)
    assert f"; {device}, float32" in capsys.readouterr().err
    for number, command in enumerate(COMMANDS[recipe]):
        words = {"RUN": run, "SET": pictures, "PICTURE": picture, "OUT": tmp_path / f"{number}"}
        for name, value in words.items():
            command = command.replace(name, shlex.quote(str(value)))
        assert main(shlex.split(command)) == 0, command
