"""The guide's page of mixers says what the code says: its tables are made again and compared."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from caselli.mixer import MIXERS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("mixers_page", DOCS / "mixers_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_code(page):
    text, tables = page.PAGE.read_text(), page.tables()
    for name, table in tables.items():
        assert page.between(text, name, table) == text, "run `python docs/build.py mixers`"
    for name in ("mixers", "tolerances"):
        assert re.findall(r"^\| `(\w+)`", tables[name], re.MULTILINE) == list(MIXERS)


def test_every_mixer_names_its_source(page):
    rows = [row for row in page.tables()["mixers"].splitlines() if row.startswith("| `")]
    assert all(re.search(r"(19|20)\d\d", row.split("|")[-2]) for row in rows)


def test_the_tolerances_are_those_of_the_cases(page):
    """Read back from the page, number by number."""
    from tests.conformance.cases_mixer import DEFAULT_TOLERANCE, TOLERANCES

    text = page.PAGE.read_text().split("<!-- tolerances -->")[1].split("<!-- end -->")[0]
    found = {name: (float(a), float(b)) for name, a, b in re.findall(r"`(\w+)` \| (\S+) \| (\S+) \|", text)}
    assert found == {name: TOLERANCES.get(name, DEFAULT_TOLERANCE) for name in MIXERS}


def test_float32_is_precise_in_every_form(page):
    """The measured table has every causal mixer, and none loses more than five millionths."""
    text = page.PAGE.read_text().split("<!-- precision -->")[1].split("<!-- end -->")[0]
    found = dict(re.findall(r"`(\w+)` \| (.*) \|", text))
    assert list(found) == [name for name, kind in MIXERS.items() if kind(width=64).causal]
    assert all(float(error) < 5e-6 for errors in found.values() for error in errors.split(" | "))
