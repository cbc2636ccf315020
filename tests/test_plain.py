"""Records and plain data: what comes back, what is refused, and in which words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from caselli.errors import UserError
from caselli.plain import flatten, of_plain, override, to_plain
from caselli.tokenizer import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int = 8
    rate: float = 0.5
    sides: tuple[int, ...] = (1, 2)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = Inner()
    limit: float | None = None
    names: list[str] | str = "one"
    number: int | tuple[int, ...] = 1
    mode: Literal["slow", "fast"] = "slow"
    pair: tuple[int, float] = (1, 2.0)
    parts: tuple[Inner, ...] = ()
    table: Mapping[str, Inner] = dataclasses.field(default_factory=dict)
    flag: bool = False
    place: Path = Path("here")


FULL = Outer(
    "all",
    Inner(3, 1.0, (5,), {"deep": {"list": [1, 2]}}),
    0.1,
    ["a", "b"],
    (4, 5),
    "fast",
    (2, 3.5),
    (Inner(1), Inner(2)),
    {"x": Inner(9)},
    True,
    Path("there/it/is"),
)


@pytest.mark.parametrize("record", [Outer("least"), FULL])
def test_records_come_back_from_json(record):
    assert of_plain(Outer, json.loads(json.dumps(to_plain(record)))) == record


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        ("limit", 1, 1.0),
        ("limit", None, None),
        ("name", 12, "12"),
        ("names", "x", "x"),
        ("names", ("x", "y"), ["x", "y"]),
        ("number", [1, 2], (1, 2)),
        ("number", 7, 7),
        ("parts", {"width": 4}, (Inner(4),)),
        ("inner", {"sides": 3}, Inner(sides=(3,))),
        ("place", "a/b", Path("a/b")),
    ],
)
def test_values_become_what_the_annotation_says(field, given, expected):
    record = of_plain(Outer, {"name": "n", field: given})
    assert getattr(record, field) == expected
    assert type(getattr(record, field)) is type(expected)


REFUSED = [
    ({"limit": "low"}, "limit 'low' was given; float was expected"),
    ({"flag": 1}, "flag 1 was given; bool was expected"),
    ({"inner.width": True}, "inner.width True was given; int was expected"),
    ({"inner": 3}, "inner 3 was given; fields beneath it were expected"),
    ({"inner": {"widht": 3}}, "field 'inner.widht' was given; did you mean inner.width"),
    ({"inner.options": 3}, "inner.options 3 was given; dict was expected"),
    ({"mode": "quick"}, "mode 'quick' was given; one of 'slow', 'fast' was expected"),
    ({"number": "x"}, r"number 'x' was given; int or tuple\[int, ...\] was expected"),
    ({"names": None}, r"names None was given; list\[str\] or str was expected"),
    ({"pair": [1]}, r"pair \[1\] was given; 2 values were expected"),
    ({"table": {"x": {"rate": "r"}}}, "table.x.rate 'r' was given; float was expected"),
    ({"nmae": 3}, "field 'nmae' was given; did you mean name"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_refusals_name_the_field(changes, words):
    with pytest.raises(UserError, match=words):
        override(Outer("n"), changes)
    if not any("." in name for name in changes):
        with pytest.raises(UserError, match=words):
            of_plain(Outer, {"name": "n"} | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inner.width.deep": 1}, "field 'inner.width.deep' was given; 'inner.width' is a plain value"),
        ({"inner.options.a": 1, "inner.options.a.b": 1}, "'inner.options.a' is a plain value"),
        ({"inner.nothing": 1}, "field 'inner.nothing' was given; did you mean inner.options"),
    ],
)
def test_dotted_names_lead_somewhere(changes, words):
    with pytest.raises(UserError, match=words):
        override(Outer("n"), changes)


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match=r"no run\.name was given; it has no default"):
        of_plain(Outer, {}, "run")
    with pytest.raises(UserError, match=r"run \[1\] was given; fields beneath it were expected"):
        of_plain(Outer, [1], "run")


def test_override_keeps_the_rest():
    changed = override(FULL, {"inner.width": 4, "inner.options.deep.more": 1, "inner": {"rate": 2}})
    assert changed.inner == Inner(4, 2.0, (5,), {"deep": {"list": [1, 2], "more": 1}})
    assert dataclasses.replace(changed, inner=FULL.inner) == FULL


def test_flatten_gives_the_names_that_override_takes():
    assert override(Outer("n"), flatten(FULL)) == FULL


def test_changes_that_are_valid_together_are_made_together():
    """The factor alone would leave a patch that does not divide it."""
    assert override(TokenizerConfig(), {"factor": 1, "patch": 1}).factor == 1
