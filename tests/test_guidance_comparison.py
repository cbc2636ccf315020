"""Guidance against diversity: the measures, and the command."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from caselli.cli import main
from caselli.compare.guidance import Guidance, label_spread
from caselli.errors import UserError
from caselli.run import train
from tests.pictures import TINY, bars_and_stripes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    source = bars_and_stripes(folder / "pictures", count=400)
    return source, train(source, folder / "run", recipe="tiny", steps=3, changes=TINY, progress=False)


def test_label_spread_is_the_distance_of_pairs():
    features, labels = torch.randn(30, 5), torch.arange(30) % 4
    squares = torch.cdist(features.double(), features.double()).square()
    same = (labels[:, None] == labels) & ~torch.eye(30, dtype=torch.bool)
    assert label_spread(features, labels) == pytest.approx(squares[same].mean().sqrt().item())


def test_the_command_writes_curve_table_and_samples(trained, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["compare", "guidance", str(trained[1]), str(trained[0]), "-o", str(out)]
    assert main([*words, "--strengths", "1,3", "--each", "3", "--classifier-steps", "2"]) == 0
    table = (out / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["1", "3"]
    assert (out / "plot.png").exists() and (out / "pictures.png").exists()
    assert main([*words, "--overwrite", "--strengths", "1,b"]) == 2
    assert "a number, or several" in capsys.readouterr().err


def test_labels_are_needed(trained, tmp_path):
    for number in range(20):
        picture = Image.new("L", (16, 16), 10 * number)
        (tmp_path / "plain").mkdir(exist_ok=True)
        picture.save(tmp_path / "plain" / f"{number}.png")
    with pytest.raises(UserError, match="without labels"):
        Guidance(Guidance.Settings(str(trained[1]), str(tmp_path / "plain"))).subjects()
