"""The page, and the report of a run folder: whole, partial and broken."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from caselli.errors import UserError
from caselli.figures import known
from caselli.report import Page, grid, pairs, save_png, write_report
from caselli.report.folder import flat, history, read_run
from caselli.run import KINDS

pytestmark = pytest.mark.drawn

FIGURES = {name: figure for kind in KINDS.values() for name, figure in kind.figures().items()}
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # by the clock, on a busy machine
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Outline(HTMLParser):
    """Checks that tags nest, and keeps headings and the addresses of everything that is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.sources += [value for name, value in attributes if name in ("src", "href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] not in ("style", "script"):
            self.words += data


def _make_run(run):
    pictures = torch.rand(6, 1, 8, 8) * 2 - 1
    save_png(grid(pictures, labels=list("abcdef")), run / "pictures" / "samples.png")
    save_png(pairs(pictures, pictures), run / "pictures" / "reconstructions.png")
    save_png(grid(pictures), run / "pictures" / "nearest_neighbours.png")
    (run / "run.yaml").write_text("config:\n  data:\n    source: my glyphs\n  tokenizer:\n    factor: 8\n")
    lines = []
    for stage in ("tokenizer", "prior"):
        for step in range(0, 50, 10):
            line = {"stage": stage, "split": "train", "step": step, "seconds": step / 2}
            line |= {"loss": 1 / (step + 1), "pictures_per_second": 100.0 + step, "bits_per_code": 5.0}
            lines += [line, line | {"split": "validation", "codebook_use": 0.9, "psnr": 20.0}]
        lines.append({"stage": stage, "split": "message", "step": 50, "message": f"{stage} <done>"})
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = {
        "tokenizer": {
            "psnr": 20.5,
            "code_counts": [3, 0, 5, 1],
            "parameters": 1234567,
            "bits_per_picture": 8,
        },
        "prior": {"bits_per_code": 4.5, "my_own_figure": 1.25},
        "samples": {"read_share_of_real": 0.91, "tokens_per_second": 900},
        "data": {
            "name": "glyphs",
            "count": 100,
            "class_names": ["a b", "c"],
            "notes": ["captions: <2> rows name no picture"],
            "bad": [_bad(i) for i in range(60)],
        },
        "samples_judged": JUDGED | {"frechet": 123.45},
        "reconstructions_judged": JUDGED | {"frechet": 23.45},
        "sharpness": {"nested": {"deep": 3}},
    }
    (run / "results.json").write_text(json.dumps(results))
    return run


JUDGED = {
    "features": "efficientnet-lite0 at 128 pixels",
    "reference": "glyphs, held out",
    "made_count": 200,
    "real_count": 201,
}


def _bad(i: int) -> dict[str, str]:
    return {"name": f"<{i}>.png", "reason": "cut short"}


def test_a_whole_run_has_every_section_in_order(tmp_path):
    path = write_report(_make_run(tmp_path), FIGURES)
    assert path == tmp_path / "report.html"
    page = Outline(path.read_text())
    assert page.headings == [
        "Key figures", "Samples", "Reconstructions", "Beside held-out pictures", "Training", "Codebook",
        "Bits", "Throughput", "Data",
        "More figures", "More pictures", "Log", "Configuration", "Go on",
    ]  # fmt: skip
    for words in (
        "20.50 dB", "91.0 %", "1,234,567", "my own figure", "<7>.png", "and 10 more", "tokenizer <done>",
        "factor: 8", f"caselli sample {tmp_path} -n 16 --label 'a b'", "caselli train 'my glyphs'",
        "sharpness · nested · deep", "123.5", "23.4", "200 pictures of each kind beside 201 real ones",
        "by efficientnet-lite0 at 128 pixels", "captions: <2> rows name no picture",
    ):  # fmt: skip
        assert words in page.words.replace("\n", " "), words


def test_the_page_asks_the_network_for_nothing(tmp_path):
    text = write_report(_make_run(tmp_path), FIGURES).read_text()
    assert all(source.startswith("data:") for source in Outline(text).sources)
    assert "<script" not in text and "url(" not in text and "@import" not in text
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')


@pytest.mark.parametrize("missing", ["run.yaml", "log.jsonl", "results.json", "pictures"])
def test_what_is_missing_leaves_its_section_out(tmp_path, missing):
    run = _make_run(tmp_path / "run")
    (run / missing).rename(tmp_path / "elsewhere")
    headings = Outline(write_report(run, FIGURES).read_text()).headings
    gone = {
        "run.yaml": {"Configuration"},
        "log.jsonl": {"Training", "Throughput", "Log"},
        "results.json": {"Data", "More figures"},
        "pictures": {"Samples", "Reconstructions", "More pictures"},
    }[missing]
    assert not gone & set(headings) and len(headings) >= 10


def test_an_empty_folder_and_no_folder_still_give_a_page(tmp_path):
    for run in (tmp_path, tmp_path / "none"):
        assert Outline(write_report(run, FIGURES).read_text()).headings == []


def test_files_that_are_cut_short_or_foreign_are_passed_over(tmp_path):
    run = _make_run(tmp_path)
    (run / "run.yaml").write_text("source: [unclosed\n\tx: <")
    (run / "results.json").write_text((run / "results.json").read_text()[:80])
    (run / "pictures" / "samples.png").write_bytes((run / "pictures" / "samples.png").read_bytes()[:100])
    log = (run / "log.jsonl").read_text()
    foreign = '\n[1, 2]\n"word"\n{"stage": null, "step": "x", "loss": null}\n{"stage": 3, "seconds": true}\n'
    (run / "log.jsonl").write_text(log[: len(log) // 2] + foreign + '{"stage": "prior", "lo')
    page = Outline(write_report(run, FIGURES).read_text())
    assert "Training" in page.headings and "Samples" not in page.headings and "[unclosed" in page.words


def test_names_and_numbers_that_do_not_fit_are_shown_all_the_same(tmp_path):
    results = {"data": {"bad": [{"name": "bad\udcff.png", "reason": "cut"}]}, "prior": {"loss": 10**400}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    line = {"stage": "prior", "split": "train", "loss": 10**400}
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line | {"step": i}) + "\n" for i in range(3)))
    words = Outline(write_report(tmp_path, FIGURES).read_text()).words
    assert "bad?.png" in words and "not finite" in words


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KNOWN = st.sampled_from(
    ["psnr", "code_counts", "bad", "notes", "classes", "seconds", "parameters", "codebook_use"]
)


@example({"data": {"bad": 3, "classes": {"a": [1]}, "class_names": []}, "tokenizer": {"code_counts": [[]]}})
@settings(max_examples=40, deadline=None, suppress_health_check=SUPPRESSED)
@given(
    st.dictionaries(
        st.sampled_from(["tokenizer", "prior", "samples", "data", "other"]),
        st.dictionaries(KNOWN | st.text(max_size=5), VALUES, max_size=4) | VALUES,
    )
)
def test_no_results_break_the_page(tmp_path, results):
    (tmp_path / "results.json").write_text(json.dumps(results))
    Outline(write_report(tmp_path, FIGURES).read_text())


def test_a_resumed_log_counts_the_later_line_and_drops_what_is_not_finite():
    lines = [
        {"stage": "prior", "split": "train", "step": step, "seconds": 1.0, "loss": loss}
        for step, loss in [(0, 3.0), (10, 2.5), (20, 9.9), (10, 2.0), (30, math.nan), (40, None), (50, True)]
    ]
    found, messages = history(lines)
    curve = found["prior", "train", "loss"]
    assert (curve.steps, curve.values, messages) == ([0, 10, 20], [3.0, 2.0, 9.9], [])


def test_figures_come_from_the_results_then_from_validation(tmp_path):
    run = read_run(_make_run(tmp_path))
    assert run.stages() == ["tokenizer", "prior"] and run.source() == "my glyphs"
    assert run.figure("psnr") == 20.5 and run.figure("fid") is None
    (tmp_path / "results.json").unlink()
    assert read_run(tmp_path).figure("psnr") == 20.0


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_known_figure_is_shown_in_words(name):
    for value in (0.5, 3, -1e-9, 1e30, math.nan, math.inf, None, "word", True, [1, 2]):
        label, number, unit = FIGURES[name].show(value)
        assert label and number and isinstance(unit, str) and "_" not in label


def test_a_figure_that_nothing_describes_keeps_its_name():
    assert known(FIGURES, "my_own_figure").show(1.25) == ("my own figure", "1.25", "")


def test_every_section_that_a_figure_names_is_one_of_the_page():
    sections = {figure.section for figure in FIGURES.values()}
    assert sections == {"", "Training", "Codebook", "Discriminator", "Bits"}


def test_nested_figures_are_flattened_without_lists_of_records():
    figures = {"a": {"b": {"c": 1}}, "bad": [{"name": "x"}], "d": [1]}
    assert list(flat(figures)) == [("a.b.c", 1), ("d", [1])]


def test_every_text_of_a_page_is_escaped():
    evil = "<b>&\"'"
    page = Page(evil, evil, evil)
    page.section(evil, evil)
    page.paragraph(evil)
    page.facts([(evil, evil, evil)])
    page.table([(evil, evil)], (evil, evil))
    page.picture(grid(torch.zeros(1, 1, 8, 8)), evil)
    page.commands([(evil, evil)])
    page.details(evil, evil)
    assert Outline(page.html()).words.count(evil) == 19
    assert "<b>" not in page.html()


def test_wide_pictures_are_shrunk_smoothly_and_small_ones_stay_sharp():
    page = Page("p")
    page.picture(grid(torch.zeros(1, 1, 8, 8)))
    page.picture(grid(torch.zeros(30, 1, 32, 32), columns=30))
    assert page.html().count('class="pixelated"') == 1


def test_what_is_no_picture_is_a_users_mistake():
    with pytest.raises(UserError, match="PNG, JPEG or SVG"):
        Page("p").plot(b"GIF89a")
