"""Fine-tuning: what it leaves in the folder, adapters that join again, old labels and words beside new."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import caselli
from caselli.cli import main
from caselli.data import CodeStore
from caselli.engine import CPU, Generated, Losses, Task, Training, TrainingConfig
from caselli.errors import UserError
from caselli.model import Adapter, Model, build_prior, grown
from caselli.prior import Conditions, PriorConfig, Words, adapt, differences
from caselli.run import RunFolder, TuneConfig, picture_bits, tune
from caselli.run.tune_stages import joined_stores, relabelled
from caselli.run.tuning import _show as show
from caselli.tokenizer import Tokenizer, TokenizerConfig

OLD = Path(__file__).parent / "old_runs" / "two_stage"
WORDS = ["--label", "cross", "--rank", "2", "--steps", "6", "--batch", "8", "--views", "2", "--patience", "0"]
SMALL = TuneConfig(label="cross", rank=2, steps=6, batch=8, views=2, patience=0)


@pytest.fixture(scope="module")
def crosses(tmp_path_factory):
    """A folder of one class that the old run has not seen."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    (folder / "cross").mkdir()
    for number in range(12):
        picture = np.full((16, 16), 255, dtype=np.uint8)
        row, column = random.integers(0, 13, 2)
        picture[row : row + 3], picture[:, column : column + 3] = 0, 0
        Image.fromarray(picture).save(folder / "cross" / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(crosses, tmp_path_factory):
    """The old run, fine-tuned with adapters by the command."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert main(["tune", str(OLD), str(crosses), "-o", str(out), *WORDS]) == 0
    return out


def test_the_new_run_knows_old_and_new_labels(tuned, crosses, capsys):
    model = caselli.load(tuned)
    assert model.classes == ("lying", "standing", "cross")
    assert model.sample(2, label="cross").shape == (2, 1, 16, 16)
    figures = RunFolder(tuned).results()["tune"]
    assert figures["replayed"] == pytest.approx(0.25, abs=0.02)
    held_out = CodeStore.load(tuned / "codes" / "held_out.safetensors", None)
    assert figures["new_after"] == pytest.approx(picture_bits(model, held_out, "cross"), rel=1e-4)
    assert figures["new_after"] != figures["new_before"]
    assert figures["forgotten"] == pytest.approx(figures["old_after"] / figures["old_before"] - 1)
    assert 0 < figures["parameters_trained"] < 1000
    assert "new pictures, held out, after" in (tuned / "report.html").read_text()
    assert (tuned / "pictures" / "samples_before_and_after.png").exists()
    assert main(["tune", str(OLD), str(crosses), "-o", str(tuned)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_a_file_of_ones_own_is_not_taken_for_a_beginning(tuned, crosses, tmp_path):
    (tmp_path / "tune.json").write_text("[1]")
    with pytest.raises(UserError, match="choose another -o"):
        tune(tuned, crosses, tmp_path)
    assert (tmp_path / "tune.json").read_text() == "[1]"


def test_pictures_of_labels_that_the_old_run_knows_are_shown_beside_its_own(tmp_path):
    model = caselli.load(OLD)
    show(tmp_path, model, model, model.classes)
    assert (tmp_path / "samples_before_and_after.png").exists()


def test_equal_adapters_are_equal_files(tuned, tmp_path):
    adapter, files = Adapter.load(tuned), []
    for number in range(4):  # the library's order changes from one file to the next
        adapter.save(tmp_path / f"{number}.safetensors")
        files.append((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(set(files)) == 1


def test_the_adapter_joins_the_old_run(tuned):
    whole, joined = caselli.load(tuned), caselli.load(OLD, adapter=tuned / "adapter.safetensors")
    assert joined.classes == whole.classes
    for one, other in zip(whole.prior.parameters(), joined.prior.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert torch.equal(joined.sample(4, label="cross"), whole.sample(4, label="cross"))


def test_adapters_are_mixed_by_weight(tuned, tmp_path):
    adapter, old = Adapter.load(tuned), caselli.load(OLD)
    second = dataclasses.replace(adapter, classes=("star",), rows={k: 3 * v for k, v in adapter.rows.items()})
    second.save(tmp_path / "second.safetensors")
    mixed = caselli.load(OLD, adapter={tuned: 1.0, tmp_path / "second.safetensors": -1.0})
    assert mixed.classes == ("lying", "standing", "cross", "star")
    codes = torch.randint(0, 16, (2, 16))
    for label in (0, 1, -1):
        told = torch.full((2,), label)
        assert torch.allclose(mixed.prior.log_prob(codes, told), old.prior.log_prob(codes, told), atol=1e-5)
    rows = mixed.prior.conditioner.label.weight
    assert torch.allclose(rows[3], 3 * rows[2])
    assert len(caselli.load(OLD, adapter={tuned: 1.0, tuned / "adapter.safetensors": 1.0}).classes) == 3


def test_what_is_no_adapter_of_the_run_is_one_line(tuned, tmp_path):
    with pytest.raises(UserError, match="belongs to another run"):
        caselli.load(tuned, adapter=tuned)
    for path in (OLD / "prior.safetensors", tmp_path / "nothing", OLD):
        with pytest.raises(UserError, match=r"no adapter|there is no file"):
            caselli.load(OLD, adapter=path)
    with pytest.raises(UserError, match="cannot be joined"):
        caselli.load(OLD.parent / "vae", adapter=tuned)


def test_all_weights_and_the_decoder(crosses, tmp_path):
    config = dataclasses.replace(SMALL, rank=0, tokenizer="decoder", replay=0, steps=3)
    tune(OLD, str(crosses), tmp_path / "run", config)
    old, new = (load_file(folder / "tokenizer.safetensors") for folder in (OLD, tmp_path / "run"))
    changed = {name.partition(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"decoder"}
    assert not (tmp_path / "run" / "adapter.safetensors").exists()
    assert caselli.load(tmp_path / "run").classes[-1] == "cross"
    with pytest.raises(UserError, match="rank 2 was given to a run that was begun with 0"):
        tune(OLD, str(crosses), tmp_path / "run", dataclasses.replace(config, rank=2), resume=True)


def test_a_run_that_was_stopped_ends_in_the_same_bits(tuned, crosses, tmp_path):
    """A checkpoint of the middle, as a kill leaves it, is gone on with."""
    out = tmp_path / "run"
    stopped, after = [], Training._after_step

    def stop(self, fit):
        if fit.step == 2 and not stopped:
            stopped.append(True)
            fit.stop()
        return after(self, fit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_after_step", stop)
        words = ["tune", str(OLD), str(crosses), "-o", str(out), *WORDS]
        assert main(words) == 130
        assert not (out / "prior.json").exists()
        assert main([*words, "--resume"]) == 0
    one, other = (load_file(folder / "prior.safetensors") for folder in (tuned, out))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_page_does_what_it_says(crosses, tuned, tmp_path, monkeypatch):
    """Every command of the page with small runs in few steps, and its function."""
    page = (Path(__file__).parents[1] / "docs" / "tune.md").read_text()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, "run")
    shutil.copytree(crosses / "cross", "my-pictures")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        given = shlex.split(command)[1:]
        few = ["--steps", "2", "--batch", "8", "--views", "2"] if given[0] == "tune" else []
        assert main([*given, *few]) == 0, command
    assert caselli.load("tuned").classes[-1] == "butterfly" and Path("new.png").exists()
    for name in ("butterflies", "beetles"):
        shutil.copytree(tuned, name)
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], names)
    one, both = names["mixed"]("run")
    assert one.classes == both.classes == ("lying", "standing", "cross")


# the parts --------------------------------------------------------------------------------------------------


def captioned():
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(size=8, factor=4, width=8, quantizer_options={"codebook_size": 8}))
    config = PriorConfig(width=16, depth=1, text="words", text_width=8, text_depth=1, text_vectors=2)
    prior, order = build_prior(config, tokenizer, 8, 2, Words.of(["a red cat", "a dog"], 6))
    return Model(tokenizer, prior, order, 8, ("cat", "dog"))


def test_old_labels_and_words_stay_what_they_are():
    model, codes = captioned(), torch.randint(0, 8, (2, 4))
    text = model.prior.alphabet.text.grown(["a blue cat"])
    assert text.words == (*model.prior.alphabet.text.words, "blue")
    more, added = grown(model, ["bird", "cat"], text)
    assert more.classes == ("cat", "dog", "bird") and set(dict(added).values()) == {(2, 1), (6, 1)}
    for labels in (torch.tensor([0, 1]), torch.tensor([-1, -1])):
        before, after = (
            m.prior.log_prob(codes, Conditions(labels, m.prior.alphabet.text.encode(["a cat", ""])))
            for m in (model, more)
        )
        assert torch.allclose(before, after, atol=1e-6)


def test_only_adapters_and_new_rows_are_trained():
    model = captioned()
    more, added = grown(model, ["bird"], model.prior.alphabet.text)
    before = {name: value.clone() for name, value in more.prior.state_dict().items()}
    adapt(more.prior, 2, added)
    codes = torch.randint(0, 8, (2, 4))
    more.prior.log_prob(codes, Conditions(torch.tensor([2, 0]))).sum().backward()
    names = {n for n, p in more.prior.named_parameters() if p.requires_grad}
    assert names and all(".parametrizations.weight.0." in name for name in names)
    matrices, rows = differences(more.prior)
    assert all(up.abs().sum() == 0 for up, _ in matrices.values())
    assert torch.equal(rows["conditioner.label.weight"], before["conditioner.label.weight"][2:3])
    assert "blocks.0.up.weight" in matrices


def test_stores_are_joined_with_the_labels_of_both():
    stamp = {"sizes": (4,), "tokenizer": "t", "data": "d"}
    one = CodeStore(torch.tensor([[0], [1]]), labels=torch.tensor([0, 0]), classes=["b"], **stamp)
    two = CodeStore(torch.tensor([[3]]), **stamp)
    both = joined_stores(relabelled(store, ("a", "b")) for store in (one, two))
    assert both.labels.tolist() == [1, 1, -1] and both.codes.flatten().tolist() == [0, 1, 3]


def test_training_ends_when_held_out_loss_grows(tmp_path):
    class Worse(Task):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, batch, step):
            return Losses((self.weight * batch).sum(), {})

        def validate(self, batch):
            return {"loss": -self.weight.sum()}

    config = TrainingConfig(steps=40, batch=1, validations=20, patience=3, warmup=1)
    batches = Generated(lambda step: torch.ones(1))
    for _ in range(2):  # gone on with, it is over
        Training(Worse(), batches, [torch.ones(1)], config, tmp_path, "worse", CPU).run()
    said = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in said) == 8
    assert sum("the training ends" in line.get("message", "") for line in said) == 1


def test_views_fit_small_sets():
    assert TuneConfig().views_of(10) == 18 and TuneConfig(flip=True).views_of(10) == 36
    assert TuneConfig(shift=0).views_of(10) == 1 and TuneConfig(views=3).views_of(10) == 3
