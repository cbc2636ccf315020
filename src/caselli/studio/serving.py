"""The studio's server: an address with a token, on this machine alone unless asked otherwise."""

from __future__ import annotations

import secrets
import socket
import sys
import webbrowser
from pathlib import Path
from urllib.parse import urlunsplit

from caselli.errors import UserError
from caselli.studio.guard import is_loopback, shown_name

PORT = 7865
"""Port that is tried first: the year of the pantelegraph, and a 7."""
PATIENCE = 2
"""Seconds that open answers get when the server ends."""


def serve(folder: str | Path, host: str, port: int | None, show: bool) -> None:
    """Serves the studio of a folder until it is interrupted.

    Arguments:
        folder: runs, or one run.
        host: address to listen on.
        port: port to listen on; None for the first free one from `PORT` on.
        show: open a browser.

    Errors: `UserError` without the `studio` extra, for no such folder, or a port that is taken.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        remedy = "pip install 'caselli[studio]', or fastapi and uvicorn by themselves"
        raise UserError(f"{error.name} is not installed", "the studio needs it", remedy) from None
    from caselli.studio.app import create_app

    listening = _listening(host, port)
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    app = create_app(folder, token, host, port)
    address = urlunsplit(("http", f"{_shown(host)}:{port}", "/", f"token={token}", ""))
    print(f"the studio is at {address}", flush=True)
    if not is_loopback(host):
        print("other machines can reach it: whoever has the address can use it", file=sys.stderr)
    print("Ctrl-C ends it; trainings go on", file=sys.stderr, flush=True)
    if show:
        webbrowser.open(address)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=PATIENCE, server_header=False
    )
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket on the port, or on the first free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in [port] if port is not None else [*range(PORT, PORT + 20), 0]:
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, tried))
            listening.listen(128)
            return listening
        except OSError as error:
            listening.close()
            reason = error.strerror
        except OverflowError:
            listening.close()
            reason = "no port"
    raise UserError(f"port {port} of {host} cannot be used ({reason})", "a free port was expected")


def _shown(host: str) -> str:
    """The host as it stands in an address."""
    name = shown_name(host)
    return f"[{name}]" if ":" in name else name
