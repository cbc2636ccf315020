"""The first five minutes: the demo, and the next command that every command names."""

from __future__ import annotations

import importlib
import keyword
import shlex
from pathlib import Path

import pytest

from caselli.cli import COMMANDS, demo, main
from caselli.cli.advice import NEXT, OWN, next_command
from caselli.cli.command import call, options_of, parser_of
from caselli.compare import COMPARISONS

OLD = Path(__file__).parent / "old_runs"


def function_of(name):
    module = importlib.import_module(f"caselli.cli.{name}" + "_" * keyword.iskeyword(name))
    return getattr(module, "command", None)


def test_every_command_has_one_that_follows():
    assert COMMANDS.keys() <= NEXT.keys()


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"completion", "train", "compare"}))
def test_what_follows_can_be_typed(name):
    given = {option.key: option.name for option in options_of(function_of(name))}
    program, other, *words = shlex.split(next_command(name, given))
    assert program == "caselli" and NEXT[name] != OWN
    if words[:1] == ["codecs"]:
        assert "codecs" in COMPARISONS
    elif function_of(other) is not None:
        parser_of(other, function_of(other)).parse_args(words)


@pytest.mark.parametrize(
    ("run", "line"),
    [("two_stage", "caselli score"), ("unet", "caselli segment"), ("bars", "")],
)
def test_a_run_goes_on_with_what_it_can_do(run, line):
    found = next_command("train", {"out": str(OLD / run)})
    assert found.startswith(line) and bool(found) == bool(line)


def test_it_is_said_behind_the_command_on_standard_error(capsys, monkeypatch):
    assert main(["list", "order"]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"next: {NEXT['list']}\n" and "next:" not in shown.out
    monkeypatch.setenv("RANK", "1")
    assert main(["list", "order"]) == 0 and capsys.readouterr().err == ""


def test_nobody_who_has_done_nothing_is_left_alone(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.endswith("A start: caselli demo\n")


def test_the_demo_is_an_ordinary_training(capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr(demo, "train", lambda source, **options: seen.update(options, source=source))
    call("demo", demo.command, ["-o", "my demo", "--minutes", "2"])
    assert seen == {"source": "glyphs", "out": "my demo", "recipe": "tiny", "minutes": 2, "resume": True}
    line, _ = capsys.readouterr().err.splitlines()
    assert line == "caselli train glyphs -o 'my demo' --recipe tiny --minutes 2 --resume"
    words = shlex.split(line)[2:]
    given = parser_of("train", function_of("train")).parse_args(words)
    assert (given.source, given.out, given.recipe, given.minutes) == ("glyphs", "my demo", "tiny", 2)
