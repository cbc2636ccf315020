"""A run of dense prediction: killed and resumed bit-equal, reported, used from the command line."""

from __future__ import annotations

import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from caselli.cli import main
from caselli.errors import UserError
from caselli.run import RunFolder, train
from caselli.segmentation import load_segmenter
from tests.chaos.forked import killed_when
from tests.chaos.forked import run as run_command
from tests.test_segmentation import write

pytestmark = pytest.mark.drawn

OPTIONS = [
    "--steps",
    "12",
    "--training.batch",
    "4",
    "--training.checkpoint_steps",
    "3",
    "--precision",
    "float32",
]
TINY = ["--segmenter.width", "4", "--segmenter.depth", "1", "--data.flip", "true", "--data.workers", "0"]


def arguments(source, run):
    return ["train", str(source), "-o", str(run), "--recipe", "unet", *OPTIONS, *TINY, "--resume"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    source = write(folder / "set", count=20)
    assert run_command(arguments(source, folder / "run")).code == 0
    return source, folder / "run"


def test_killed_and_resumed_ends_in_the_same_bits(whole, tmp_path):
    source, reference = whole
    run = tmp_path / "run"
    assert killed_when(arguments(source, run), (run / "checkpoints/segmenter/last.pt").exists)
    assert not (run / "segmenter.json").exists(), "the run was too quick to be killed"
    assert run_command(arguments(source, run)).code == 0
    a, b = (load_file(folder / "segmenter.safetensors") for folder in (reference, run))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_the_run_holds(whole):
    _, run = whole
    for name in ("run.yaml", "results.json", "report.html", "segmenter.json", "pictures/segmentation.png"):
        assert (run / name).stat().st_size > 0, name
    page = (run / "report.html").read_text()
    assert "intersection over union" in page and "caselli segment" in page and "caselli sample" not in page


def test_what_was_not_drawn_is_drawn_when_the_run_goes_on(whole, tmp_path, monkeypatch):
    run = shutil.copytree(whole[1], tmp_path / "run")
    picture = run / "pictures" / "segmentation.png"
    RunFolder(run).drop_results("segmentation")
    picture.unlink()
    with monkeypatch.context() as killed:
        killed.setattr("caselli.run.segmentation.save_png", Mock(side_effect=KeyboardInterrupt))
        assert main(arguments(whole[0], run)) == 130
    assert main(arguments(whole[0], run)) == 0 and picture.exists()


def test_masks_of_pictures_of_any_size(whole, tmp_path):
    source, run = whole
    wide = tmp_path / "wide.png"
    Image.fromarray(np.zeros((21, 40, 3), dtype=np.uint8)).save(wide)
    assert (
        main(["segment", str(run), str(source / "pictures"), str(wide), "-o", str(tmp_path / "masks")]) == 0
    )
    mask = Image.open(tmp_path / "masks" / "wide.png")
    assert mask.size == (40, 21) and mask.mode == "P"
    assert np.asarray(mask).max() < len(load_segmenter(run).classes)
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 21


def test_mistakes(whole, tmp_path, capsys):
    source, run = whole
    with pytest.raises(UserError, match="holds a run already"):
        train(source, run, recipe="unet")
    with pytest.raises(UserError, match="a resumed run keeps its configuration"):
        train(source, run, resume=True, changes={"segmenter.width": 8})
    with pytest.raises(UserError, match="pictures/ and masks/"):
        train(tmp_path, tmp_path / "new", recipe="fcn")
    assert main(["segment", str(tmp_path), str(source), "-o", str(tmp_path / "masks")]) == 2
    assert "a folder with a trained run was expected" in capsys.readouterr().err
    assert main(["segment", str(run), str(tmp_path / "no.png"), "-o", str(tmp_path / "masks")]) == 2
