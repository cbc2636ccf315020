"""The benchmark of tokenizers compares the same network: equal weights give equal losses."""

from __future__ import annotations

import pytest
import torch


def test_both_begin_with_the_same_loss_and_the_table_is_printed(capsys, monkeypatch):
    pytest.importorskip("diffusers", reason="the peer is not installed")
    from bench import tokenizers

    monkeypatch.setattr(tokenizers, "SIZE", 16)
    monkeypatch.setattr(tokenizers, "BATCH", 2)
    monkeypatch.setattr(tokenizers, "matrix_rate", lambda: 1e9)
    threads = torch.get_num_threads()
    try:
        made = tokenizers.variants()
        theirs, ours = (made[name] for name in ("diffusers, float32 (its default)", "caselli, float32"))
        counts = [sum(p.numel() for p in one[0].parameters()) for one in (theirs, ours)]
        assert counts[0] == pytest.approx(counts[1], rel=0.02)
        first, second = (tokenizers.losses(*one, 3) for one in (theirs, ours))
        assert first == pytest.approx(second, rel=1e-4)
        tokenizers.run(steps=1, repeats=1)
    finally:
        torch.set_num_threads(threads)
    assert "times as fast" in capsys.readouterr().out
