"""Made-up inputs: those that failed once, some new ones, and code in files that is never run."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
import yaml

from caselli.decoding import BadPicture
from caselli.engine import Checkpoints
from caselli.errors import UserError
from caselli.run.folder import RunFolder
from caselli.weights import read_foreign
from tests.chaos.fuzz import CORPUS, READERS, fuzz, tried

KEPT = [path for path in sorted(CORPUS.glob("*/*")) if path.parent.name in READERS]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_failed_once_is_read_or_refused(path, tmp_path):
    assert tried(READERS[path.parent.name], path.read_bytes(), tmp_path) in ("read", "refused")


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name, tmp_path):
    for content in READERS[name].seeds():
        try:
            READERS[name].read(content, tmp_path)
        except (
            UserError,
            BadPicture,
        ) as error:  # exact refuses what is deep; a part of a set may be too small
            assert name in ("exact", "masks", "comparison", "json"), error


@pytest.mark.parametrize("name", READERS)
def test_a_few_made_up_inputs(name):
    found = fuzz(name, 3.0, 1, most=40)
    assert set(found) <= {"read", "refused"}, found


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_made_up_inputs(name):
    found = fuzz(name, float(os.environ.get("CASELLI_FUZZ_SECONDS", "4")), 2)
    assert set(found) <= {"read", "refused"}, found


class Runs:
    """Pickled, it runs a command when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_nothing_in_a_file_is_run(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"state_dict": {"a": torch.ones(1)}, "evil": Runs(marker)}, tmp_path / "last.pt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Runs(marker)))
    (tmp_path / "run.yaml").write_text(f"config: !!python/object/apply:os.system ['touch {marker}']\n")
    for name in ("last.pt", "plain.ckpt"):
        with pytest.raises(UserError):
            read_foreign(tmp_path / name)
    with pytest.raises(UserError):
        Checkpoints(tmp_path).load()
    with pytest.raises((UserError, yaml.YAMLError)):
        RunFolder(tmp_path).describe()
    assert not marker.exists()
