"""Drawing that takes its time: it goes on when the page is closed, is found again, and can be stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic import BaseModel
from starlette.responses import StreamingResponse

from caselli.errors import UserError, is_out_of_memory

EVERY, SHARE = 0.1, 0.25
"""Seconds between two passing parts, at least, and the share of the time that making them may take."""
LOOK = 0.03
"""Seconds between two looks at a work that is followed."""
KEPT, MOST = 12, 8
"""Works that are remembered, and works that are under way at a time, at most."""
KINDNESS = 5
"""Niceness of the thread of a work, so that a click is answered while it computes."""


class Stopped(BaseException):
    """Somebody stopped the work."""


class Work:
    """A function in a thread of its own, and the parts that it tells, which anybody may follow at any time.

    Arguments:
        do: gets the work itself, tells its parts by `tell` and `tell_now_and_then`.
        run, page: whose it is.
        asked: what was asked for, as the page sent it.
    """

    def __init__(self, do: Callable[[Work], None], run: str, page: str, asked: dict[str, Any]) -> None:
        self._do, self.run, self.page, self.asked = do, run, page, asked
        self.id = secrets.token_hex(8)
        self.running = True
        self._told: list[dict[str, Any]] = []
        self._passing: dict[str, Any] | None = None
        self._stopped, self._next = threading.Event(), 0.0

    # for the function ---------------------------------------------------------------------------------------

    def tell(self, part: dict[str, Any]) -> None:
        """Adds a part that stays."""
        self.check()
        self._told.append(part)
        self._passing = None

    def tell_now_and_then(self, make: Callable[[], dict[str, Any]]) -> None:
        """Shows a part that the next one replaces, unless the last was shown a moment ago."""
        self.check()
        begin = time.monotonic()
        if begin >= self._next:
            self._passing = make()
            took = time.monotonic() - begin
            self._next = begin + max(EVERY, took / SHARE)

    def check(self) -> None:
        """Raises `Stopped` where somebody stopped the work."""
        if self._stopped.is_set():
            raise Stopped

    # for the pages ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins; returns at once."""
        threading.Thread(target=self._work, name=f"{self.page} {self.id}", daemon=True).start()

    def stop(self) -> None:
        """Ends the work at its next part or code."""
        self._stopped.set()

    def plain(self) -> dict[str, Any]:
        """The work as the pages know it."""
        return {"id": self.id, "run": self.run, "page": self.page, "running": self.running}

    def followed(self) -> StreamingResponse:
        """Lines of JSON: the work, the parts told so far, then each new one; an error is the last."""
        return StreamingResponse(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncIterator[str]:
        yield _line({"work": self.plain() | {"asked": self.asked}})
        seen, shown = 0, None
        while True:
            running, passing = self.running, self._passing  # looked at before the parts: none is missed
            for part in self._told[seen:]:
                seen += 1
                yield _line(part)
            if running and passing is not None and passing is not shown:
                shown = passing
                yield _line(passing)
            if not running:
                return
            await asyncio.sleep(LOOK)

    def _work(self) -> None:
        with contextlib.suppress(OSError):  # not every system gives each thread its own niceness
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), KINDNESS)
        try:
            self._do(self)
        except Stopped:
            pass
        except UserError as error:
            self._told.append({"error": str(error)})
        except Exception as error:
            words = "there is not enough memory" if is_out_of_memory(error) else f"this failed: {error!r}"
            self._told.append({"error": words})
        finally:
            self.running = False


class Works:
    """The works of a studio, the latest last; those that are done are forgotten after a while."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._lock = threading.Lock()

    def begin(self, asked: BaseModel, do: Callable[[Work], None]) -> StreamingResponse:
        """Begins a work and follows it.

        Arguments:
            asked: what was asked for, with the names of the run and of the page that shows it.
            do: see `Work`.

        Errors: `UserError` where too much is under way already.
        """
        with self._lock:
            if sum(work.running for work in self._works.values()) >= MOST:
                raise UserError(f"{MOST} drawings are under way", remedy="stop one, or wait for one to end")
            done = [key for key, work in self._works.items() if not work.running]
            for key in done[: max(0, len(self._works) + 1 - KEPT)]:
                del self._works[key]
            work = Work(do, asked.run, asked.page, asked.model_dump())
            self._works[work.id] = work
        work.start()
        return work.followed()

    def one(self, key: str) -> Work:
        """A work by its id.

        Errors: `UserError` for one that there is not, or is not remembered.
        """
        with self._lock:
            if key not in self._works:
                raise UserError("this drawing is not remembered", remedy="begin it again")
            return self._works[key]

    def last(self, run: str, page: str) -> Work | None:
        """The last work of a page for a run; None where there is none."""
        return next((work for work in reversed(self.all()) if (work.run, work.page) == (run, page)), None)

    def all(self) -> list[Work]:
        """Every work that is remembered."""
        with self._lock:
            return list(self._works.values())


def _line(part: dict[str, Any]) -> str:
    return json.dumps(part) + "\n"
