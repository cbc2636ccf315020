"""The script for a day with a GPU, rehearsed on the processor."""

from __future__ import annotations

import json

from bench import gpu

from caselli.data import glyphs


def broken(day):
    """A part that fails."""
    raise ValueError("no such thing")


def test_every_part_goes_through_and_one_that_fails_stops_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "PARTS", (broken, *gpu.PARTS))
    monkeypatch.setattr(glyphs, "TRAIN", 620)  # no part looks at the pictures
    gpu.run("cpu", gpu.TINY, tmp_path)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["broken"]["failed"] == "ValueError: no such thing"
    assert [name for name, what in found.items() if isinstance(what, dict)] == ["broken"], found
    assert {row["stage"] for row in found["training"]} == {"tokenizer of tiny", "prior of tiny"}
    page = (tmp_path / "gpu.md").read_text()
    assert "| op, length | ms |" in page and "failed: ValueError" in page
    assert "broken, see gpu.json" in capsys.readouterr().out
