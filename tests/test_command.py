"""The parser that a command's signature makes: words in, arguments out, mistakes in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from caselli.cli import COMMANDS, main
from caselli.cli.command import call, parser_of
from caselli.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of drawing."""

    temperature: float = 1.0
    """Temperature: 1 as learned."""
    top_k: int = 0
    """Number of likeliest codes kept; 0 keeps all."""


def draw(
    run: str,
    pictures: list[str],
    *,
    count: int = 16,
    split: Literal["train", "all"] = "all",
    minutes: float | None = None,
    text: list[str] = (),
    archive: bool = False,
    from_: str = "",
    options: Options = Options(),
    out: str,
) -> None:
    """Draws.

    Arguments:
        pictures: picture files.
        count: number of pictures.
        split: part of the set.
        minutes: budget in minutes.
        text: a caption.
        archive: one file.
        from_: layout.
        out: FILE.png.
    """
    CALLS.append(locals())


CALLS: list[dict] = []


def called(words: str) -> dict:
    call("draw", draw, words.split())
    return CALLS.pop()


def test_defaults():
    assert called("r a b -o x") == {
        "run": "r",
        "pictures": ["a", "b"],
        "count": 16,
        "split": "all",
        "minutes": None,
        "text": (),
        "archive": False,
        "from_": "",
        "options": Options(),
        "out": "x",
    }


def test_options_by_letter_by_dash_and_by_underscore():
    given = called("r a -o x -n 3 --top_k 2 --minutes 0.5 --text one --text two --archive --from f")
    assert (given["count"], given["options"], given["minutes"]) == (3, Options(top_k=2), 0.5)
    assert (given["text"], given["archive"], given["from_"]) == (["one", "two"], True, "f")
    assert called("r a -o x --top-k=4 --temperature=0.5")["options"] == Options(0.5, 4)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("r a -o x -n q", "count 'q' was given; a whole number was expected"),
        ("r a -o x -n 1.5", "count '1.5' was given; a whole number was expected"),
        ("r a -o x --minutes soon", "minutes 'soon' was given; a number was expected"),
        ("r a -o x --split trian", "split 'trian' was given; did you mean train? Known: train, all"),
        ("r a -o x --temperature hot", "temperature 'hot' was given; a number was expected"),
        ("r -o x", "no pictures was given; `caselli draw RUN PICTURES... -o OUT [options]` was expected"),
        ("r a", "no out was given; `caselli draw RUN PICTURES... -o OUT [options]` was expected"),
        ("r a -o x --mi 3", "unrecognized arguments: --mi 3; see `caselli draw --help`"),
        ("r a -o x --count", "argument -n/--count: expected one argument; see `caselli draw --help`"),
    ],
)
def test_mistakes(words, line):
    with pytest.raises(UserError) as error:
        called(words)
    assert str(error.value) == line


def test_options_with_a_dot_are_fields():
    seen = []

    def command(source: str, *, out: str, **fields: str) -> None:
        """Trains.

        Arguments:
            source: pictures.
            out: folder.
        """
        seen.append((source, out, fields))

    call("train", command, ["s", "--a.b", "3", "--a.c_d=e", "-o", "x"])
    assert seen == [("s", "x", {"a.b": "3", "a.c_d": "e"})]
    with pytest.raises(UserError, match="a value was expected"):
        call("train", command, ["s", "-o", "x", "--a.b"])


def test_help_names_what_there_is():
    text = parser_of("draw", draw).format_help()
    assert "usage: caselli draw RUN PICTURES... -o OUT [options]" in text
    for line in (
        "number of pictures (16)",
        "the set: train, all (all)",
        "keeps all (0)",
        "a run folder",
    ):
        assert line in text


