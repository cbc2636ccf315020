"""The published vectors that the suite carries."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

FOLDER = Path(__file__).parent.parent / "golden"


def golden(name):
    """Name → tensor of one file; skips the test where the file is not there."""
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path.name} is not in tests/golden")
    return load_file(path)
