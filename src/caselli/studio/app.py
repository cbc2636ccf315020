"""The application: pages, static files, errors in words, and the guard in front."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from caselli.errors import UserError
from caselli.studio import codes, complete, drawings, gallery, inspect, runs, sample
from caselli.studio import compare as comparing
from caselli.studio.context import Studio
from caselli.studio.guard import Guard, TooLarge
from caselli.studio.jail import Jail

STATIC = Path(str(importlib.resources.files("caselli.studio") / "static"))
"""The page, its modules and its style."""
PAGES = (runs, sample, codes, complete, comparing, inspect, gallery, drawings)
"""Files of the API, each with a function `router`."""


def create_app(folder: str | Path, token: str, host: str, port: int) -> Any:
    """The studio of a folder as an ASGI application.

    Arguments:
        folder: runs, or one run.
        token: what every request must have.
        host, port: where it will listen, which a request's Host must agree with.

    Errors: `UserError` where there is no such folder.
    """
    app = FastAPI(title="Caselli studio", docs_url=None, redoc_url=None, openapi_url=None)
    studio = Studio(Jail(folder))
    for page in PAGES:
        app.include_router(page.router(studio), prefix="/api")
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_exception_handler(UserError, _in_words)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_api_route("/", _index, methods=["GET"])
    return Guard(app, token, host, port)


def _index() -> FileResponse:
    return FileResponse(STATIC / "index.html")


def _in_words(request: Request, error: Exception) -> JSONResponse:
    status = 413 if isinstance(error, TooLarge) else 400
    return JSONResponse({"error": str(error).encode("utf-8", "replace").decode()}, status)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The first field that does not fit, without the values that were sent."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"][1:]))
    return JSONResponse({"error": f"{place or 'the request'}: {first['msg']}"}, 422)
