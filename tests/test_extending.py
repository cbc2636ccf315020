"""A new variant touches three files at most, its own, its table and its case; the rest finds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import caselli
from tests.pictures import TINY, bars_and_stripes, options

TOYS = {
    "mixer": ("mixer/toy.py", "from caselli.mixer.linear import Linear\n\n\nclass Toy(Linear):", "MIXERS"),
    "quantizer": (
        "quantizer/toy.py",
        "from caselli.quantizer.uniform import Uniform\n\n\nclass Toy(Uniform):",
        "QUANTIZERS",
    ),
    "estimator": (
        "estimator/toy.py",
        "from caselli.estimator.score import Score\n\n\nclass Toy(Score):",
        "ESTIMATORS",
    ),
    "divergence": (
        "divergence/toy.py",
        "from caselli.divergence.energy import Energy\n\n\nclass Toy(Energy):",
        "DIVERGENCES",
    ),
    "comparison": (
        "compare/toy.py",
        "from caselli.compare.estimators import Estimators\n\n\nclass Toy(Estimators):",
        "COMPARISONS",
    ),
    "kind": (
        "run/toy.py",
        "from caselli.run.segmentation import SegmentationRun, unet\n\n\nclass Toy(SegmentationRun):",
        "KINDS",
    ),
}
"""Room's word → the file of a toy, its beginning, and the table at the room's door."""
TABLES = {"kind": "run/kinds.py"}
"""Files of tables that the door only passes on."""
CASES = {
    "mixer": ("cases_mixer.py", r"(\nCASES[^\n]*= \[\n)", r'\1    ("toy", {}),\n'),
    "quantizer": ("cases_quantizer.py", r"(\nCASES[^\n]*= \[\n)", r'\1    Case("toy", width=1, passes=1),\n'),
    "comparison": (
        "cases_comparison.py",
        r"(\nCASES[^\n]*= \{\n)",
        r'\1    "toy": Case(lambda given: {"repeats": 5}, {"repeats": 6}),\n',
    ),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A copy of the package and its conformance tests, with a toy of each sort."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(Path(caselli.__file__).parent, root / "src/caselli")
    ignored = shutil.ignore_patterns("golden", "old_runs")
    shutil.copytree(Path(__file__).parent, root / "tests", ignore=ignored)
    for word, (file, beginning, table) in TOYS.items():
        lines = [beginning, f'    """A toy {word}."""', "", '    name = "toy"']
        lines += ['    recipes = {"toy": unet}'] * (word == "kind")
        (root / "src/caselli" / file).write_text("\n".join(lines))
        door = root / "src/caselli" / TABLES.get(word, f"{Path(file).parent}/__init__.py")
        module = "caselli." + file.removesuffix(".py").replace("/", ".")
        added = rf'from {module} import Toy\n\n\1    "toy": Toy,\n'
        text, count = re.subn(rf"(\n{table}[^\n]*= \{{\n)", "\n" + added, door.read_text())
        assert count == 1, door
        door.write_text(text)
    for file, pattern, line in CASES.values():
        cases = root / "tests/conformance" / file
        text, count = re.subn(pattern, line, cases.read_text())
        assert count == 1, file
        cases.write_text(text)
    return root


def python(house: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": f"{house / 'src'}:{house}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=house, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_list_shows_it(house):
    code = "from caselli.cli import main; assert not any(main(['list', t]) for t in {!r})"
    shown = python(house, "-c", code.format([*TOYS, "recipe"]))
    for word in TOYS:
        assert f"A toy {word}." in shown
    assert len(re.findall(r"^toy ", shown, re.MULTILINE)) == len(TOYS) + 1


def test_the_conformance_cases_know_it(house):
    checks = (
        "mixer.py::test_every_mixer_has_a_case",
        "quantizer.py::test_every_quantizer_of_the_table_is_under_test",
        "comparison.py::test_every_comparison_has_a_case",
    )
    paths = [f"tests/conformance/test_{check}" for check in checks]
    assert "3 passed" in python(house, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths)


def test_a_run_trains_with_a_new_mixer(house, tmp_path):
    source = bars_and_stripes(tmp_path / "pictures")
    changes = {**TINY, "prior.mixer": "toy", "reading.seconds": 0}
    run, new = str(tmp_path / "run"), str(tmp_path / "new.png")
    words = ["train", str(source), "-o", run, "--recipe", "tiny", "--steps", "2", *options(changes)]
    code = "from caselli.cli import main; assert not any(map(main, {!r}))"
    python(house, "-c", code.format([words, ["sample", run, "-n", "2", "-o", new]]))
    assert (tmp_path / "new.png").exists()
