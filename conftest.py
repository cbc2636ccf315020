"""Every test, and every example in a docstring, has its seed."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    # where there is no other device, noting the seed for one costs more than many a test
    (torch if torch.cuda.is_available() else torch.default_generator).manual_seed(0)
