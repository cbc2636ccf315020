"""The sampling benchmark's own contenders, at a tiny size and without the peers."""

from __future__ import annotations

import pytest
from bench import sampling

from caselli.sampling.compile import Unavailable, library

try:
    library()
except Unavailable as reason:
    pytest.skip(str(reason), allow_module_level=True)


def test_ours_are_compared(monkeypatch, capsys):
    for name, value in {"WIDTH": 32, "DEPTH": 1, "VOCABULARY": 11, "LENGTH": 5}.items():
        monkeypatch.setattr(sampling, name, value)
    contenders = sampling.ours()
    sampling.compare(contenders, batch=2, rate=1e9, repeats=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(contenders)
    assert lines[0].startswith("batch 2") and all("%" in line for line in lines[1:])
