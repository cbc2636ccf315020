"""A first run on a machine that lacks something: it works, and says in a line what it does without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from caselli.model import load
from caselli.sampling import EagerEngine, FusedEngine, Unavailable
from caselli.sampling import compile as native_step

RUN = Path(__file__).parent / "old_runs" / "two_stage"


def sampled(out: Path, **environment: str) -> subprocess.CompletedProcess:
    """`caselli sample` in a process with these variables and a path, no others."""
    words = ["-m", "caselli", "sample", str(RUN), "-n", "1", "-o", str(out)]
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS") if name in os.environ}
    return subprocess.run([sys.executable, *words], env=kept | environment, capture_output=True, text=True)


def test_without_a_compiler(tmp_path):
    done = sampled(tmp_path / "a.png", PATH=str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 0 and (tmp_path / "a.png").exists()
    (line,) = [line for line in done.stderr.splitlines() if "C++" in line]
    assert line.startswith("sampling ") and line.endswith("no C++ compiler was found (c++, g++, clang++)")


def test_a_library_that_the_machine_cannot_load(tmp_path, monkeypatch):
    """What an old glibc does: the loader refuses the file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native_step, "_compile", lambda compiler, path: path.write_bytes(b"not a library"))
    monkeypatch.setattr(native_step.shutil, "which", lambda name: sys.executable)
    with pytest.raises(Unavailable, match="cannot be kept or loaded"):
        native_step.library.__wrapped__()


@pytest.mark.parametrize("trouble", ["no home", "read only"])
def test_nowhere_to_keep_the_library(tmp_path, monkeypatch, trouble):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "file").touch()
    home = nowhere if trouble == "no home" else lambda: tmp_path / "file"
    monkeypatch.setattr(native_step.Path, "home", home)
    monkeypatch.setattr(native_step.shutil, "which", lambda name: sys.executable)
    with pytest.raises(Unavailable, match="cannot be kept or loaded"):
        native_step.library.__wrapped__()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_processors_without_avx512_draw_the_same_codes(tmp_path, monkeypatch, processor):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flags = [f"-march={processor}" if flag.startswith("-march") else flag for flag in native_step.FLAGS]
    monkeypatch.setattr(native_step, "FLAGS", flags)
    library = native_step.library.__wrapped__()
    monkeypatch.setattr("caselli.sampling.fused.library", lambda: library)
    model = load(RUN)
    pictures = [
        model.sample(4, seed=3, engine=engine(model.require_prior())) for engine in (FusedEngine, EagerEngine)
    ]
    assert torch.allclose(*pictures, atol=1e-4)
