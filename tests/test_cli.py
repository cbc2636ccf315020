"""Bad input on the command line: one clear line, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import platform
import subprocess
import sys

import pytest
import torch
from PIL import Image

import caselli
from caselli.__main__ import process
from caselli.cli import main
from caselli.data import CodeStore
from caselli.run import train
from tests.pictures import TINY, bars_and_stripes, options


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    source = bars_and_stripes(folder / "pictures")
    run = train(source, folder / "run", recipe="tiny", steps=3, changes=TINY, progress=False)
    return source, run


def fails(capsys, *words: object) -> str:
    """Runs the command, expects a user's mistake, returns the line that says so."""
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("caselli: ") and "Traceback" not in "".join(error)
    return error[-1]


def test_help_and_version(capsys):
    assert main([]) == main(["--help"]) == main(["--version"]) == 0
    assert "train" in capsys.readouterr().out


def test_unknown_command(capsys):
    assert "did you mean train" in fails(capsys, "trian")


def test_train_without_pictures(capsys, tmp_path):
    assert "there is no such file" in fails(capsys, "train", tmp_path / "none", "-o", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in fails(capsys, "train", tmp_path / "empty", "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_with_wrong_options(capsys, trained, tmp_path):
    source, run = trained
    out = tmp_path / "new"
    assert "no out was given" in fails(capsys, "train", source)
    assert "did you mean tiny" in fails(capsys, "train", source, "-o", out, "--recipe", "tinny")
    assert "stage" in fails(capsys, "train", source, "-o", out, "--stage", "third")
    assert "prior.width" in fails(capsys, "train", source, "-o", out, "--prior.width", "wide")
    assert "prior.wdth" in fails(capsys, "train", source, "-o", out, "--prior.wdth", "3")
    assert "mixer" in fails(capsys, "train", source, "-o", out, "--prior.mixer", "atention", *options(TINY))
    assert "holds a run already" in fails(capsys, "train", source, "-o", run)
    assert "no tokenizer yet" in fails(
        capsys, "train", source, "-o", tmp_path / "prior", "--stage", "prior", *options(TINY)
    )


def test_size_that_does_not_divide(capsys, trained, tmp_path):
    words = ("train", trained[0], "-o", tmp_path / "run", "--size", 30, "--tokenizer.factor", 8)
    assert "a size that 8 divides" in fails(capsys, *words, *options(TINY))


def test_a_configuration_file(trained, tmp_path):
    import yaml

    from caselli.run import RunFolder, TwoStage

    changes = {"prior": {"width": 48, "mixer_options": {"heads": 2}}, "data": {"shift": 2}}
    (tmp_path / "fields.yaml").write_text(yaml.safe_dump(changes))
    words = ["train", str(trained[0]), "-o", str(tmp_path / "run"), "--recipe", "tiny", "--steps", "1"]
    rest = {name: value for name, value in TINY.items() if not name.startswith("prior.")}
    assert (
        main([*words, "--config", str(tmp_path / "fields.yaml"), *options(rest), "--prior.depth", "1"]) == 0
    )
    config = TwoStage.config_in(RunFolder(tmp_path / "run"))
    assert (config.prior.width, config.prior.depth, config.data.shift) == (48, 1, 2)
    assert config.tokenizer.quantizer_options == {"codebook_size": 16}


def test_the_settings_of_a_run_begin_one_like_it(trained, tmp_path):
    from caselli.run import RunFolder, TwoStage

    old = trained[1]
    words = ["train", str(trained[0]), "-o", str(tmp_path / "run"), "--steps", "1", "--seed", "5"]
    assert main([*words, "--stage", "tokenizer", "--config", str(old / "run.yaml")]) == 0
    first, second = (TwoStage.config_in(RunFolder(folder)) for folder in (old, tmp_path / "run"))
    assert (first.tokenizer, first.prior) == (second.tokenizer, second.prior) and second.seed == 5


@pytest.mark.parametrize("content", [b"config: {prior: {width: 9}}", b"\xff\xfe", b"- 1", b"", b"{", None])
def test_a_file_of_no_fields(trained, tmp_path, capsys, content):
    (tmp_path / "copy.yaml").mkdir() if content is None else (tmp_path / "copy.yaml").write_bytes(content)
    said = fails(capsys, "train", trained[0], "-o", tmp_path / "run", "--config", tmp_path / "copy.yaml")
    assert "a YAML file of fields" in said and not (tmp_path / "run").exists()


def test_a_terminal_of_few_letters(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["caselli", "list", "quantizer"])
    assert process() == 0 and b"\\u" in sys.stdout.buffer.getvalue()


def test_unknown_label(capsys, trained, tmp_path):
    out = tmp_path / "x.png"
    assert "did you mean standing" in fails(capsys, "sample", trained[1], "--label", "standig", "-o", out)
    assert not out.exists()


def test_sampling_options_out_of_range(capsys, trained, tmp_path):
    for option, value in (("--temperature", -1), ("--top-p", 0), ("--top-k", -3), ("-n", 0)):
        assert "expected" in fails(capsys, "sample", trained[1], option, value, "-o", tmp_path / "x.png")


def test_nothing_is_overwritten_unasked(capsys, trained, tmp_path):
    out = tmp_path / "x.png"
    assert main(["sample", str(trained[1]), "-n", "2", "-o", str(out)]) == 0
    before = out.read_bytes()
    assert "exists already" in fails(capsys, "sample", trained[1], "-n", 4, "-o", out)
    assert out.read_bytes() == before
    assert main(["sample", str(trained[1]), "-n", "4", "-o", str(out), "--overwrite"]) == 0


def test_sample_into_a_folder(trained, tmp_path):
    words = ["sample", str(trained[1]), "-n", "3", "--label", "lying,standing", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [Image.open(file).text["label"] for file in files] == ["lying", "standing", "lying"]
    assert Image.open(files[0]).size == (16, 16)


def test_not_a_run(capsys, tmp_path):
    for command in (["sample", tmp_path, "-o", tmp_path / "x.png"], ["evaluate", tmp_path, "glyphs"]):
        assert "a folder with a trained run" in fails(capsys, *command)


def test_damaged_weights(capsys, trained, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("tokenizer.json", "tokenizer.safetensors"):
        (run / name).write_bytes((trained[1] / name).read_bytes()[:200])
    assert "cannot be read" in fails(capsys, "sample", run, "-o", tmp_path / "x.png")
    (run / "tokenizer.json").write_bytes((trained[1] / "tokenizer.json").read_bytes())
    assert "cut short or damaged" in fails(capsys, "sample", run, "-o", tmp_path / "x.png")


def test_encode_decode_evaluate(capsys, trained, tmp_path):
    source, run = map(str, trained)
    codes, out = str(tmp_path / "codes.safetensors"), str(tmp_path / "decoded")
    assert main(["encode", run, source, "-o", codes]) == 0
    assert main(["decode", run, codes, "-o", out]) == 0
    assert main(["evaluate", run, source]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, source, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["psnr"] > 0 and 0 < figures["codebook_use"] <= 1


def test_codes_of_another_tokenizer(capsys, trained, tmp_path):
    path = tmp_path / "codes.safetensors"
    CodeStore(torch.zeros(2, 2, 2), sizes=(16,), tokenizer="other", data="x").save(path)
    assert "another tokenizer" in fails(capsys, "decode", trained[1], path, "-o", tmp_path / "out")


def test_reconstruct_files(capsys, trained, tmp_path):
    source, run = trained
    files = sorted((source / "lying").iterdir())[:2]
    assert main(["reconstruct", str(run), *map(str, files), "-o", str(tmp_path / "pairs.png")]) == 0
    (tmp_path / "fake.png").write_bytes(b"no picture")
    line = fails(capsys, "reconstruct", run, tmp_path / "fake.png", "-o", tmp_path / "y.png")
    assert "not a picture" in line


def test_bad_pictures_are_skipped_counted_and_named(trained, tmp_path):
    source = bars_and_stripes(tmp_path / "pictures")
    (source / "lying" / "fake.png").write_bytes(b"no picture")
    run = train(source, tmp_path / "run", recipe="tiny", stage="tokenizer", steps=1, changes=TINY)
    bad = json.loads((run / "results.json").read_text())["data"]["bad"]
    assert [entry["name"] for entry in bad] == ["lying/fake.png"]
    assert "lying/fake.png" in (run / "report.html").read_text()


@pytest.mark.parametrize("table", ["data", "quantizers", "order", "mixer", "prior", "upsampler", "recipe"])
def test_list(capsys, table):
    assert main(["list", table]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(len(line.split("  ", 1)) == 2 for line in lines)


def test_list_shows_every_table_of_every_room(capsys):
    assert main(["list"]) == 0
    shown = {line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    for room in pkgutil.iter_modules(caselli.__path__, "caselli."):
        door = importlib.import_module(room.name)
        for name in getattr(door, "__all__", ()):
            if name.isupper() and isinstance(getattr(door, name), dict):
                assert f"{room.name}.{name}" in shown


def test_inspect(capsys, trained, tmp_path, monkeypatch):
    assert main(["inspect", "vgg16", "-o", str(tmp_path / "page.html")]) == 0
    assert "sees" in capsys.readouterr().out and (tmp_path / "page.html").stat().st_size > 1000
    assert main(["inspect", str(trained[1])]) == 0
    (tmp_path / "mine.py").write_text("import torch\ndef net(): return torch.nn.Conv1d(1, 2, 3)\n")
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "mine:net", "--input", "1x32"]) == 0
    assert "cannot be imported" in fails(capsys, "inspect", "mine:nett")
    assert "did you mean resnet50" in fails(capsys, "inspect", "resnet5")
    assert "channels and sizes" in fails(capsys, "inspect", "vgg16", "--input", "3")


def test_compare(capsys, tmp_path):
    words = ["compare", "estimators", "--estimators", "arm,disarm", "--repeats", "50"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert "disarm" in capsys.readouterr().out
    assert Image.open(tmp_path / "out" / "plot.png").size[0] > 100
    assert main(["compare"]) == 0 and "reconstructions" in capsys.readouterr().out
    assert "-o plot holds plot.png" in fails(capsys, *words, "-o", "plot.png")
    with pytest.raises(SystemExit):
        main(["compare", "codecs", "--help"])
    assert "SOURCE RUNS..." in capsys.readouterr().out
    segmentation = fails(capsys, "compare", "resamplers", "glyphs", "--task", "segmentation")
    assert "caselli compare segmenters" in segmentation
    assert "did you mean disarm" in fails(capsys, "compare", "estimators", "--estimators", "disarn")
    assert "comparison" in fails(capsys, "compare", "mixer")


def test_list_unknown(capsys):
    assert "did you mean mixer" in fails(capsys, "list", "mixxer")


def faults_of_fresh_arrays(settings: dict[str, str]) -> int:
    """Page faults of twenty arrays of 64 MB, each filled and dropped, in a process that keeps its pages."""
    program = (
        "import resource, caselli.cli.pages as pages; pages.keep_pages(); import numpy\n"
        "for _ in range(20): numpy.ones(8 << 20)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC", "GLIBC"))} | settings
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif("glibc" not in platform.libc_ver()[0], reason="the allocator is glibc's")
def test_pages_are_kept_unless_the_user_settled_it():
    # 64 MB are 16,384 small pages, or 32 large ones where the kernel hands those out
    kept = faults_of_fresh_arrays({})
    settled = faults_of_fresh_arrays({"MALLOC_TRIM_THRESHOLD_": "131072"})
    assert settled > kept
