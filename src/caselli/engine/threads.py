"""The number of threads of a training on a processor, where other work may hold a core back."""

from __future__ import annotations

import collections
import contextlib
import statistics
from collections.abc import Iterator

import torch

GAIN = 0.8
"""A step has to take less than this share of the time for the number of threads to change."""
AGAIN = 60.0
"""Seconds from one trial to the next."""
RECENT = 5
"""Steps that a trial is compared with: a single slow one says nothing."""


class Threads:
    """All threads of this process, or one of them, whichever makes the faster steps.

    A parallel operation waits for its slowest thread, and a step has thousands of them: beside a process that
    keeps one core busy, two threads may take a hundred times as long as one. Now and then a step is taken
    with the other number. Sums of another number of threads differ in their last bits, so this is for
    budgets of the clock alone.

    Example:
        >>> threads = Threads(most=4)
        >>> for seconds in (1.0, 0.9, 0.3):  # the first step of all is no measure
        ...     threads.after(seconds)
        >>> threads.count
        1
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most or torch.get_num_threads()
        self.count = self.most
        self.recent: collections.deque[float] = collections.deque(maxlen=RECENT)
        """Seconds of the last steps with `count` threads, of which the median counts."""
        self.trial, self.waited, self.steps = False, AGAIN, 0

    def after(self, seconds: float) -> None:
        """Decides on the next step's threads after one that took so long."""
        self.steps += 1
        self.waited += seconds
        if self.trial:
            self.trial, self.waited = False, 0.0
            if seconds < GAIN * statistics.median(self.recent):
                self.count = self._other()
                self.recent.clear()
                self.recent.append(seconds)
        elif self.steps > 1:
            self.recent.append(seconds)
            self.trial = self.most > 1 and self.waited >= AGAIN

    @property
    def next(self) -> int:
        """Threads of the next step."""
        return self._other() if self.trial else self.count

    def _other(self) -> int:
        return self.most if self.count == 1 else 1


@contextlib.contextmanager
def kept_threads(count: int | None = None) -> Iterator[None]:
    """So many threads, where a number is given; those from before when it ends.

    Example:
        >>> before = torch.get_num_threads()
        >>> with kept_threads(1):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
