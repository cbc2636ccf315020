"""Commands that are killed and given again, and two on one folder: what comes is what would have come.

`CASELLI_KILLS` is the number of kills of each command (100).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.forked import Running, run, strays
from tests.chaos.kills import TRAIN, all_commands, kill, prepare

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CASELLI_KILLS", "100"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, a run, codes, an archive."""
    return prepare(tmp_path_factory.mktemp("chaos"))


@pytest.mark.parametrize("name", all_commands(Path()))
def test_killed_and_given_again(place, tmp_path, name):
    found = kill(name, place, tmp_path, KILLS, 0)
    assert set(found) <= {"kills", "ends"}, found


def test_the_second_of_two_commands_says_so(place, tmp_path):
    words = ["train", place / "pictures", "-o", tmp_path / "run", *TRAIN]
    first = Running(words)
    while not (tmp_path / "run" / "run.yaml").exists():
        pass
    second = run(words)
    ended = first.wait()
    assert second.is_one_line and "another command works in" in second.said
    assert ended.code == 0 and not strays(tmp_path)
