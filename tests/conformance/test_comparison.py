"""The laws of every comparison, over the whole table."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil

import pytest
from PIL import Image

from caselli.compare import COMPARISONS, Comparison, codec_points, compare, judged, load, text
from caselli.compare.base import kept_field
from caselli.errors import UserError
from caselli.features import TEACHERS, VGG16
from caselli.files import alone
from caselli.plain import to_plain
from caselli.run import train
from tests.conformance.cases_comparison import CASES, Sources
from tests.pictures import TINY, bars_and_stripes
from tests.test_segmentation import write


class Stopped(Exception):
    """In the middle of a comparison."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    pictures = bars_and_stripes(folder / "pictures", count=120)
    run = train(pictures, folder / "one", recipe="tiny", steps=2, changes=TINY, progress=False)
    shutil.copytree(run, folder / "two")
    larger = bars_and_stripes(folder / "larger", count=24, size=32)
    return Sources(pictures, larger, write(folder / "masks"), (str(run), str(folder / "two")))


JUDGE = functools.cache(lambda name, size: TEACHERS[name].load(side=32))
RANDOM = functools.cache(VGG16.untrained)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few file codecs; judges are loaded once, and look at small pictures."""
    monkeypatch.setattr(codec_points, "QUALITIES", {"JPEG": (5, 50)})
    monkeypatch.setattr(judged, "judge", JUDGE)
    monkeypatch.setattr(VGG16, "untrained", RANDOM)


def made(name, sources, **changes):
    if name == "codecs":
        pytest.importorskip("constriction")
    case = CASES[name]
    settings = COMPARISONS[name].Settings(**case.settings(sources) | changes)
    return COMPARISONS[name](settings, case.changes) if case.changes else COMPARISONS[name](settings)


def same(name, row):
    """A row without what a clock decides."""
    if CASES[name].timed(row):
        return None
    timed = [field.name for field in dataclasses.fields(row) if field.metadata.get("timed")]
    tensor = getattr(row, kept_field(type(row)) or "", None)
    plain = to_plain(dataclasses.replace(row, **{kept_field(type(row)): None} if tensor is not None else {}))
    return {k: v for k, v in plain.items() if k not in timed}, None if tensor is None else tensor.tolist()


def test_every_comparison_has_a_case():
    assert set(COMPARISONS) == set(CASES)
    assert all(name == kind.__name__.lower() for name, kind in COMPARISONS.items())


@pytest.mark.parametrize("name", COMPARISONS)
def test_records_are_frozen_and_described(name):
    kind = COMPARISONS[name]
    for record in (kind.Settings, kind.Row):
        assert dataclasses.is_dataclass(record) and record.__dataclass_params__.frozen
    assert kind.words and kind.__doc__ and kind.Settings.__doc__ and kind.Row.__doc__


@pytest.mark.parametrize("name", COMPARISONS)
def test_stopped_and_taken_up(name, sources, tmp_path):
    """The same rows as without a stop; none is made twice; other settings are refused in one line."""
    said = []
    whole = compare(made(name, sources), tmp_path / "whole", say=said.append)
    assert len(said) == len(whole) > 1

    def stop(words):
        if words.startswith("[2/"):
            raise Stopped

    with pytest.raises(Stopped):
        compare(made(name, sources), tmp_path / "out", say=stop)
    with pytest.raises(UserError, match="holds a comparison already"):
        compare(made(name, sources), tmp_path / "out")
    with pytest.raises(UserError, match="was begun with") as refused:
        compare(made(name, sources, **CASES[name].other), tmp_path / "out", resume=True)
    assert "\n" not in str(refused.value)
    forget_defaults(name, tmp_path / "out" / "comparison.json")
    said.clear()
    rows = compare(made(name, sources), tmp_path / "out", resume=True, say=said.append)
    assert len(said) == len(rows) - 1
    assert [same(name, row) for row in rows] == [same(name, row) for row in whole]
    comparison, again = load(tmp_path / "out", COMPARISONS)
    assert text(comparison, again) == (tmp_path / "out" / "table.md").read_text()
    assert [same(name, row) for row in again] == [same(name, row) for row in rows]
    said.clear()
    assert compare(made(name, sources), tmp_path / "out", resume=True, say=said.append) and not said
    files(name, tmp_path / "out")


def forget_defaults(name, path):
    """A comparison as it was before settings were added that stand at their defaults."""
    data, defaults = json.loads(path.read_text()), COMPARISONS[name].Settings
    kept = {key: value for key, value in data["agreed"].items() if getattr(defaults, key, None) != value}
    path.write_text(json.dumps(data | {"agreed": kept}))


def files(name, folder):
    """Every file of a comparison is there, and no other."""
    kind = COMPARISONS[name]
    names = {"comparison.json", "table.md", "index.html"}
    names |= {"plot.png"} if kind.plot is not Comparison.plot else set()
    names |= {"pictures.png"} if CASES[name].pictures else set()
    names |= {"kept"} if kept_field(kind.Row) else set()
    assert {path.name for path in folder.iterdir()} - {"runs"} == names
    for name in names & {"plot.png", "pictures.png"}:
        assert min(Image.open(folder / name).size) > 20
    lines = (folder / "table.md").read_text().splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")} - {4}) <= 1 and len(lines) > 3


def test_samples_are_named_by_their_runs_and_need_figures(sources, tmp_path):
    """A comparison that goes on with another run does not take the first one's row for it."""
    runs = [shutil.copytree(sources.runs[0], tmp_path / name) for name in ("one", "other")]
    kind = COMPARISONS["samples"]
    for run in runs:
        rows = compare(kind(kind.Settings(runs=(str(run),))), tmp_path / "out", resume=True)
    assert [row.prior for row in rows] == ["autoregressive, one", "autoregressive, other"]
    (runs[0] / "results.json").unlink()
    with pytest.raises(UserError, match="no figures of its prior"):
        compare(kind(kind.Settings(runs=(str(runs[0]),))), tmp_path / "new")


def test_bits_that_no_head_is_for_are_refused(sources):
    with pytest.raises(UserError, match="softmax goes to"):
        compare(made("bits", sources, bits=(24,), heads=("softmax",)))


def test_the_folder(sources, tmp_path):
    """What else lies there stays; a file's name is answered with the folder's."""
    name, out = "estimators", tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for given in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(UserError, match="holds other files"):
            compare(made(name, sources), out, **given)
    (out / "mine.txt").unlink()
    compare(made(name, sources), out)
    (out / "mine.txt").write_text("mine")
    compare(made(name, sources, samples=2), out, overwrite=True)
    assert (out / "mine.txt").exists() and "begun" not in (out / "table.md").read_text()
    before = {path: path.read_bytes() for path in out.iterdir()}
    with alone(out), pytest.raises(UserError, match="another command works in"):
        compare(made(name, sources), out, overwrite=True)
    assert {path: path.read_bytes() for path in out.iterdir()} == before, "looked at under the lock alone"
    with pytest.raises(UserError, match=r"-o .*plot holds plot.png"):
        compare(made(name, sources), tmp_path / "plot.png")
    with pytest.raises(UserError, match="holds a comparison of estimators"):
        compare(made("divergences", sources), out, resume=True)
    (out / "comparison.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        compare(made(name, sources), out, resume=True)


def test_more_subjects(sources, tmp_path):
    """They are added; those that are not asked for again stay."""
    first = compare(made("estimators", sources, estimators=("arm",)), tmp_path)
    more = compare(made("estimators", sources, estimators=("disarm",)), tmp_path, resume=True)
    assert [row.estimator for row in more] == ["arm", "disarm"] and more[0] == first[0]
