"""The benchmark of training steps runs, and its table has every size."""

from __future__ import annotations

import torch
from bench import steps


def test_the_table_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(steps, "in_a_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(steps, "keep_pages", lambda: None)
    monkeypatch.setattr(steps, "tokenizer", lambda perceptual, repeats: ("1",) * 4 + ("-",))
    torch.manual_seed(0)
    steps.run(((32, 1),), repeats=1)
    printed = capsys.readouterr().out
    assert "prior of 32 × 1, 64 × 64 codes" in printed and printed.count("tokenizer, 32 × 32² pixels") == 2
