"""`caselli sample`: options, precision, and two ranks that draw what one draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from caselli.cli import main
from caselli.cli.command import options_of
from caselli.cli.sample import command
from caselli.errors import UserError
from caselli.model import build_prior, load, paste, save_prior, save_tokenizer
from caselli.prior import PriorConfig
from caselli.sampling import EagerEngine, Sampling, Timed, best_engine
from caselli.tokenizer import Tokenizer, TokenizerConfig
from tests.forked_ranks import run_on


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """An untrained run, its prior away from the uniform start."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    tokenizer = Tokenizer(
        TokenizerConfig(factor=4, width=8, quantizer_options={"codebook_size": 16}, channels=1)
    ).eval()
    prior, _ = build_prior(PriorConfig(width=32, depth=1), tokenizer, 16, 3)
    with torch.no_grad():
        prior.head.weight.mul_(40)
    save_tokenizer(tokenizer, folder, 16)
    save_prior(prior, folder, tokenizer.fingerprint(), ["left", "right", "up"])
    return folder


def read(folder):
    return [np.array(Image.open(file)) for file in sorted(folder.glob("*.png"))]


def test_every_field_has_an_option():
    import dataclasses

    assert {field.name for field in dataclasses.fields(Sampling)} <= {o.name for o in options_of(command)}


def test_guidance_and_precision(run_folder, tmp_path, capsys):
    words = ["sample", str(run_folder), "-n", "3", "--label", "left,right", "-o"]
    assert main([*words, str(tmp_path / "plain")]) == 0
    said = capsys.readouterr().err
    assert "tokens per second" in said and "read rate" in said and "float32" in said
    assert main([*words, str(tmp_path / "guided"), "--guidance", "4", "--min-p", "0.05"]) == 0
    file = tmp_path / "guided" / "00000.png"
    assert Image.open(file).text["guidance"] == "4.0" and Image.open(file).text["min_p"] == "0.05"
    assert main([*words, str(tmp_path / "int8"), "--precision", "int8"]) == 0
    pictures = [read(tmp_path / name) for name in ("plain", "guided")]
    assert any((a != b).any() for a, b in zip(*pictures, strict=True))


def test_mistakes(run_folder, tmp_path, capsys):
    for words, said in (
        (["--guidance", "2"], "without a label"),
        (["--precision", "int4"], "did you mean int8"),
        (["--guidance-schedule", "linar", "--label", "up"], "did you mean linear"),
        (["--min-p", "2"], "0 to 1 was expected"),
    ):
        assert main(["sample", str(run_folder), *words, "-o", str(tmp_path / "x.png")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_the_model_samples_by_any_engine(run_folder):
    model = load(run_folder)
    engine = Timed(best_engine(model.prior)[0])
    pictures = model.sample(3, label="up", seed=7, engine=engine)
    assert engine.codes == 3 * model.grid.length and engine.seconds > 0
    torch.testing.assert_close(model.sample(1, label="up", seed=8), pictures[1:2])
    torch.testing.assert_close(model.sample(3, label="up", seed=7, engine=EagerEngine(model.prior)), pictures)


def test_two_ranks_draw_what_one_draws(run_folder, tmp_path):
    words = ["sample", str(run_folder), "-n", "5", "--label", "left,right", "--batch", "2", "-o"]
    assert main([*words, str(tmp_path / "one")]) == 0

    def drawn():
        assert main([*words, str(tmp_path / "two")]) == 0

    assert run_on(2, drawn).count("tokens per second") == 1
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert len(two) == 5
    for a, b in zip(one, two, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1  # the decoder's batches differ


REGIONS = {
    "upper": (slice(0, 8), slice(0, 16)),
    "left": (slice(0, 16), slice(0, 8)),
    "ragged": (slice(3, 13), slice(0, 10)),
}


@pytest.mark.parametrize("region", REGIONS)
def test_completion_keeps_what_it_was_told(run_folder, region):
    """Codes wholly inside the region come back as they were; what is hidden changes nothing."""
    model = load(run_folder)
    keep = torch.zeros(16, 16, dtype=torch.bool)
    keep[REGIONS[region]] = True
    pictures = torch.rand(3, 1, 16, 16) * 2 - 1
    seen = []
    decode = model.decode
    model.decode = lambda codes: seen.append(codes) or decode(codes)
    completed = model.complete(pictures, keep, label="up", seed=3)
    other = torch.where(keep, pictures, torch.rand(3, 1, 16, 16))
    torch.testing.assert_close(model.complete(other, keep, label="up", seed=3), completed)
    mean = (pictures * keep).sum((2, 3), keepdim=True) / keep.sum()
    expected = model.encode(torch.where(keep, pictures, mean))
    cells = keep.unflatten(0, (4, 4)).unflatten(2, (4, 4)).all(3).all(1)
    assert cells.sum() == {"upper": 8, "left": 8, "ragged": 4}[region]
    assert torch.equal(seen[0][:, cells], expected[:, cells])
    pasted = paste(pictures, completed, keep)
    assert torch.equal(pasted[..., keep], pictures[..., keep])
    assert torch.equal(pasted[..., ~keep], completed[..., ~keep])


def test_completion_of_the_first_rows_is_the_prior_behind_them(run_folder):
    model = load(run_folder)
    keep = torch.zeros(16, 16, dtype=torch.bool)
    keep[:8] = True
    pictures = torch.rand(2, 1, 16, 16) * 2 - 1
    completed = model.encode(model.complete(pictures, keep, seed=1))
    assert completed.shape == (2, 4, 4)
    everything = torch.ones(16, 16, dtype=torch.bool)
    whole = model.complete(pictures, everything)
    torch.testing.assert_close(whole, model.decode(model.encode(pictures)))


def test_completion_mistakes(run_folder):
    model = load(run_folder)
    with pytest.raises(UserError, match="keeps nothing"):
        model.complete(torch.zeros(1, 1, 16, 16), torch.zeros(16, 16, dtype=torch.bool))
    with pytest.raises(UserError, match=r"\(16, 16\) was expected"):
        model.complete(torch.zeros(1, 1, 16, 16), torch.ones(8, 8, dtype=torch.bool))


def test_complete_command(run_folder, tmp_path, capsys):
    picture, mask, out = tmp_path / "a.png", tmp_path / "mask.png", tmp_path / "out.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)).save(picture)
    white = np.zeros((16, 16), dtype=np.uint8)
    white[4:12] = 255
    Image.fromarray(white).save(mask)
    words = ["complete", str(run_folder), str(picture), "-o", str(out), "--overwrite", "-n", "2"]
    for keep in ("upper", "left", str(mask)):
        assert main([*words, "--keep", keep, "--paste", "--label", "left"]) == 0
        assert Image.open(out).text["keep"] == keep
        assert "2 completions" in capsys.readouterr().err
    assert main([*words, "--keep", "uper"]) == 2
    assert "did you mean upper" in capsys.readouterr().err
