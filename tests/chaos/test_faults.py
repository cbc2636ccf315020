"""A full disk, a read-only folder, files that vanish, clocks that jump, memory that ends: one line each, and
nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from caselli import decoding
from tests.chaos.forked import run, strays, tree
from tests.chaos.kills import commands
from tests.chaos.test_kills import place  # noqa: F401

pytestmark = pytest.mark.slow
NOBODY = 65534
NAMES = list(commands(Path()))


def line(root, name, folder):
    """A command, its output in a folder."""
    command = commands(root)[name]
    return command.line(command.out(folder))


def limit_files(size):
    """No file may be larger, as on a disk that is full at some byte."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [0, 100, 3000, 20_000])
@pytest.mark.parametrize("name", NAMES)
def test_a_limit_on_files(place, tmp_path, name, size):  # noqa: F811
    words = line(place, name, tmp_path)
    ended = run(words, limit_files(size))
    assert ended.code == 0 or (ended.is_one_line and "full" in ended.said), ended.said
    again = run(words)
    assert again.code == 0 or "exists already" in again.said, again.said
    assert not strays(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(place, small_disk, name):  # noqa: F811
    words = line(place, name, small_disk)
    with open(small_disk / "filler", "wb") as file:
        file.write(bytes(190_000))
    ended = run(words)
    assert ended.code == 0 or (ended.is_one_line and "full" in ended.said), ended.said
    (small_disk / "filler").unlink()
    again = run(words)
    assert again.code in (0, 2) and "Traceback" not in again.said, again.said
    if again.code == 0:
        assert not strays(small_disk)


@pytest.mark.parametrize("name", NAMES)
def test_a_read_only_folder(place, tmp_path, name):  # noqa: F811
    if os.getuid():
        pytest.skip("another user is needed")
    for folder in (place, *place.rglob("*"), *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o555)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    ended = run(line(place, name, closed), lambda: os.setuid(NOBODY))
    assert ended.is_one_line and not list(closed.iterdir()), ended.said


@pytest.mark.parametrize("name", ["train", "encode", "compress", "reconstruct", "score"])
def test_pictures_that_vanish(place, tmp_path, name):  # noqa: F811
    """A third of them, while they are read."""
    shutil.copytree(place / "pictures", tmp_path / "pictures")
    given = line(place, name, tmp_path)
    words = [tmp_path / "pictures" if word == place / "pictures" else word for word in given]

    def vanish():
        read, seen = decoding.Location.read, []

        def reading(location):
            seen.append(location)
            if len(seen) % 3 == 0 and os.path.exists(location.path):
                os.unlink(location.path)
            return read(location)

        decoding.Location.read = reading

    ended = run(words, vanish)
    assert ended.code == 0 or ended.is_one_line, ended.said


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0, 1e9])
@pytest.mark.parametrize("name", ["train", "sample", "encode", "compare"])
def test_a_clock_that_jumps(place, tmp_path, name, jump):  # noqa: F811
    """The wall clock, at every second look; what comes does not depend on it."""
    plain, jumped = (line(place, name, tmp_path / kind) for kind in ("plain", "jumping"))

    def jumping():
        true, looks = time.time, []

        def clock():
            looks.append(1)
            return true() + jump * (len(looks) % 2)

        time.time = clock

    assert run(plain).code == 0
    ended = run(jumped, jumping)
    assert ended.code == 0, ended.said
    if name != "compare":
        found = tree(plain[-1])
        weights = {path: digest for path, digest in found.items() if "pictures/" not in path}
        assert weights.items() <= tree(jumped[-1]).items()


@pytest.mark.parametrize("megabytes", [1, 20, 60])
@pytest.mark.parametrize("name", NAMES)
def test_memory_that_ends(place, tmp_path, name, megabytes):  # noqa: F811
    """So much more than the process has when it begins."""

    def limit():
        pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
        most = pages * resource.getpagesize() + megabytes * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    words = line(place, name, tmp_path)
    ended = run(words, limit)
    assert ended.code == 0 or (ended.is_one_line and "memory" in ended.said), ended.said
    again = run(words)
    assert again.code == 0 or "exists already" in again.said, again.said
    assert not strays(tmp_path)
