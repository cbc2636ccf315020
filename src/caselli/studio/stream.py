"""Work whose parts reach the browser as they are done, and that ends when the browser goes away."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse

from caselli.errors import UserError, is_out_of_memory

EVERY = 0.1
"""Seconds between two parts that may be left out."""
Emit = Callable[[dict[str, Any]], None]


class Stopped(BaseException):
    """Nobody waits for the work any more."""


class Work:
    """A function in a thread, and the parts that it tells.

    Arguments:
        run: gets the work itself, tells its parts by `tell` and `tell_now_and_then`.
    """

    def __init__(self, run: Callable[[Work], None]) -> None:
        self._run, self._stopped, self._last = run, threading.Event(), 0.0
        self._loop = asyncio.get_running_loop()
        self._parts: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def tell(self, part: dict[str, Any]) -> None:
        """Sends a part."""
        self.check()
        self._put(part)

    def tell_now_and_then(self, make: Callable[[], dict[str, Any]]) -> None:
        """Sends a part, unless one was sent a moment ago."""
        self.check()
        if time.monotonic() - self._last >= EVERY:
            self._put(make())
            self._last = time.monotonic()

    def check(self) -> None:
        """Raises `Stopped` where nobody waits any more."""
        if self._stopped.is_set():
            raise Stopped

    def response(self) -> StreamingResponse:
        """The parts as lines of JSON; an error is the last of them."""
        return StreamingResponse(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncIterator[str]:
        threading.Thread(target=self._work, daemon=True).start()
        try:
            while (part := await self._parts.get()) is not None:
                yield json.dumps(part) + "\n"
        finally:
            self._stopped.set()

    def _work(self) -> None:
        try:
            self._run(self)
        except Stopped:
            pass
        except UserError as error:
            self._put({"error": str(error)})
        except Exception as error:
            words = "there is not enough memory" if is_out_of_memory(error) else f"this failed: {error!r}"
            self._put({"error": words})
        self._put(None)

    def _put(self, part: dict[str, Any] | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._parts.put_nowait, part)
        except RuntimeError:  # the server has ended
            raise Stopped from None


def response(run: Callable[[Work], None]) -> StreamingResponse:
    """The parts of a work as lines of JSON."""
    return Work(run).response()
