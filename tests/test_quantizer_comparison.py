"""Every quantizer trains with the tiny recipe; the comparison of all is written, resumed, refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from caselli.cli import main
from caselli.compare import compare
from caselli.compare.quantizers import Quantizers
from caselli.compare.rate import spread
from caselli.errors import UserError
from caselli.evaluate.model import evaluate_model
from caselli.evaluate.perceptual import multi_scale_distance
from caselli.model import load
from caselli.quantizer import QUANTIZERS
from caselli.run import train
from caselli.tokenizer.loss import multi_scale_loss
from tests.conformance.cases_comparison import TINY as QUICK
from tests.pictures import bars_and_stripes

EMOJI = Path(__file__).parents[2] / "shared" / "data" / "emoji64"


def quantizers(source, *names, steps=2):
    return Quantizers(Quantizers.Settings(str(source), names, steps=steps, prior_steps=2), QUICK)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    source = bars_and_stripes(folder / "pictures")
    out = folder / "comparison"
    return source, out, compare(quantizers(source, "vq", "residual", "identity"), out)


def test_a_prior_tells_how_easy_codes_are_to_learn(compared):
    bits = {row.quantizer: row.prior_bits for row in compared[2]}
    assert bits["vq"] > 0 and bits["residual"] > 0 and bits["identity"] is None


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_quantizer_trains_with_the_tiny_recipe(name, tmp_path):
    """On pictures of glyphs' size; losses are finite, and what was trained can be loaded and judged."""
    source = bars_and_stripes(tmp_path / "pictures", count=24, size=32)
    chosen = {"tokenizer.quantizer": name, "tokenizer.quantizer_options": QUANTIZERS[name].options_for(4)}
    run = train(
        source,
        tmp_path / "run",
        recipe="tiny",
        stage="tokenizer",
        steps=3,
        changes=QUICK | chosen,
        progress=False,
    )
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses and all(map(math.isfinite, losses))
    assert load(run).tokenizer.config.quantizer == name


@pytest.mark.slow
@pytest.mark.parametrize("source", ["glyphs", "emoji64"])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_quantizer_learns_real_pictures(name, source, tmp_path):
    """A few steps of the real tiny recipe lower the loss."""
    if source == "emoji64" and not EMOJI.exists():
        pytest.skip("the emoji are not here")
    given, side = (source, 4) if source == "glyphs" else (str(EMOJI), 8)
    chosen = {"tokenizer.quantizer": name, "tokenizer.quantizer_options": QUANTIZERS[name].options_for(side)}
    run = train(
        given, tmp_path / "run", recipe="tiny", stage="tokenizer", steps=20, progress=False,
        changes={"training.tokenizer.batch": 16, "training.tokenizer.validations": 4, **chosen},
    )  # fmt: skip
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line.get("split") == "validation"]
    assert losses[-1] < losses[0]


def test_a_comparison_is_written(compared):
    _, out, found = compared
    assert [row.quantizer for row in found] == ["vq", "residual", "identity"]
    vq, residual, identity = found
    assert vq.bits == 160 and residual.bits == 640  # 16 positions of 10 and 40 bits
    assert identity.use_held_out is None and identity.bits == 16 * 8 * 32
    assert vq.steps == 2 and 0 < vq.use_trained <= 1 and vq.positions[0] % 16 == 0
    assert "| vq | 1,024 | 160 |" in (out / "table.md").read_text()
    assert "no network's weights" in (out / "table.md").read_text()
    assert Image.open(out / "pictures.png").width > 100 and Image.open(out / "plot.png").width > 100
    assert "residual" in (out / "index.html").read_text()


def test_a_comparison_goes_on_where_it_stands(compared):
    source, out, found = compared
    (out / "table.md").unlink()
    before = (out / "runs" / "vq" / "tokenizer.safetensors").stat().st_mtime_ns
    said = []
    again = compare(quantizers(source, "vq", "fsq"), out, resume=True, say=said.append)
    assert (out / "runs" / "vq" / "tokenizer.safetensors").stat().st_mtime_ns == before
    assert [row.quantizer for row in again] == ["vq", "residual", "identity", "fsq"]
    assert again[0] == found[0] and "fsq" in (out / "table.md").read_text()
    assert said == ["[1/1] fsq"]
    with pytest.raises(UserError, match="steps 3"):
        compare(quantizers(source, "vq", steps=3), out, resume=True)


def test_mistakes_on_the_command_line(compared, tmp_path, capsys):
    source, out, _ = compared
    words = ["compare", "quantizers", str(source), "-o"]
    for wrong, said in (
        ([str(out), "--steps", "2"], "holds a comparison already"),
        ([str(out / "runs"), "--steps", "2"], "holds other files"),
        ([str(tmp_path / "new"), "--quantizers", "vqq"], "did you mean vq"),
        ([str(tmp_path / "new"), "--steps", "2", "--minutes", "1"], "one of them"),
        ([str(tmp_path / "new"), "--recipe", "tinny"], "did you mean tiny"),
        ([str(tmp_path / "new"), "--lpips", str(tmp_path / "none.pth")], "published at"),
    ):
        assert main([*words, *wrong]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_evaluate_names_its_protocol(compared, capsys, tmp_path):
    source, out, _ = compared
    run = str(out / "runs" / "residual")
    words = [
        "evaluate",
        run,
        str(source),
        "--split",
        "train",
        "--features",
        "classifier",
        "--classifier-steps",
        "2",
    ]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    distances = figures["reconstructions_against_originals"]
    assert "trained on the data themselves" in distances["features"]
    assert "train, at 16 pixels" in distances["reference"]
    assert distances["frechet"] >= 0 and 0 <= distances["precision"] <= 1
    exchanged = figures["exchanged_codes_against_originals"]
    assert exchanged["reference"] == distances["reference"] and exchanged["frechet"] >= 0
    assert len(figures["perplexities"]) == 4 and 0 < figures["ms_ssim"] <= 1
    assert figures["perceptual_distance"] == "multi-scale distance (no network's weights)"
    assert main(words) == 0
    assert "frechet" in capsys.readouterr().out
    assert main([*words[:-4], "--features", "random"]) == 0
    assert "random weights, seed 0" in capsys.readouterr().out
    for wrong in (["--features", "inception"], ["--features", "incepton"], ["--weights", "x.pth"]):
        assert main(["evaluate", run, str(source), *wrong]) == 2
    assert (
        main(["evaluate", run, str(source), "--features", "vgg", "--weights", str(tmp_path / "x.pth")]) == 2
    )


def test_a_continuous_tokenizer_is_judged_without_codes(compared):
    from caselli import data

    source, out, _ = compared
    model = load(out / "runs" / "identity")
    found = evaluate_model(model, data.open(source, size=model.size, channels=1, workers=0))
    assert found.codebook_use is None and found.bits_per_picture is None and found.codes_per_picture == 0


def test_the_weight_free_distance_is_the_loss_of_each_pair():
    a, b = torch.randn(2, 3, 3, 24, 24)
    expected = [multi_scale_loss(x[None], y[None]) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(multi_scale_distance(a, b), torch.stack(expected))


def test_labels_are_kept_apart():
    moved = spread([1.0, 1.1, 1.2, 5.0], 1.0)
    assert moved == pytest.approx([0.1, 1.1, 2.1, 5.0])
    assert sum(moved) == pytest.approx(7.3 + 1.0)