def test_no_torch_is_needed_for_a_parser():
    code = "import sys, caselli.cli.command; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_commands_and_options(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "variations" in script and "temperature" in script and "choice-temperature" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(capsys):
    main(["completion", "bash"])
    tried = capsys.readouterr().out + (
        "COMP_WORDS=(caselli sample --te); COMP_CWORD=2; _caselli; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(caselli sa); COMP_CWORD=1; _caselli; echo ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(["bash", "-c", tried], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--text", "--temperature", "sample"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(capsys):
    main(["completion", "fish"])
    tried = ("caselli sample --te", "caselli sa", "caselli compress --kind ")
    asked = "\n".join(f"complete -C '{words}'" for words in tried)
    script = capsys.readouterr().out + "\n" + asked
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
    words = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert words == ["--temperature", "--text", "sample", "codes", "exact"] and not done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(capsys, tmp_path):
    main(["completion", "zsh"])
    (tmp_path / "_caselli").write_text(capsys.readouterr().out)
    begin = f"PS1='> '; fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; print READ''Y\n"
    tried = {
        "caselli sample --temp\t": "caselli sample --temperature",
        "caselli reconst\t": "caselli reconstruct",
        "caselli compress --kind ex\t": "--kind exact",
    }
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb"})
    try:
        for typed, shown in {begin: "READY", **tried}.items():
            os.write(terminal, typed.encode())
            seen = read_until(terminal, shown)
            assert shown in seen, seen
            os.write(terminal, b"\x15")  # clears the line
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, shown: str, seconds: float = 60) -> str:
    """Output of a terminal until it has shown some words."""
    seen, end = "", time.monotonic() + seconds
    while shown not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


def test_fields_are_searched(capsys):
    assert main(["train", "--help-fields", "codebook"]) == 0
    shown = capsys.readouterr().out
    assert "--tokenizer.quantizer_options" in shown and "--prior.width" not in shown
    assert main(["train", "--help-fields", "--recipe", "unet"]) == 0
    assert "--segmenter.width" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_fits_a_screen(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) if name != "compare" else contextlib.nullcontext():
        main([name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert f"caselli {name}" in lines[0] and len(lines) <= 50


def agree(before: Any, after: Any) -> bool:
    """True where all that two records share is equal; the later one may have fields that came since."""
    if not isinstance(before, dict):
        return before == after
    return all(agree(value, after[name]) for name, value in before.items() if name in after)


@pytest.mark.parametrize(("recipe", "source"), [("two_stage", "bars"), ("vae", "bars"), ("unet", "squares")])
def test_a_run_like_another_one(tmp_path, recipe, source):
    old = Path(__file__).parent / "old_runs"
    words = [
        "train",
        str(old / source),
        "-o",
        str(tmp_path / "new"),
        "--config",
        str(old / recipe / "run.yaml"),
    ]
    assert main([*words, "--steps", "1", "--seed", "3"]) == 0
    before, after = (
        yaml.safe_load((run / "run.yaml").read_text()) for run in (old / recipe, tmp_path / "new")
    )
    before, after = before["config"], after["config"]
    assert after["seed"] == 3 and after["recipe"] == before["recipe"]
    for part in {"tokenizer", "prior", "model", "segmenter"} & before.keys():
        assert len(before[part]) > 4 and agree(before[part], after[part]), part
    stages = after["training"]
    assert [stages[name]["steps"] for name in ("tokenizer", "prior") if name in stages] in ([], [1, 1])
    assert stages.get("steps", 1) == 1


@pytest.mark.parametrize(
    "name", ["minutes", "steps", "learning_rate", "weight_decay", "warmup", "clip", "batch"]
)
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_field_with_a_number_that_nobody_can_mean(tmp_path, name, value, capsys):
    out = tmp_path / "run"
    assert main(["train", "glyphs", "-o", str(out), f"--training.prior.{name}", value]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "xpected" in said and not out.exists()


def test_old_words_are_answered(capsys):
    for words, new in (
        (["evaluate", "run", "glyphs", "--reader-steps", "5"], "--classifier-steps"),
        (["compare", "guidance", "run", "--reader_steps=5"], "--classifier-steps"),
        (["evaluate", "run", "glyphs", "--features", "reader"], "'classifier'"),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"its name is {new} now" in said and said.count("\n") == 1
