"""The annotations of the mathematical rooms are checked while the tests run, and none pays for what it does
not look at."""

from __future__ import annotations

import contextlib
import os
from unittest import mock

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Plots are drawn for tests marked `drawn`: each costs more than the tiny training that it shows. Only
    slow tests wait until a file would outlive the current."""
    with contextlib.ExitStack() as spared:
        if isinstance(item, pytest.Function) and "drawn" not in item.keywords:  # doctests show what is drawn
            spared.enter_context(mock.patch("caselli.report.plots._svg", lambda figure: b"<svg/>"))
        if "slow" not in item.keywords:
            spared.enter_context(mock.patch("os.fsync", lambda handle: None))
        return (yield)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
