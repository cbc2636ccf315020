"""Every option of every command with values that nobody can mean: one line, exit code 2, nothing loaded."""

from __future__ import annotations

import importlib
import keyword

import pytest

from caselli.cli import COMMANDS, main
from caselli.cli.command import REQUIRED, fields_of, options_of
from caselli.compare import COMPARISONS

HUGE = "9" * 30
WHOLE = ("-1", "-999999", "1.5", "nan", "inf", HUGE, "", "many")
NUMBER = ("-1", "-0.5", "nan", "inf", HUGE, "", "much")
ZERO_MEANS_SOMETHING = {
    "seed", "batch", "temperature", "choice_temperature", "guidance", "guidance_to", "strength", "strengths",
    "top_p", "smooth", "data", "transfer", "trial", "whole", "rank", "patience", "shift", "replay",
}  # fmt: skip
"""Numbers that may be zero though their default is another."""


def commands():
    """Words of a command → its options."""
    for name in COMMANDS:
        module = importlib.import_module(f"caselli.cli.{name}" + "_" * keyword.iskeyword(name))
        if hasattr(module, "command"):
            yield (name,), list(options_of(module.command))
    for name, kind in COMPARISONS.items():
        yield ("compare", name), list(fields_of(kind.Settings))


def cases():
    """The values of every option; those that several commands share once."""
    known = set()
    for words, options in commands():
        for option in options:
            what = option.name, str(option.kind), str(option.default), option.positional
            if what in known:
                continue
            known.add(what)
            values = {int: WHOLE, float: NUMBER, str: ("",)}.get(option.plain, ())
            if option.plain in (int, float):
                zero = option.default == 0 or option.name in ZERO_MEANS_SOMETHING
                values += () if zero else ("0",)
            if option.several or option.default == "":
                values = tuple(value for value in values if value)
            for value in values:
                yield pytest.param(
                    words, options, option, value, id=f"{'-'.join(words)}-{option.key}-{value}"
                )


@pytest.mark.parametrize(("words", "options", "option", "value"), list(cases()))
def test_a_value_that_nobody_can_mean_is_refused_in_one_line(words, options, option, value, capsys):
    typed = list(words)
    for other in options:
        given = value if other is option else "1"
        if other.positional:
            typed += [given] if other.default is REQUIRED or other is option else []
        elif other is option or other.default is REQUIRED:
            typed.append(f"{other.flag}={given}")
    if option.default is REQUIRED and option.positional and not value:
        typed = [*words, *("" for other in options if other.positional and other.default is REQUIRED)]
        typed += [
            f"{other.flag}=1" for other in options if not other.positional and other.default is REQUIRED
        ]
    assert main(typed) == 2, typed
    said = capsys.readouterr().err
    assert said.startswith("caselli: ") and said.count("\n") == 1 and "was expected" in said, said
