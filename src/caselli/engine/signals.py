"""Ctrl-C and SIGTERM as a request, not as an end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block the first Ctrl-C or SIGTERM calls `stop`; a second one is the ordinary one."""

    def handle(number, frame):
        stop()
        signal.signal(number, previous[number])

    previous = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, handle)
    except ValueError:  # not the main thread: signals are somebody else's matter
        previous = {}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
