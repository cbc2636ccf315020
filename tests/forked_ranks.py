"""Ranks in forked processes, which need no time to import anything and can be killed at any moment."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from caselli import ranks


class Ranks:
    """A function under way on some ranks, each a process.

    Arguments:
        count: number of ranks.
        function: what each of them does, with the arguments.
    """

    def __init__(self, count: int, function: Callable[..., Any], *arguments: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (lives as long as this)
        shared = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        self.numbers = []
        for rank in range(count):
            number = os.fork()
            if number == 0:
                self._be({"RANK": rank, "LOCAL_RANK": rank, **shared}, function, arguments)
            self.numbers.append(number)

    def _be(self, environment: dict[str, Any], function: Callable[..., Any], arguments: tuple) -> None:
        code = 1
        try:
            torch.set_num_threads(1)  # those of the parent are not here
            sys.stdout = sys.stderr = self.said
            os.environ.update({name: str(value) for name, value in environment.items()})
            ranks.start()
            function(*arguments)
            ranks.stop()
            code = 0
        except BaseException:
            traceback.print_exc(file=self.said)
        finally:
            self.said.flush()
            os._exit(code)

    def kill(self) -> None:
        """`kill -9` of all of them."""
        for number in self.numbers:
            os.kill(number, signal.SIGKILL)

    def wait(self, most: float = 300.0) -> list[int]:
        """Exit codes of all; they are killed after so many seconds."""
        end, left, codes = time.monotonic() + most, list(self.numbers), {}
        while left:
            for number in list(left):
                done, status = os.waitpid(number, os.WNOHANG)
                if done:
                    left.remove(number)
                    codes[number] = os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                self.kill()
                raise AssertionError("they hang")
            time.sleep(0.005)
        return [codes[number] for number in self.numbers]


def run_on(count: int, function: Callable[..., Any], *arguments: Any) -> str:
    """The output of a function that some ranks run to its end, of all of them together."""
    started = Ranks(count, function, *arguments)
    codes = started.wait()
    started.said.seek(0)
    said = started.said.read()
    assert codes == [0] * count, said[-3000:]
    return said
