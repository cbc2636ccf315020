"""`caselli compare codecs`: points, curves, and the command."""

from __future__ import annotations

import pytest
import torch

from caselli.cli import main
from caselli.evaluate import codecs
from caselli.evaluate.codecs import Point, at_least, curve, file_points, lossless_sizes
from caselli.evaluate.perceptual import multi_scale_distance
from tests.test_codec import codec_of, make_run, smooth

pytest.importorskip("constriction")


def point(name, size, value):
    return Point(name, f"{size}", size, value, value, -value, torch.zeros(0, 1, 1, 1))


def test_more_bytes_are_better_pictures():
    points = file_points("JPEG", torch.stack(smooth(3, height=32, width=32)), multi_scale_distance)
    whole = [p for p in points if "1/" not in p.setting]
    assert [p.bytes for p in whole] == sorted(p.bytes for p in whole)
    assert whole[-1].psnr > whole[0].psnr + 3 and whole[-1].distance < whole[0].distance
    assert len(points) == 3 * len(whole) and points[-1].pictures.shape == (3, 3, 32, 32)


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
    assert [p.bytes for p in curve(points, "psnr", lambda a, b: a > b)] == [10, 20, 40]
    assert [p.bytes for p in curve(points, "distance", lambda a, b: a < b)] == [10, 20, 40]


def test_without_loss(tmp_path):
    codec = codec_of(make_run(tmp_path))
    found = {row.codec: row.bytes for row in lossless_sizes({"ours": codec}, torch.stack(smooth(3)))}
    own = [name for name in found if name.startswith("ours")]
    assert len(own) == 2 and found["PNG, optimised"] <= found["PNG, as Pillow's optimize writes it"]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codecs, "QUALITIES", {"JPEG": (5, 50), "WebP": (5, 50)})
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
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"codecs.md", "codecs.png", "pictures.png"}
    assert main([*words[:4], str(run), "-o", str(tmp_path / "two")]) == 2
    assert "two runs of one name" in capsys.readouterr().err
