"""`caselli compare codecs`: points, curves, and the command."""

from __future__ import annotations

import pytest
import torch

from caselli.cli import main
from caselli.compare import codec_points
from caselli.compare.codec_points import (
    Originals,
    Row,
    at_least,
    curve,
    exact_rows,
    file_row,
    lossless_row,
)
from caselli.evaluate.perceptual import multi_scale_distance
from tests.test_codec import codec_of, make_run, smooth

pytest.importorskip("constriction")


def point(name, size, value):
    return Row(name, f"{size}", size, value, value, -value, trained=False)


def originals(*pictures):
    return Originals(torch.stack(pictures), multi_scale_distance, [0, 1])


def test_more_bytes_are_better_pictures():
    given = originals(*smooth(3, height=32, width=32))
    whole = [file_row(given, "JPEG", quality, 1) for quality in codec_points.QUALITIES["JPEG"]]
    assert [p.bytes for p in whole] == sorted(p.bytes for p in whole)
    assert whole[-1].psnr > whole[0].psnr + 3 and whole[-1].distance < whole[0].distance
    half = file_row(given, "JPEG", 80, 2)
    assert half.setting == "quality 80, 1/2 size" and half.shown.shape == (2, 3, 32, 32)
    assert half.bytes < whole[-1].bytes and half.psnr < whole[-1].psnr


def test_equal_bytes_are_never_fewer():
    points = [
        point("a", 50, 1),
        point("a", 101, 2),
        point("a", 109, 3),
        point("a", 111, 9),
        point("b", 400, 1),
    ]
    assert [(p.codec, p.bytes) for p in at_least(points, 100)] == [("a", 109), ("b", 400)]
    assert [p.bytes for p in at_least(points, 200)] == [400]


def test_a_curve_leaves_out_what_another_setting_beats():
    points = [point("a", 10, 1), point("a", 20, 3), point("a", 30, 2), point("a", 40, 4)]
    assert [p.bytes for p in curve(points, "psnr")] == [10, 20, 40]
    assert [p.bytes for p in curve(points, "distance")] == [10, 20, 40]


def test_without_loss(tmp_path):
    codec = codec_of(make_run(tmp_path))
    given = originals(*smooth(3))
    assert len({row.codec for row in exact_rows(given, "ours", codec).values()}) == 2
    found = {name: lossless_row(given, name).bytes for name in codec_points.LOSSLESS}
    assert found["PNG, optimised"] <= found["PNG, as Pillow's optimize writes it"]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codec_points, "QUALITIES", {"JPEG": (5, 50), "WebP": (5, 50)})
    run, other, pictures = (tmp_path / name for name in ("run", "other", "pictures"))
    make_run(run)
    make_run(other, seed=1)
    (other / "residual.json").unlink()
    from caselli.codec import image_of

    pictures.mkdir()
    for number, picture in enumerate(smooth(6, height=16, width=16)):
        image_of(picture.permute(1, 2, 0).numpy()).save(pictures / f"{number}.png")
    words = [
        "compare",
        "codecs",
        str(pictures),
        str(run),
        str(other),
        "--split",
        "all",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "run, exact, one archive" in said and "other, exact" not in said and "a file each" in said
    assert {"table.md", "plot.png", "pictures.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert main([*words[:4], str(run), "-o", str(tmp_path / "two")]) == 2
    assert "two runs of one name" in capsys.readouterr().err
