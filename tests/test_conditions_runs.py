"""Runs with labels, captions and other pictures, from `caselli train` to every command that asks for them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from caselli import data
from caselli.cli import main
from caselli.data import Augment, CodeStore
from caselli.errors import UserError
from caselli.evaluate import Ranking, pooled_pixels, rank_captions, rank_pictures
from caselli.evaluate.captions import candidates
from caselli.model import encode, load
from caselli.plain import override
from caselli.prior import Conditions
from caselli.run import DataConfig, TwoStageConfig, train
from caselli.run.conditions import encode_condition, paired
from tests.pictures import TINY, bars_and_stripes

CONDITIONS = TINY | {
    "prior.text_width": 32,
    "prior.text_depth": 1,
    "prior.text_vectors": 2,
    "reading.seconds": 0.0,
}


def with_captions(folder, count=48):
    """Bars that stand or lie, said in words."""
    bars_and_stripes(folder, count)
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption"])
        for path in sorted(folder.rglob("*.png")):
            place = "first" if int(path.stem) % 3 else "second"
            writer.writerow([path.relative_to(folder).as_posix(), f"a {path.parent.name} bar, the {place}"])
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return with_captions(tmp_path_factory.mktemp("pictures") / "bars")


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    """A prior that is told label, caption and the low resolution."""
    changes = CONDITIONS | {"prior.condition_picture": "low_resolution", "tokenizer.factor": 4}
    return train(source, tmp_path_factory.mktemp("run") / "r", recipe="tiny", steps=8, changes=changes)


def test_the_run_keeps_what_it_needs(run, source):
    described = json.loads((run / "prior.json").read_text())
    assert described["text"] == {"kind": "bytes", "length": 64}
    store = CodeStore.load(run / "codes" / "train.safetensors", None)
    assert store.condition.shape == (len(store), 16) and store.captions[0].startswith("a ")
    assert store.batch(torch.tensor([1, 0])).condition.dtype == torch.int64
    assert store.subset(torch.tensor([3])).condition.tolist() == store.condition[[3]].tolist()
    results = json.loads((run / "results.json").read_text())
    assert results["captions"]["among"] >= 2 and 0 <= results["captions"]["first"] <= 1
    assert {p.name for p in (run / "pictures").glob("samples*.png")} == {
        "samples.png",
        "samples-beside-originals.png",
        "samples-upscaled.png",
    }
    assert "beside originals" in (run / "report.html").read_text()
    assert load(run).condition_size == 8


def test_sampling_by_caption(run, tmp_path):
    out = tmp_path / "s.png"
    words = ["sample", str(run), "-n", "3", "--text", "a lying bar", "--text", "ein Bär", "-o"]
    assert main([*words, str(out), "--label", "lying", "--guidance", "2"]) == 0
    assert Image.open(out).text["caption"] == "a lying bar; ein Bär"
    assert main([*words, str(tmp_path / "folder")]) == 0
    assert [Image.open(f).text["caption"] for f in sorted((tmp_path / "folder").glob("*.png"))] == [
        "a lying bar",
        "ein Bär",
        "a lying bar",
    ]
    model = load(run)
    texts = ["a lying bar", "ein Bär", "a lying bar"]
    pictures = model.sample(3, text=texts, seed=4)
    torch.testing.assert_close(model.sample(1, text="a lying bar", seed=6), pictures[2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.sample(3, text=texts, seed=4, batch=2), pictures, atol=1e-5, rtol=0)


def test_upscaling(run, source, tmp_path):
    small = tmp_path / "small.png"
    Image.fromarray(np.full((8, 8), 200, dtype=np.uint8)).save(small)
    words = ["upscale", str(run), str(small), "--text", "a lying bar"]
    assert main([*words, "-n", "2", "-o", str(tmp_path / "folder")]) == 0
    made = [Image.open(file) for file in sorted((tmp_path / "folder").glob("*.png"))]
    assert [picture.size for picture in made] == [(16, 16)] * 2 and made[0].text["caption"] == "a lying bar"
    assert (
        main(["upscale", str(run), str(source), "--most", "3", "-n", "2", "-o", str(tmp_path / "rows.png")])
        == 0
    )
    assert Image.open(tmp_path / "rows.png").width > Image.open(tmp_path / "rows.png").height / 2
    Image.fromarray(np.arange(11 * 14, dtype=np.uint8).reshape(11, 14)).save(tmp_path / "other.png")
    assert main([*words[:3], str(tmp_path / "other.png"), "-n", "2", "-o", str(tmp_path / "larger")]) == 0
    made = [Image.open(file).size for file in sorted((tmp_path / "larger").glob("*.png"))]
    assert made == [(16, 16)] * 2 + [(28, 22)] * 2
    assert main([*words[:3], str(tmp_path / "other.png"), "-o", str(tmp_path / "no.png")]) == 2
    assert (
        main(["sample", str(run), "--picture", str(small), "-n", "2", "-o", str(tmp_path / "told.png")]) == 0
    )


def test_what_upscaling_is_worth(run, source, capsys):
    assert main(["evaluate", str(run), str(source), "--upscaling", "--json", "--temperature", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)["upscaling"]
    assert found["factor"] == 2 and found["enlarged"]["agreement"] > found["drawn"]["agreement"]
    assert found["reconstructed"]["psnr"] >= found["drawn"]["psnr"]


def test_completing_with_a_caption(run, source, tmp_path):
    out = tmp_path / "c.png"
    words = ["complete", str(run), str(source), "--most", "2", "-n", "2", "-o", str(out)]
    assert main([*words, "--text", "a lying bar"]) == 0
    assert Image.open(out).text["caption"] == "a lying bar"


def test_mistakes(run, source, tmp_path, capsys):
    plain = bars_and_stripes(tmp_path / "plain", 16)
    other = train(plain, tmp_path / "other", recipe="tiny", steps=1, changes=TINY | {"reading.seconds": 0.0})
    small = next(plain.rglob("*.png"))
    for words, said in (
        (["sample", other, "--text", "x"], "trained without captions"),
        (["complete", other, plain, "--text", "x"], "trained without captions"),
        (["sample", other, "--picture", small], "trained without"),
        (["upscale", other, small], "--prior.condition_picture low_resolution"),
        (["evaluate", other, plain, "--upscaling"], "--prior.condition_picture low_resolution"),
        (["sample", run, "--label", "lyin"], "did you mean lying"),
        (["evaluate", other, plain, "--captions"], "without captions"),
        (["evaluate", run, plain, "--captions"], "captions for 0 pictures"),
    ):
        out = [] if words[0] == "evaluate" else ["-o", tmp_path / "x.png"]
        assert main([str(word) for word in (*words, *out)]) == 2
        assert said in capsys.readouterr().err
    for wrong, said in (
        ({"prior.condition_picture": "low_resolution", "prior.condition_factor": 3}, "a divisor of the size"),
        ({"prior.condition_picture": "depth"}, "condition picture 'depth'"),
        ({"prior.condition_picture": "paired"}, "--data.paired FOLDER"),
        ({"prior.text": "transformers", "prior.text_path": str(tmp_path)}, "config.json"),
    ):
        with pytest.raises(UserError, match=said):
            train(source, tmp_path / "wrong", recipe="tiny", steps=1, changes=CONDITIONS | wrong)
    with pytest.raises(UserError, match="3 captions were given for 2 pictures"):
        load(run).sample(2, text=["a", "b", "c"])
    with pytest.raises(UserError, match=r"\(8, 8\)"):
        load(run).sample(1, picture=torch.zeros(1, 1, 16, 16))


def test_other_words_for_the_same_pictures(source, tmp_path):
    """A vocabulary of words is kept in the run; without captions wanted there are none."""
    changes = CONDITIONS | {"prior.text": "words", "prior.text_length": 8}
    run = train(source, tmp_path / "words", recipe="tiny", steps=2, changes=changes)
    vocabulary = load(run).prior.alphabet.text
    assert {"lying", "standing", "bar", ","} <= set(vocabulary.words) and vocabulary.length == 8
    run = train(
        source, tmp_path / "none", recipe="tiny", steps=1, changes=CONDITIONS | {"prior.text": "none"}
    )
    assert load(run).prior.alphabet.text is None


def test_a_prior_told_the_visible_part(source, tmp_path):
    changes = CONDITIONS | {"prior.condition_picture": "visible_part"}
    run = train(source, tmp_path / "r", recipe="tiny", steps=4, changes=changes)
    model = load(run)
    assert len(model.prior.alphabet.picture) == model.grid.length
    keep = torch.zeros(16, 16, dtype=torch.bool)
    keep[:, 8:] = True
    pictures = torch.rand(2, 1, 16, 16) * 2 - 1
    told = []
    draw = model.prior.draw
    model.prior.draw = lambda drawing: told.append(drawing) or draw(drawing)
    from caselli.sampling import EagerEngine

    model.complete(pictures, keep, text="a standing bar", engine=EagerEngine(model.prior))
    assert torch.equal(told[0].conditions.codes >= 0, told[0].conditions.codes[:1].expand(2, -1) >= 0)
    known = model.order.restore(told[0].conditions.codes, model.grid)
    half = model.grid.width // 2
    assert (known[:, :, :half] == -1).all() and (known[:, :, half:] >= 0).all()


def test_pairs_get_the_same_views(source, tmp_path):
    """The paired picture is flipped and moved with its own."""
    pairs = tmp_path / "pairs"
    for path in source.rglob("*.png"):
        target = (pairs / path.relative_to(source)).with_suffix(".webp")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(target, lossless=True)
    pictures = data.open(str(source), workers=0)
    tokenizer = load(_tokenizer(source, tmp_path)).tokenizer
    config = override(TwoStageConfig(), {"prior.condition_picture": "paired", "data.paired": str(pairs)})
    varied = 3, Augment(flip=True, shift=2), 7
    codes = encode_condition(tokenizer, pictures, config, *varied)
    assert torch.equal(codes, encode(tokenizer, pictures, *varied).codes.flatten(1))
    next(pairs.rglob("*.webp")).unlink()
    everything = data.open(str(source), split="all", workers=0)
    with pytest.raises(UserError, match="no picture for 1 of 48"):
        paired(everything, DataConfig(paired=str(pairs)))


def _tokenizer(source, tmp_path):
    return train(source, tmp_path / "t", recipe="tiny", stage="tokenizer", steps=2, changes=CONDITIONS)


# ranking ------------------------------------------------------------------------------------------------


def test_ranks_against_chance():
    """Random scores rank by chance, perfect ones first, and ties in the middle."""
    random = Ranking.of(torch.randn(4_000, 16, generator=torch.Generator().manual_seed(0)))
    assert abs(random.deviations) < 4
    assert random.mean_reciprocal_rank == pytest.approx(random.chance_reciprocal_rank, abs=0.02)
    assert random.first == pytest.approx(1 / 16, abs=0.02) and random.chance_first == 1 / 16
    scores = torch.zeros(50, 16)
    assert Ranking.of(scores).median_rank == Ranking.of(scores).chance_median_rank == 8.5
    scores[:, 0] = 1
    assert Ranking.of(scores).first == 1 and Ranking.of(scores).deviations > 10


def test_candidates_hold_the_own_one_once():
    chosen = candidates(20, 7)
    assert torch.equal(chosen[:, 0], torch.arange(20))
    assert all(len(set(row.tolist())) == 7 for row in chosen)


def test_ranking_by_a_prior_that_knows_captions(run, source):
    """The definition, pair by pair; and a model that draws the very picture ranks it first."""
    model, pictures = load(run), data.open(str(source), size=16, channels=1, split="all", workers=0)
    few = pictures.subset(torch.arange(0, 40, 5))
    ranking = rank_captions(model, few, among=4, batch=5)
    chosen, scores = candidates(8, 4), torch.zeros(8, 4)
    for row in range(8):
        told = model.conditions_of(few, torch.tensor([row]))
        codes = model.order.flatten(model.encode(data.to_float(few.read(torch.tensor([row])))), model.grid)
        for column in range(4):
            text = model.prior.alphabet.text.encode([few.captions[chosen[row, column]]])
            known = Conditions(told.labels, text, told.codes)
            with torch.no_grad():
                scores[row, column] = model.prior.log_prob(codes, known).sum()
    expected = Ranking.of(scores)
    assert ranking.mean_reciprocal_rank == pytest.approx(expected.mean_reciprocal_rank, abs=0.07)
    real = data.to_float(few.read(torch.arange(8))) + 0.01 * torch.randn(8, 1, 16, 16)
    model.sample = lambda count, text, **_: real.repeat_interleave(count // 8, 0)
    assert rank_pictures(model, few, pooled_pixels, samples=2).first == 1
    model.sample = lambda count, text, **_: torch.randn(count, 1, 16, 16)
    assert rank_pictures(model, few, pooled_pixels, samples=2).first < 1


def test_the_evaluate_command(run, source, capsys):
    words = [
        "evaluate",
        str(run),
        str(source),
        "--split",
        "all",
        "--captions",
        "--among",
        "3",
        "--samples",
        "1",
    ]
    assert main([*words, "--classifier-steps", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for name in ("captions_ranked_by_likelihood", "pictures_ranked_by_pixels_of_samples"):
        assert figures[name]["count"] == 48 and figures[name]["deviations"] is not None
