"""The guard in front of the studio: rules for requests, and for the browser in every answer."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from caselli.errors import UserError

MOST_BYTES = 32 << 20
"""Largest body of a request."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer that does not set its own."""
HTTP = 80
"""Port of addresses that name none."""
OPEN_SITES = ("none", "same-origin")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class TooLarge(UserError):
    """A body larger than `MOST_BYTES`."""


class Guard:
    """An ASGI application around another: only requests with the token, from the studio's own pages, with a
    Host that no foreign name server can forge, pass.

    A page of another site that has its name resolve to this machine sends its own name as Host; one that
    sends requests here sends its own Origin; neither knows the token.

    Arguments:
        app: the application.
        token: must stand in the address (`?token=`) or in the header `x-token`, but for static files.
        host: address that the studio listens on.
        port: its port.
    """

    def __init__(self, app: Any, token: str, host: str, port: int) -> None:
        self.app, self.token, self.host, self.port = app, token, host, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a web socket is closed unanswered
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self.app(scope, _bounded(receive), _with_headers(send))
        else:
            await _refuse(_with_headers(send), *refusal)

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and words for a request that does not pass; None for one that does."""
        host, path = headers.get("host", ""), scope["path"]
        if not self._is_own(host):
            return 421, "this name is not the studio's"
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return 403, "only the studio's own pages may ask"
        if path != "/" and headers.get("sec-fetch-site", "none") not in OPEN_SITES:
            return 403, "only the studio's own pages may ask"
        if not path.startswith("/static/") and not self._has_token(scope, headers):
            return 403, "open the whole address that `caselli studio` printed: it holds a token"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return 413, f"at most {MOST_BYTES >> 20} MB are taken"
        return None

    def _is_own(self, host: str) -> bool:
        """True for a Host header that is this machine's own name or number, with the studio's port."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or HTTP  # browsers leave that one out
        except ValueError:
            return False
        if port != self.port:
            return False
        if name in ("localhost", self.host.lower(), shown_name(self.host).lower()):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not is_loopback(self.host)

    def _has_token(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        given = headers.get("x-token") or query.get("token", [""])[0]
        return hmac.compare_digest(given.encode(), self.token.encode())


def shown_name(host: str) -> str:
    """The name that stands in the studio's address: this machine's own where all are listened on."""
    return socket.gethostname() if host in ("0.0.0.0", "::") else host


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bounded(receive: Receive) -> Receive:
    """Takes in a body up to the limit, whatever length it claims to have."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BYTES:
            raise TooLarge(f"more than {MOST_BYTES >> 20} MB were sent")
        return message

    return bounded


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            own = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in given]
            message = {**message, "headers": [*message["headers"], *own]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, words: str) -> None:
    body = words.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
