"""What the comparison of resamplers measures, and its command."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

from caselli.anatomy import cost
from caselli.cli import main
from caselli.compare.resamplers import resamplers
from caselli.compare.resampling import (
    WEIGHTLESS,
    TinyAutoencoder,
    checkerboard,
    fresh_checkerboard,
    milliseconds,
    shift_consistency,
    trained_autoencoder,
    weightless_psnr,
)
from caselli.compare.segmenters import networks
from caselli.data import generator
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS
from tests.pictures import bars_and_stripes
from tests.test_segmentation import write


def smooth(count=8, size=32):
    """Pictures of a few low frequencies."""
    noise = torch.randn(count, 1, 4, 4, generator=generator("smooth"))
    return nn.functional.interpolate(noise, size=(size, size), mode="bicubic").tanh()


@pytest.mark.parametrize("period", [2, 3])
def test_a_pattern_of_known_size_is_found(period):
    even = torch.full((1, 2, 48, 48), 3.0)
    pattern = torch.randn(2, period, period, dtype=torch.float64)
    pattern -= pattern.mean((1, 2), keepdim=True)
    times = 48 // period
    response = even + pattern.repeat(1, times, times)[None].float()
    found = checkerboard(response, period) ** 2 * response[:, :, 8:-8, 8:-8].square().mean()
    # a border of eight pixels begins at another phase, the pattern stays the same
    assert found.item() == pytest.approx(pattern.square().mean().item(), rel=0.15)
    assert checkerboard(even, period) == 0


def test_methods_that_treat_every_pixel_alike_start_without_a_pattern():
    found = {name: fresh_checkerboard(name, starts=2) for name in UPSAMPLERS}
    even = {name for name, share in found.items() if share < 1e-4}
    assert even >= {"nearest", "bilinear", "bicubic", "area", "pixel_shuffle", "carafe", "dysample"}
    assert found["transposed"] > 0.5 and found["unpooling"] > 0.1


def test_blurring_makes_a_network_consistent_under_shifts():
    pictures = smooth() + 0.2 * torch.randn(8, 1, 32, 32, generator=generator("noise"))
    found = {}
    for name, pool in {"blur": nn.AvgPool2d(5, 2, 2), "every second": nn.AvgPool2d(1, 2)}.items():
        found[name] = shift_consistency(
            nn.Sequential(pool, nn.Upsample(scale_factor=2, mode="bilinear")), pictures
        )
    assert found["blur"] > found["every second"] + 5
    assert shift_consistency(nn.Conv2d(1, 1, 3, padding=1), pictures) > 80


def test_smooth_pictures_are_enlarged_better_by_smoother_methods():
    found = {name: weightless_psnr(name, smooth()) for name in WEIGHTLESS}
    assert found["bicubic"] > found["bilinear"] > found["nearest"]
    assert found["nearest"] == found["area"]


def test_training_improves_and_is_the_same_again():
    pictures = smooth(16)
    first, again = (trained_autoencoder(pictures, steps=12, batch=4) for _ in range(2))
    fresh = trained_autoencoder(pictures, steps=1, batch=4)
    error = {n: (n(pictures) - pictures).square().mean().item() for n in (first, again, fresh)}
    assert error[first] == error[again] < error[fresh]


@pytest.mark.parametrize(("way", "table"), [("up", UPSAMPLERS), ("down", DOWNSAMPLERS)])
def test_every_resampler_can_be_measured(way, table):
    for name in table:
        network = TinyAutoencoder(1, **{way: name}).eval()
        module, shape = network.resampler(way, (32, 32))
        with torch.no_grad():
            y = module(torch.zeros(1, *shape))
        assert y.shape[2:] == ((32, 32) if way == "up" else (16, 16)), name
        assert cost(module, shape).macs > 0 and milliseconds(module, (2, *shape)) > 0, name


def test_rows():
    assert len(resamplers([])) == len(UPSAMPLERS) + len(DOWNSAMPLERS)
    assert [name for name, _ in networks([], 8)][-3:] == ["FCN-32s", "FCN-16s", "FCN-8s"]
    assert [name for name, _ in networks(["blur"], 8)] == ["U-Net, blur (down)"]


def test_command_on_pictures(tmp_path, capsys):
    source = bars_and_stripes(tmp_path / "pictures", count=24, size=32)
    out = tmp_path / "out"
    words = ["compare", "resamplers", str(source), "-o", str(out), "--steps", "2"]
    assert main([*words, "--resamplers", "bilinear,blur"]) == 0
    table = capsys.readouterr().out
    assert (out / "table.md").read_text() == table and len(table.splitlines()) == 4
    assert Image.open(out / "pictures.png").height > 300


def test_command_on_masks(tmp_path, capsys):
    source = write(tmp_path / "set", count=20)
    words = ["compare", "segmenters", str(source), "-o", str(tmp_path / "out")]
    assert main([*words, "--steps", "2", "--width", "4", "--resamplers", "nearest"]) == 0
    assert "U-Net, nearest (up)" in capsys.readouterr().out
    assert (tmp_path / "out" / "pictures.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resamplers", "biliner"], "did you mean bilinear"),
        (["--task", "segmentation"], "caselli compare segmenters"),
        (["--steps", "1"], "at least 2"),
        (["--width", "8"], "caselli compare segmenters"),
        (["--size", "33"], "a multiple of 2"),
    ],
)
def test_mistakes(tmp_path, capsys, words, message):
    source = bars_and_stripes(tmp_path / "pictures", count=24, size=32)
    assert main(["compare", "resamplers", str(source), "-o", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
