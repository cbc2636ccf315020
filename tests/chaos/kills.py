"""`kill -9` at random moments, and the same command again: `python -m tests.chaos.kills --kills 100`.

A command is killed after a random share of the processor time that it takes, given again, killed again, and
so on until it ends or has been killed five times; then it is left to end. What lies there must be what an
undisturbed command makes: the same bytes, for a run the same weights, and nothing beside it.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from safetensors.torch import load_file

from tests.chaos.forked import Ended, killed_at, run, strays, tree
from tests.pictures import TINY, bars_and_stripes, options
from tests.test_recipe_family import COMMON
from tests.test_recipe_family import TINY as FAMILIES
from tests.test_segmentation import write

QUICK = {"reading.seconds": 0.05, "reading.samples": 4}
OFTEN = {f"training.{stage}.checkpoint_steps": 2 for stage in ("tokenizer", "prior", "decoder")}
TRAIN = ["--recipe", "tiny", "--steps", "6", *options(TINY | OFTEN | QUICK), "--resume"]
SMALL = {"training.batch": 4, "training.checkpoint_steps": 2, "precision": "float32", "data.workers": 0}
UNET = ["--recipe", "unet", "--steps", "6", *options(SMALL), "--resume"]
UNET += options({"segmenter.width": 4, "segmenter.depth": 1})
FAMILY = [*options(COMMON | QUICK), "--steps", "6", "--resume"]
TUNE = ["--rank", "2", "--steps", "4", "--batch", "8", "--views", "1", "--patience", "0", "--resume"]
IN_A_ROW = 5
"""Most kills of a command before it is left to end."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that writes.

    Arguments:
        words: of the command line, without its output.
        ending: of its output's name.
        within: it works in a run that is there, which is named second.
        trains: its output tells of times, and is compared by its weights.
    """

    words: tuple[str | Path, ...]
    ending: str = ""
    within: bool = False
    trains: bool = False

    def line(self, out: Path) -> list[str | Path]:
        """The whole command line."""
        first, *rest = self.words
        return [first, out, *rest] if self.within else [*self.words, "-o", out]

    def out(self, folder: Path) -> Path:
        """Path of its output in a folder."""
        return folder / f"out{self.ending}"

    def begin(self, place: Path, folder: Path) -> Path:
        """A new folder with what the command finds there; path of the output."""
        folder.mkdir()
        if self.within:
            shutil.copytree(place / "run", self.out(folder))
        return self.out(folder)


def prepare(root: Path) -> Path:
    """Pictures, a run of two stages, codes, an archive, a run in diffusers' layout, all in a folder."""
    bars_and_stripes(root / "pictures")
    bars_and_stripes(root / "small", size=8)
    bars_and_stripes(root / "new", count=12)
    write(root / "masks", count=20)
    pictures, made = root / "pictures", root / "run"
    for words in (
        ["train", pictures, "-o", made, *TRAIN],
        ["residual", made, pictures, "--steps", "2", "--width", "4"],
        ["encode", made, pictures, "-o", root / "codes.safetensors"],
        ["compress", made, pictures, "--most", "6", "--archive", "-o", root / "packed.csl"],
    ):
        ended = run(words)
        assert ended.code == 0, ended.said
    return root


def commands(place: Path) -> dict[str, Command]:
    """Name → a command that writes a new output."""
    made, pictures, few = place / "run", place / "pictures", ("--most", "6")
    families = {
        f"train {recipe}": Command(
            ("train", place / "small", "--recipe", recipe, *FAMILY, *options(fields)), trains=True
        )
        for recipe, fields in FAMILIES.items()
    }
    estimators = ("--estimators", "score,arm", "--repeats", "500", "--resume")
    return {
        "train": Command(("train", pictures, *TRAIN), trains=True),
        **families,
        "train unet": Command(("train", place / "masks", *UNET), trains=True),
        "slim": Command(("slim", made, "--prune", "0.5", "--steps", "2", "--resume"), trains=True),
        "tune": Command(("tune", made, place / "new", *TUNE), trains=True),
        "compare": Command(("compare", "estimators", *estimators), trains=True),
        "sample": Command(("sample", made, "-n", "3")),
        "encode": Command(("encode", made, pictures), ".safetensors"),
        "decode": Command(("decode", made, place / "codes.safetensors")),
        "compress": Command(("compress", made, pictures, *few, "--kind", "exact")),
        "compress archive": Command(("compress", made, pictures, *few, "--archive"), ".csl"),
        "decompress": Command(("decompress", made, place / "packed.csl")),
        "reconstruct": Command(("reconstruct", made, pictures), ".png"),
        "complete": Command(("complete", made, pictures, "--most", "1", "--count", "1"), ".png"),
        "score": Command(("score", made, pictures, *few), ".csv"),
        "export": Command(("export", made, "--to", "hub")),
    }  # fmt: skip


