"""Long work: commands that run as processes of their own, and outlive the page and the server.

A job lies in the `.studio` folder of its run: `job.json` says what was started, `output.txt` what it said,
and the lock on `lock` is held by the process as long as it lives, however it ends. So a server that is
started again knows what is under way.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from caselli.errors import UserError
from caselli.files import write_text
from caselli.studio.words import line

FOLDER, RECORD, OUTPUT, LOCK = ".studio", "job.json", "output.txt", "lock"
KINDNESS = 5
"""Niceness of a job, so that a click is answered while it computes."""
TAIL = 4000
"""Bytes of the output that are shown."""
_PROCESSES: dict[int, subprocess.Popen] = {}
"""Jobs of this server by process id, so that their ends are noticed by the system."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The last command that the studio started on a run."""

    words: list[str]
    """The command without `caselli`."""
    pid: int
    begun: float
    """Seconds since 1970."""
    running: bool
    output: str
    """The end of what it said."""

    @property
    def error(self) -> str:
        """The line in which the command says why it ended; empty where it does not."""
        said = [words for words in self.output.splitlines() if words.startswith("caselli: ")]
        return "" if self.running or not said else said[-1].removeprefix("caselli: ")

    def plain(self) -> dict[str, Any]:
        """The job as the page shows it."""
        shown = {"running": self.running, "begun": self.begun, "error": self.error, "output": self.output}
        return shown | {"command": line(self.words)}


def start(run: Path, words: list[str]) -> Job:
    """Starts a command on a run.

    Arguments:
        run: its folder, made where it is not there.
        words: the command without `caselli`.

    Errors: `UserError` where one is under way.
    """
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{run.name} is at work already", "stop it first") from None
        with (folder / OUTPUT).open("wb") as output:  # emptied under the lock: another job's is kept
            process = subprocess.Popen(
                [sys.executable, "-m", "caselli", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],  # the lock goes with it, and ends with it
                start_new_session=True,  # what ends the server does not end it
            )
    _PROCESSES[process.pid] = process
    os.setpriority(os.PRIO_PROCESS, process.pid, KINDNESS)
    record = {"words": words, "pid": process.pid, "begun": time.time()}
    write_text(folder / RECORD, json.dumps(record))
    return found(run)


def found(run: Path) -> Job | None:
    """The last job of a run; None where the studio started none."""
    try:
        record = json.loads((run / FOLDER / RECORD).read_text(encoding="utf-8"))
        words, pid, begun = list(map(str, record["words"])), int(record["pid"]), float(record["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Job(words, pid, begun, _is_running(run, pid), _output(run))


def stop(run: Path) -> None:
    """Asks a job to end, as Ctrl-C does: a training writes a checkpoint first.

    Errors: `UserError` where nothing is under way.
    """
    job = found(run)
    if job is None or not job.running:
        raise UserError(f"nothing is under way in {run.name}")
    os.kill(job.pid, signal.SIGTERM)


def _is_running(run: Path, pid: int) -> bool:
    if pid in _PROCESSES and _PROCESSES[pid].poll() is not None:
        del _PROCESSES[pid]
    try:
        with (run / FOLDER / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _output(run: Path) -> str:
    """The end of the output; of a line that was written over itself, as a bar is, what stood there last."""
    try:
        with (run / FOLDER / OUTPUT).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return re.sub(r"[^\n]*\r(?!\n)", "", text)
