"""Commands in forked processes, which need no time to import anything and can be killed at any moment."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import gc
import hashlib
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

# imported here once, not in every process
import matplotlib.backends.backend_agg
import matplotlib.pyplot  # noqa: F401
import torch
import tqdm  # noqa: F401

import caselli.codec
import caselli.compare
import caselli.interop
import caselli.report
import caselli.run
import caselli.slim  # noqa: F401
from caselli import files
from caselli.cli import main
from caselli.decoding import formats

formats()
torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # imports the compiler
gc.freeze()  # a collection in a child would copy every page

TIMED = ("log.jsonl", "results.json", "report.html", "comparison.json", "table.md", "index.html", "run.yaml")
"""Files that tell of times."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """A command that is over."""

    code: int
    """Exit code; −9 where it was killed."""
    said: str
    seconds: float
    """Seconds of the processor."""

    @property
    def is_one_line(self) -> bool:
        """True where a mistake was answered in one line, with exit code 2."""
        last = self.said.strip().splitlines()[-1:]
        return self.code == 2 and "Traceback" not in self.said and last and last[0].startswith("caselli: ")


class Running:
    """A command that runs.

    Arguments:
        words: of the command line.
        prepare: called in the process before the command.
    """

    def __init__(self, words: list[str], prepare: Callable[[], None] = lambda: None) -> None:
        self.begin = time.monotonic()
        # a pipe, with room for all that a command says: a limit on files has no hold on it
        self.output, self.input = os.pipe()
        fcntl.fcntl(self.input, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.number = os.fork()
        if self.number == 0:
            self._be(words, prepare)
        os.close(self.input)

    def _be(self, words: list[str], prepare: Callable[[], None]) -> None:
        code = 1
        try:
            for stream in (1, 2):
                os.dup2(self.input, stream)
            sys.stdout, sys.stderr = (
                os.fdopen(stream, "w", closefd=False, errors="backslashreplace") for stream in (1, 2)
            )  # as of caselli.__main__
            torch.set_num_threads(1)  # those of the parent are not here
            files._swept.clear()
            prepare()
            code = main(list(map(str, words)))
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(code)

    def used(self) -> float:
        """Seconds of the processor so far; the machine may be busy with much else."""
        with contextlib.suppress(OSError):  # it has ended
            return time.clock_gettime(~self.number << 3 | 2)  # clock_getcpuclockid(3)
        return math.inf

    def kill(self) -> None:
        """`kill -9`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.number, signal.SIGKILL)

    def wait(
        self, most: float = 3600.0, kill_at: float = math.inf, moment: Callable[[], bool] = lambda: False
    ) -> Ended:
        """Its end; it hangs where that does not come in so many seconds.

        Arguments:
            most: seconds of the clock.
            kill_at: seconds of the processor at which it is killed.
            moment: it is killed as soon as this is true.
        """
        while time.monotonic() - self.begin < most:
            done, status, spent = os.wait4(self.number, os.WNOHANG)
            if done:
                with os.fdopen(self.output, "rb") as output:
                    said = output.read().decode(errors="replace")
                return Ended(os.waitstatus_to_exitcode(status), said, spent.ru_utime + spent.ru_stime)
            if self.used() > kill_at or moment():
                self.kill()
            time.sleep(0.002)
        self.kill()
        os.waitpid(self.number, 0)
        raise AssertionError("it hangs")


def run(words: list[str], prepare: Callable[[], None] = lambda: None) -> Ended:
    """A command from its beginning to its end."""
    return Running(words, prepare).wait()


def killed_when(words: list[str], moment: Callable[[], bool]) -> bool:
    """True for a command that was killed at a moment, before its end."""
    return Running(words).wait(moment=moment).code == -signal.SIGKILL


def killed_at(words: list[str], seconds: float) -> Ended:
    """A command that is killed after so many seconds of the processor, unless it has ended."""
    return Running(words).wait(kill_at=seconds)


def tree(folder: Path) -> dict[str, str]:
    """Path → digest of the files that tell of no times; what is left unfinished has no digest."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    found = {}
    for path in paths:
        name = path.name if path == folder else path.relative_to(folder).as_posix()
        if path.name not in TIMED and not name.startswith(("checkpoints/", "tensorboard/")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def strays(folder: Path) -> list[Path]:
    """Hidden files that killed commands left behind."""
    return [path for path in folder.rglob(".*") if path.name not in (".", "..")]
