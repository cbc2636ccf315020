"""`kill -9` at random moments, and the same command again: what comes is what would have come.

`CASELLI_KILLS` is the number of kills of each command (100).
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.chaos.forked import Running, killed_at, run, strays, tree
from tests.pictures import TINY, bars_and_stripes, options
from tests.test_recipe_family import COMMON
from tests.test_recipe_family import TINY as FAMILIES
from tests.test_segmentation import write

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CASELLI_KILLS", "100"))
OFTEN = {f"training.{stage}.checkpoint_steps": 2 for stage in ("tokenizer", "prior")}
TRAIN = ["--recipe", "tiny", "--steps", "6", *options(TINY | OFTEN), "--resume"]
SMALL = {"training.batch": 4, "training.checkpoint_steps": 2, "precision": "float32", "data.workers": 0}
UNET = ["--recipe", "unet", "--steps", "6", *options(SMALL), "--resume"]
UNET += options({"segmenter.width": 4, "segmenter.depth": 1})
FAMILY = [*options(COMMON), "--steps", "6", "--resume"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, a run of two stages, codes, an archive."""
    root = tmp_path_factory.mktemp("chaos")
    bars_and_stripes(root / "pictures")
    bars_and_stripes(root / "small", size=8)
    write(root / "masks", count=20)
    assert run(["train", root / "pictures", "-o", root / "run", *TRAIN]).code == 0
    for words in (
        ["residual", root / "run", root / "pictures", "--steps", "2", "--width", "4"],
        ["encode", root / "run", root / "pictures", "-o", root / "codes.safetensors"],
        ["compress", root / "run", root / "pictures", "--most", "6", "--archive", "-o", root / "packed.csl"],
    ):
        ended = run(words)
        assert ended.code == 0, ended.said
    return root


def commands(place):
    """Name → words of every command that writes, without its output."""
    made = place / "run"
    few = ["--most", "6"]
    return {
        "train": ["train", place / "pictures", *TRAIN],
        **{
            f"train {recipe}": ["train", place / "small", "--recipe", recipe, *FAMILY, *options(fields)]
            for recipe, fields in FAMILIES.items()
        },
        "train unet": ["train", place / "masks", *UNET],
        "slim": ["slim", made, "--prune", "0.5", "--steps", "2", "--resume"],
        "compare": ["compare", "estimators", "--estimators", "score,arm", "--repeats", "500", "--resume"],
        "sample": ["sample", made, "-n", "3"],
        "encode": ["encode", made, place / "pictures"],
        "decode": ["decode", made, place / "codes.safetensors"],
        "compress": ["compress", made, place / "pictures", *few, "--kind", "exact"],
        "compress archive": ["compress", made, place / "pictures", *few, "--archive"],
        "decompress": ["decompress", made, place / "packed.csl"],
        "reconstruct": ["reconstruct", made, place / "pictures"],
        "complete": ["complete", made, place / "pictures", "--most", "1", "--count", "1"],
        "score": ["score", made, place / "pictures", *few],
    }  # fmt: skip


ENDINGS = {
    "encode": ".safetensors",
    "compress archive": ".csl",
    "reconstruct": ".png",
    "complete": ".png",
    "score": ".csv",
}
NAMES = list(commands(Path()))


@pytest.mark.parametrize("name", NAMES)
def test_killed_and_given_again(place, tmp_path, name):
    words = commands(place)[name]
    out = f"out{ENDINGS.get(name, '')}"
    first = run([*words, "-o", tmp_path / "first" / out])
    assert first.code == 0, first.said
    expected, moments, killed = tree(tmp_path / "first" / out), random.Random(name), 0
    folder = tmp_path / "again"
    for number in range(KILLS):
        folder.mkdir()
        ended = killed_at([*words, "-o", folder / out], moments.uniform(0, 1.05 * first.seconds))
        killed += ended.code == -9
        again = run([*words, "-o", folder / out])
        if again.code == 2:  # it had ended, or was killed behind its last file
            assert "exists already" in again.said, again.said
        else:
            assert again.code == 0, (number, again.said)
        expect_whole(name, folder / out, expected)
        assert not strays(folder), (number, strays(folder))
        shutil.rmtree(folder)
    print(f"{name}: {killed} of {KILLS} were killed, each went on to the same")
    assert killed >= 0.5 * KILLS


def expect_whole(name, out, expected):
    """Output equals that of an undisturbed command; files with times in them can be read."""
    found = tree(out)
    if name.startswith(("train", "slim", "compare")):
        for path in out.rglob("*.json"):
            json.loads(path.read_text())
        for path in out.rglob("*.png"):
            Image.open(path).load()
        weights = [path for path in expected if path.endswith(".safetensors")]
        assert found.keys() >= expected.keys(), expected.keys() - found.keys()
        assert {path: found[path] for path in weights} == {path: expected[path] for path in weights}
        for path in weights:
            load_file(out / path)
    else:
        assert found == expected


def test_a_chain_of_kills_ends_in_the_same_bits(place, tmp_path):
    """One run, killed again and again until it is done."""
    words = ["train", place / "pictures", "-o", tmp_path / "run", *TRAIN]
    moments, kills = random.Random(0), 0
    ended = run(["train", place / "pictures", "-o", tmp_path / "whole", *TRAIN])
    while killed_at(words, moments.uniform(0.3, 0.8) * ended.seconds).code == -9:
        kills += 1
    assert kills and run(words).code == 0
    weights = {
        path: digest for path, digest in tree(tmp_path / "whole").items() if path.endswith(".safetensors")
    }
    assert weights.items() <= tree(tmp_path / "run").items() and not strays(tmp_path)


def test_the_second_of_two_commands_says_so(place, tmp_path):
    words = ["train", place / "pictures", "-o", tmp_path / "run", *TRAIN]
    first = Running(words)
    while not (tmp_path / "run" / "run.yaml").exists():
        pass
    second = run(words)
    ended = first.wait()
    assert second.is_one_line and "another command works in" in second.said
    assert ended.code == 0 and not strays(tmp_path)
