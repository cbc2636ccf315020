"""Guidance against diversity: the measures, and the command."""

from __future__ import annotations

import pytest
import torch

from caselli.cli import main
from caselli.errors import UserError
from caselli.evaluate.guidance import guidance_curve, label_spread
from caselli.evaluate.reader import Reader
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
    words = ["compare", "guidance", str(trained[1]), str(trained[0]), "-o", str(tmp_path / "g.png")]
    assert main([*words, "--strengths", "1,3", "--each", "3", "--reader-steps", "2"]) == 0
    table = (tmp_path / "g.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["1", "3"]
    assert (tmp_path / "g.png").exists() and (tmp_path / "g-samples.png").exists()
    assert main([*words, "--overwrite", "--strengths", "1,b"]) == 2
    assert "numbers with commas" in capsys.readouterr().err


def test_labels_are_needed(trained):
    from caselli import data
    from caselli.model import load

    model, plain = load(trained[1]), data.Pictures.of("plain", torch.zeros(4, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match="without labels"):
        guidance_curve(model, Reader(1, 16, ("a", "b")), plain, [1.0])
