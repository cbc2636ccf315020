"""The benchmark of quantizers runs, and prints its tables."""

from __future__ import annotations

import pytest
import torch
from bench.__main__ import main


def test_prints_the_ratio_and_the_share(capsys, monkeypatch):
    pytest.importorskip("vector_quantize_pytorch", reason="the peer is not installed")
    from bench import quantizers

    monkeypatch.setattr(quantizers, "matrix_rate", lambda: 1e9)
    threads = torch.get_num_threads()
    try:
        quantizers.run(sizes=((64, 4, 8),), repeats=1)
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "64, 4, 8" in printed
    assert "ratio" in printed and "share of the matrix rate" in printed


def test_an_unknown_benchmark_is_named(capsys):
    assert main(["quantisers"]) == 2
    assert "quantizers" in capsys.readouterr().err
