"""Decoding by many processes: the operations, and the life of a worker, which is this file as a script."""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import signal
import struct
import sys
from typing import BinaryIO, NamedTuple

import numpy as np

from caselli.decoding.depth import Whites
from caselli.decoding.opening import BadPicture
from caselli.decoding.picture import decode_into, digest, probe

FRAME = struct.Struct("<?I")
"""A worker's answer begins with: good or bad, and the number of bytes that follow."""


class Location(NamedTuple):
    """Place of the bytes of one picture."""

    path: str
    offset: int = 0
    length: int = -1
    """-1: to the end of the file."""

    def read(self) -> bytes:
        """The bytes, all of them or an `OSError`."""
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset)
            data = file.read(self.length)
        if self.length >= 0 and len(data) != self.length:
            raise OSError("the file is shorter than it was")
        return data


def _digest_of(pixels: np.ndarray, data: bytes, whites: Whites) -> bytes:
    decode_into(pixels, data, whites)
    return digest(pixels)


OPERATIONS = {
    "pixels": decode_into,
    "digest": _digest_of,
    "probe": lambda pixels, data, whites: probe(data),
}
"""Operations of a worker by name; each has room for pixels and gives bytes."""

NO_ROOM = np.empty((0, 0, 0), np.uint8)
"""Room of an operation that gives no pixels."""


def perform(operation: str, location: Location, pixels: np.ndarray, whites: Whites) -> bytes | BadPicture:
    """One operation on one picture; what cannot be read is an answer, not an exception."""
    try:
        return OPERATIONS[operation](pixels, location.read(), whites)
    except BadPicture as bad:
        return bad
    except OSError as error:
        return BadPicture(f"cannot be read ({error.strerror or error})")


class Area:
    """Memory for pixels that a worker and its owner share; by a pipe they would be copied twice more.

    Arguments:
        file: descriptor of a file of which both have a map.
    """

    def __init__(self, file: int) -> None:
        self.file, self.bytes = file, np.empty(0, np.uint8)

    def rows(self, begin: int, *shape: int) -> np.ndarray:
        """The memory from a byte on, as an array of such a shape."""
        end = begin + math.prod(shape)
        if len(self.bytes) < end:
            self.bytes = np.frombuffer(mmap.mmap(self.file, os.fstat(self.file).st_size), np.uint8)
        return self.bytes[begin:end].reshape(shape)


def serve(requests: BinaryIO, replies: BinaryIO, area: Area) -> None:
    """A worker's life: a line of JSON in, a frame out for each of its locations, until the pipe closes.

    Pixels are put into the area, where the request says."""
    for line in requests:
        request = json.loads(line)
        places = request["locations"]
        rows = area.rows(request["begin"], len(places), *request["shape"])
        for place, pixels in zip(places, rows, strict=True):
            answer = perform(request["operation"], Location(*place), pixels, request["whites"])
            good = isinstance(answer, bytes)
            body = answer if good else str(answer).encode(errors="replace")
            replies.write(FRAME.pack(good, len(body)) + body)
        replies.flush()  # once: to wake a process for every picture costs more than its frame


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; it closes the pipe
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints must not get among the frames
        serve(sys.stdin.buffer, answers, Area(int(sys.argv[1])))
