"""The built wheel, as a stranger installs it: its contents, and the demo from it (`make test-wheel`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from caselli.version import __version__

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy, so that nothing is left in the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "src", folder / "tree" / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / "tree" / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, folder / "tree", cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Python of an environment with the wheel, which sees the libraries that are installed here."""
    folder = tmp_path_factory.mktemp("environment") / "own"
    venv.create(folder, with_pip=False)
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(sys.executable, "-m", "pip", "--python", found, "install", "-q", "--no-deps", wheel, cwd=folder)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(found, "-c", where, cwd=folder).stdout.strip())
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib"))  # behind its own: the wheel comes first
    return found


def test_what_is_inside(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(about).decode())
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if path.is_file()}
    wanted = {n for n in sources if not n.endswith(".pyc") and ".egg-info" not in n}
    assert wanted <= names, "every file of the package, stubs and C++ source too"
    assert {"caselli/py.typed", "caselli/sampling/fused.cpp"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "bench", "docs"))]
    assert (metadata["Name"], metadata["Version"]) == ("caselli", __version__)
    assert metadata["License-Expression"] == "MIT" and "# Caselli" in metadata.get_payload()


def test_the_demo_in_seconds(python, tmp_path):
    place = run(python, "-c", "import caselli; print(caselli.__file__)", cwd=tmp_path).stdout
    assert Path(place.strip()).is_relative_to(python.parent.parent)
    command = python.parent / "caselli"
    said = run(command, "demo", "--minutes", "0.05", cwd=tmp_path).stderr
    assert "caselli train glyphs -o demo --recipe tiny --minutes 0.05 --resume" in said
    line = said.splitlines()[-1]
    assert line.startswith("next: caselli ") and (tmp_path / "demo" / "report.html").stat().st_size > 10_000
    run(command, "sample", "demo", "-n", "1", "--label", "A", "-o", "letters.png", cwd=tmp_path)
    assert (tmp_path / "letters.png").exists()
