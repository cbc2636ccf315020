"""The annotations of the mathematical rooms are checked while the tests run."""

from __future__ import annotations

import os

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

os.environ.setdefault("MPLBACKEND", "agg")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a float may be given as an int
install_import_hook(
    ["caselli.ops", "caselli.mixer", "caselli.quantizer", "caselli.order"], "tests.conftest.checked"
)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
