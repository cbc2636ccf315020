"""Compiles the fused step with the machine's own C++ compiler, once for a machine."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from caselli.errors import UserError
from caselli.files import atomic_write
from caselli.sampling.base import Unavailable

SOURCE = Path(__file__).with_name("fused.cpp")
FLAGS = ["-O3", "-std=c++17", "-march=native", "-fno-math-errno", "-shared", "-fPIC", "-pthread"]
COMPILERS = ("c++", "g++", "clang++")


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled step; compiled in some seconds when this machine has not done so before.

    The result lies in `$XDG_CACHE_HOME/caselli` (`~/.cache/caselli`). `$CXX` names another compiler.

    Errors: `Unavailable` without a compiler, and where it fails.
    """
    given = os.environ.get("CXX")
    compiler = next(
        (found for name in ([given] if given else COMPILERS) if (found := shutil.which(name))), None
    )
    if compiler is None:
        raise Unavailable(f"no C++ compiler was found ({given or ', '.join(COMPILERS)})")
    if not SOURCE.exists():
        raise Unavailable(f"{SOURCE} is missing")
    try:
        path = _folder() / f"fused-{_fingerprint(compiler)}.so"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _compile(compiler, path)
        loaded = ctypes.CDLL(str(path))
    except (OSError, UserError, RuntimeError) as error:
        raise Unavailable(f"the fused step cannot be kept or loaded ({error})") from None
    loaded.lanes.restype = ctypes.c_int64
    loaded.run.restype = None
    loaded.run_pair.restype = ctypes.c_int64
    return loaded


def _compile(compiler: str, path: Path) -> None:
    with atomic_write(path) as temporary:
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(temporary)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"{compiler} failed: {error.stderr.strip().splitlines()[-1:]}") from None
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{compiler} took too long") from None


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caselli"


def _fingerprint(compiler: str) -> str:
    """A digest of all that the compiled step depends on: a home folder may be shared by unlike machines."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    parts = [SOURCE.read_text(encoding="utf-8"), " ".join(FLAGS), compiler, version, *features]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
