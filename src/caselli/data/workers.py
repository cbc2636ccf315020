"""Worker processes that decode pictures, and the order that they never change."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import json
import math
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import torch

from caselli.decoding import BY_PICTURE, FRAME, BadPicture, Location, Whites, perform
from caselli.decoding import worker as script
from caselli.shapes import Shaped, Tensor

MOST_WORKERS = 8
CHUNK = 32
"""Pictures that a worker is asked for at a time."""

KEEP_PAGES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""Freed memory stays with a worker (glibc): new pages for every picture take a third of its time."""

T, U = TypeVar("T"), TypeVar("U")


def default_workers(pictures: int) -> int:
    """One worker a core, at most `MOST_WORKERS`, the cores shared between the ranks of a machine; none for
    sets so small that starting them costs more than it gains."""
    if pictures <= 2 * CHUNK:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class Answered(NamedTuple):
    """Answers of an operation, and its pixels."""

    answers: list[bytes | BadPicture]
    """The answer for each picture."""
    pixels: Shaped[Tensor, "n C S S"]
    """The pixels of `pixels` and `digest`, uint8; of bad pictures anything."""


class _Rooms:
    """Memory that workers share, in rooms for pixels; a room is used again once nobody holds its pixels."""

    def __init__(self) -> None:
        self.file = _unnamed()
        self._end = 0
        self._free: dict[int, list[tuple[int, mmap.mmap]]] = collections.defaultdict(list)

    def room(self, *shape: int) -> tuple[int, np.ndarray]:
        """Room of a shape, and the byte of the file that it begins at."""
        count = math.prod(shape)
        size = -(-max(1, count) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        free = self._free[size]
        begin, memory = free.pop() if free else self._grown(size)
        whole = np.frombuffer(memory, np.uint8)
        weakref.finalize(whole, free.append, (begin, memory)).atexit = False  # its views keep it alive
        return begin, whole[:count].reshape(shape)

    def _grown(self, size: int) -> tuple[int, mmap.mmap]:
        begin, self._end = self._end, self._end + size
        os.ftruncate(self.file.fileno(), self._end)
        return begin, mmap.mmap(self.file.fileno(), size, offset=begin)


class _Worker:
    """One process, started when first asked and again after a crash.

    Arguments:
        closed: set when the pool ends.
        file: descriptor of the memory that pixels are put into.
    """

    def __init__(self, closed: threading.Event, file: int) -> None:
        self.process: subprocess.Popen | None = None
        self._closed, self._file = closed, file

    def ask(
        self, operation: str, places: Sequence[Location], begin: int, shape: tuple[int, ...], whites: Whites
    ) -> list[bytes | BadPicture]:
        """The answers in order; a picture that kills two processes is a bad picture."""
        answers: list[bytes | BadPicture] = []
        crashed = None
        request = {"operation": operation, "shape": shape, "whites": whites}
        while len(answers) < len(places):
            try:
                process = self._start()
                first = len(answers)
                rest = places[first:] if crashed is None else places[first : first + 1]  # which one is it?
                own = {"locations": rest, "begin": begin + first * math.prod(shape)}
                _send(process.stdin, request | own)
                answers += [self._answer(process) for _ in rest]
            except (OSError, EOFError):
                self.stop()
                before, crashed = crashed, len(answers)
                if before == crashed:  # the first time something else may have killed it
                    answers.append(BadPicture("the decoder crashed"))
        return answers

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()

    def _start(self) -> subprocess.Popen:
        if self._closed.is_set():
            raise concurrent.futures.CancelledError
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-P", script.__file__, str(self._file)],
                pass_fds=[self._file],
                env=KEEP_PAGES | os.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self.process

    @staticmethod
    def _answer(process: subprocess.Popen) -> bytes | BadPicture:
        good, length = FRAME.unpack(_exactly(process.stdout, FRAME.size))
        body = _exactly(process.stdout, length)
        return body if good else BadPicture(body.decode())


def _unnamed() -> BinaryIO:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("caselli"), "r+b")
    return tempfile.TemporaryFile()


def _send(pipe: BinaryIO, request: dict) -> None:
    pipe.write(json.dumps(request).encode() + b"\n")
    pipe.flush()


def _exactly(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


class WorkerPool:
    """A pool of decoding processes; none of them outlives it, whatever happens to this process.

    Each process is driven by one thread through a pair of pipes, and ends when its pipe closes: at the end of
    the `with` block, and also when this process is killed. With 0 workers the work is done in place.

    Arguments:
        count: number of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._closed = threading.Event()
        self._rooms = _Rooms()
        self._workers = tuple(_Worker(self._closed, self._rooms.file.fileno()) for _ in range(count))
        self._idle = collections.deque(self._workers)
        self._threads = concurrent.futures.ThreadPoolExecutor(count) if count else None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()  # wakes the thread that waits for it
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.stop()

    def ask(
        self, operation: str, places: Sequence[Location], shape: tuple[int, ...], whites: Whites = BY_PICTURE
    ) -> Callable[[], Answered]:
        """Begins an operation on some pictures; calling what it returns waits for the answers.

        Arguments:
            operation: `pixels`, `digest` or `probe`.
            places: where the pictures are, shared out between the workers.
            shape: channels and sides of the pixels of one; zeros for `probe`.
            whites: values of white in deep samples.
        """
        if self._threads is None:
            pixels = torch.empty(len(places), *shape, dtype=torch.uint8)
            return lambda: Answered(
                [perform(operation, *one, whites) for one in zip(places, pixels.numpy(), strict=True)],
                pixels,
            )
        begin, room = self._rooms.room(len(places), *shape)
        share = -(-len(places) // self.count) or 1
        parts = [
            self._threads.submit(
                self._ask, operation, places[i : i + share], begin + i * math.prod(shape), shape, whites
            )
            for i in range(0, len(places), share)
        ]
        return lambda: Answered(
            [answer for part in parts for answer in part.result()], torch.from_numpy(room)
        )

    def _ask(self, *request) -> list[bytes | BadPicture]:
        worker = self._idle.popleft()  # as many threads as workers: there is always one
        try:
            return worker.ask(*request)
        finally:
            self._idle.append(worker)


def ahead(begin: Callable[[T], Callable[[], U]], requests: Iterable[T], window: int) -> Iterator[U]:
    """The answer to each request in turn, with up to `window` requests begun before they are needed."""
    waiting: collections.deque[Callable[[], U]] = collections.deque()
    for request in requests:
        waiting.append(begin(request))
        if len(waiting) >= window:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()
