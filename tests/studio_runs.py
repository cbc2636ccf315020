"""A folder with one tiny run, and the studio of it, for the tests of the studio."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pictures import TINY, bars_and_stripes

TOKEN, PORT = "a-token-of-tests", 7865


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A folder of runs with the run `bars`; beside it the pictures, outside of the folder."""
    from caselli.run import train

    root = tmp_path_factory.mktemp("studio")
    source = bars_and_stripes(root / "pictures")
    changes = TINY | {"reading.seconds": 0, "refinement.drawn": 8, "training.decoder.batch": 8}
    run = train(source, root / "runs" / "bars", recipe="tiny", steps=4, changes=changes, progress=False)
    # a decoder of its own, as runs of `auto` have
    train(source, run, stage="decoder", steps=2, resume=True, progress=False)
    return root / "runs"
