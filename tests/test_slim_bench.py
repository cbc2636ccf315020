"""The benchmark of smaller priors, at a tiny size."""

from __future__ import annotations

from bench import slim


def test_smaller_priors_are_compared(monkeypatch, capsys):
    monkeypatch.setattr(slim, "SIZES", {"tiny": (32, 2, 4, 11, 5)})
    monkeypatch.setattr(slim, "PRODUCTS", ((4, 16, 8),))
    monkeypatch.setattr(slim, "_torchao", lambda layer: [])
    slim.run()
    out = capsys.readouterr().out
    assert all(name in out for name in slim.WAYS) and "4 × 16 → 8" in out
