"""Worker processes: the same answers in the same order, and nobody is left behind."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from caselli import decoding
from caselli.data.workers import WorkerPool, ahead, default_workers
from caselli.decoding import BadPicture, Location, worker
from tests.data.making import decoders_alive, encoded, fill, noise

linux = pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")


def places(folder, count=10):
    fill(folder, [f"{i}.png" for i in range(count)], side=8)
    (folder / "bad.png").write_bytes(b"no picture")
    return [*(Location(str(folder / f"{i}.png")) for i in range(count)), Location(str(folder / "bad.png"))]


def asked(pool, operation, locations):
    """Begins an operation; calling what it returns gives the answers and, of the good ones, the pixels."""
    answers = pool.ask(operation, locations, (3, 8, 8))

    def waited():
        found, into = answers()
        found = words(found)
        pixels = [one.tolist() for one, answer in zip(into, found, strict=True) if isinstance(answer, bytes)]
        return found, pixels if operation == "pixels" else None

    return waited


def words(answers):
    return [str(answer) if isinstance(answer, BadPicture) else answer for answer in answers]


def test_workers_answer_as_the_process_itself(tmp_path):
    locations = [*places(tmp_path), Location(str(tmp_path / "gone.png")), Location(str(tmp_path))]
    with WorkerPool(0) as here, WorkerPool(2) as there:
        for operation in decoding.OPERATIONS:
            expected = asked(here, operation, locations)()
            waiting = [asked(there, operation, locations) for _ in range(3)]
            assert [answer() for answer in waiting] == [expected] * 3
    assert expected[0][-3:-1] == ["not a picture", "cannot be read (No such file or directory)"]


def test_a_location_inside_a_file(tmp_path):
    data = encoded(noise(8, 8))
    path = tmp_path / "packed"
    path.write_bytes(b"before" + data + b"after")
    assert Location(str(path), 6, len(data)).read() == data
    with pytest.raises(OSError, match="shorter"):
        Location(str(path), 6, len(data) + 99).read()


@linux
def test_no_worker_outlives_the_block(tmp_path):
    locations = places(tmp_path)
    with WorkerPool(2) as pool:
        for answers in [asked(pool, "pixels", locations) for _ in range(2)]:
            answers()
        assert decoders_alive(os.getpid())
    assert not decoders_alive(os.getpid())


def test_a_picture_that_kills_the_decoder_is_bad_and_the_rest_is_read(tmp_path, monkeypatch):
    locations = places(tmp_path, 4)
    locations.insert(2, Location(str(tmp_path / "crash")))
    script = tmp_path / "worker.py"
    script.write_text(
        textwrap.dedent(f"""
        import importlib.util, os, sys
        spec = importlib.util.spec_from_file_location("real", {worker.__file__!r})
        real = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(real)
        perform = real.perform
        real.perform = lambda o, p, *r: os._exit(1) if p.path.endswith("crash") else perform(o, p, *r)
        real.serve(sys.stdin.buffer, sys.stdout.buffer, real.Area(int(sys.argv[1])))
        """)
    )
    monkeypatch.setattr(worker, "__file__", str(script))
    with WorkerPool(1) as pool:
        answers, pixels = asked(pool, "pixels", locations)()
        assert str(answers[2]) == "the decoder crashed"
        assert [isinstance(answer, bytes) for answer in answers] == [True, True, False, True, True, False]
        assert pixels == asked(WorkerPool(0), "pixels", [*locations[:2], *locations[3:5]])()[1]


def test_a_worker_that_was_killed_is_started_again(tmp_path):
    locations = places(tmp_path, 2)
    with WorkerPool(1) as pool:
        before = asked(pool, "pixels", locations)()
        process = pool._workers[0].process
        process.kill()
        process.wait()
        assert asked(pool, "pixels", locations)() == before


@linux
@pytest.mark.parametrize("word", ["SIGINT", "SIGKILL"])
def test_workers_die_with_an_interrupted_process(tmp_path, word):
    places(tmp_path)
    script = f"""
        from caselli.data.store import FileStore
        from caselli.decoding import Location
        import itertools, torch
        store = FileStore([Location({str(tmp_path / "0.png")!r})], 8, 3, 2)
        for pixels in store.stream(itertools.repeat(torch.zeros(4, dtype=torch.int64))):
            print("x", flush=True)
        """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a suite in the background ignores it
    )
    assert process.stdout.readline() == b"x\n"
    workers = decoders_alive(process.pid)
    assert workers
    process.send_signal(getattr(signal, word))
    process.stdout.read()
    process.wait(20)
    deadline = time.monotonic() + 10
    while set(workers) & set(decoders_alive(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not set(workers) & set(decoders_alive(process.pid))


def test_ahead_keeps_the_order_and_its_distance():
    begun = []

    def begin(i):
        begun.append(i)
        return lambda: i * i

    answers = ahead(begin, range(100), 5)
    assert [next(answers) for _ in range(3)] == [0, 1, 4]
    assert begun == list(range(7))
    assert list(ahead(begin, range(10), 3)) == [i * i for i in range(10)]


def test_default_workers(monkeypatch):
    assert default_workers(10) == 0
    assert 1 <= default_workers(10_000) <= 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert default_workers(10_000) == 1


def test_pixels_that_are_held_stay_and_room_that_nobody_holds_is_used_again(tmp_path):
    locations = places(tmp_path)[:4]
    with WorkerPool(1) as pool:
        held = pool.ask("pixels", locations, (3, 8, 8))().pixels
        before = held.clone()
        for turned in [locations[::-1]] * 8:
            assert torch.equal(pool.ask("pixels", turned, (3, 8, 8))().pixels, before.flip(0))
        assert os.fstat(pool._rooms.file.fileno()).st_size <= 3 * mmap.ALLOCATIONGRANULARITY
    assert torch.equal(held, before)