def within(place: Path) -> dict[str, Command]:
    """Name → a command that changes a run."""
    residual = ("residual", place / "pictures", "--steps", "2", "--width", "4", "--overwrite")
    return {
        "refine": Command(("refine", "--steps", "4"), within=True, trains=True),
        "guide": Command(("guide", "--steps", "4"), within=True, trains=True),
        "residual": Command(residual, within=True, trains=True),
    }


def all_commands(place: Path) -> dict[str, Command]:
    """Name → a command that writes."""
    return commands(place) | within(place)


def kill(name: str, place: Path, folder: Path, most: int, seed: int) -> collections.Counter[str]:
    """Kills one command `most` times; `kills`, `ends` (of which each was compared), and failures in words."""
    command, moments, found = (
        all_commands(place)[name],
        random.Random(f"{name} {seed}"),
        collections.Counter(),
    )
    for _ in range(2):  # the first one takes longer, as it finds nothing in any cache
        shutil.rmtree(folder / "whole", ignore_errors=True)
        out = command.begin(place, folder / "whole")
        whole = run(command.line(out))
        assert whole.code == 0, whole.said
    expected = tree(out)
    while found["kills"] < most:
        out = command.begin(place, folder / "killed")
        for _ in range(min(IN_A_ROW, most - found["kills"])):
            ended = killed_at(command.line(out), moments.uniform(0, 1.05 * whole.seconds))
            if ended.code != -9:
                break
            found["kills"] += 1
        again = run(command.line(out))
        found["ends"] += 1
        for failure in failures(command, out, again, expected):
            found[failure] += 1
        shutil.rmtree(folder / "killed")
    shutil.rmtree(folder / "whole")
    return found


def failures(command: Command, out: Path, ended: Ended, expected: dict[str, str]) -> list[str]:
    """Ways in which the output of a command that was killed, and given again, is not what it should be."""
    found = []
    # one that was killed behind its last file says that it is there
    if ended.code and "exists already" not in ended.said:
        found.append(f"exit code {ended.code}: {ended.said.strip().splitlines()[-1:]}")
    found += [f"left behind: {path.name}" for path in strays(out.parent)]
    made = tree(out)
    compared = [path for path in expected if path.endswith(".safetensors") or not command.trains]
    found += [f"missing: {path}" for path in expected.keys() - made.keys()]
    found += [f"differs: {path}" for path in compared if path in made and made[path] != expected[path]]
    if not command.trains:
        found += [f"beside it: {path}" for path in made.keys() - expected.keys()]
    for path in out.rglob("*"):
        try:
            if path.suffix in READING:
                READING[path.suffix](path)
        except Exception as error:  # whatever is raised by a file that is not whole
            found.append(f"cannot be read: {path.name} ({error})")
    return found


READING = {
    ".json": lambda path: json.loads(path.read_text()),
    ".png": lambda path: Image.open(path).load(),
    ".safetensors": load_file,
}
"""Ending → a reader of whole files."""


def main() -> int:
    """A row for each command, and 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--command", action="append", help="one command, or several")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failed = False
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        place = prepare(Path(folder, "place"))
        for name in asked.command or all_commands(place):
            found = kill(name, place, Path(folder), asked.kills, asked.seed)
            wrong = {words: count for words, count in found.items() if words not in ("kills", "ends")}
            failed |= bool(wrong)
            shown = "; ".join(f"{count} × {words}" for words, count in wrong.items()) or "no failures"
            print(f"{name:<17} {found['kills']:>4} kills {found['ends']:>4} ends  {shown}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
