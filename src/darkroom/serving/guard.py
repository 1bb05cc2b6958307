"""Who may ask: the checks of every request before it is read, and the headers of every answer. No torch.

References
----------
OWASP cheat sheets on cross-site request forgery and HTTP headers, https://cheatsheetseries.owasp.org
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from darkroom.pages.document import SERVED_POLICY
from darkroom.serving.limits import Refused, is_number
from darkroom.serving.measured import Measured

OPEN = "/health"
"""Needs no token: what restarts containers has none, and it says nothing but whether the server is ready."""
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "content-security-policy": f"{SERVED_POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
Scope = dict[str, Any]


class Guard:
    """Refuses what comes under another name, without the token, from another site's page, or once the server stops.

    Parameters
    ----------
    app
        What answers all else.
    measured
        Counts requests and refusals.
    hosts
        Names of the server beside localhost. An address of numbers is no name: a site cannot take its place.
    token
        That requests must carry; None: none is needed.

    Attributes
    ----------
    stopping : bool
        Whether the server stops: what was accepted is answered, new requests are refused.
    open, answered : int
        Requests that are being answered, and those that were.
    """

    def __init__(self, app: Any, measured: Measured, hosts: Sequence[str] = (), token: str | None = None):
        self.app, self.measured = app, measured
        self.hosts = {"localhost", *(host.casefold().rstrip(".") for host in hosts)}
        self._token = None if token is None else _digest(token)
        self.stopping = False
        self.open = self.answered = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request of ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send, closes=lambda: self.stopping)
        started = time.perf_counter()
        try:
            self._check(scope)
        except Refused as refused:
            self.measured.refusals.labels(refused.limit).inc()
            await _refuse(refused, answer)
        else:
            self.open += 1
            self.measured.open.set(self.open)
            try:
                await self.app(scope, receive, answer)
                self.answered += 1
            finally:
                self.open -= 1
                self.measured.open.set(self.open)
        route = scope.get("route")
        path = getattr(route, "path", "other")  # of unknown paths there are any number
        self.measured.requests.labels(path, str(answer.status)).inc()
        self.measured.seconds.labels("request").observe(time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Refused(
                421, "host", f"Host: '{host}' is no name of this server; ask by its address, or start it with --allow-host"
            )
        if self.stopping:
            raise Refused.for_now("stopping", "the server stops; send it to another one, or again later")
        if scope["path"] != OPEN and not self._has_token(headers.get("authorization", "")):
            raise Refused(
                401,
                "token",
                "Authorization: the token is missing or wrong; send 'Authorization: Bearer TOKEN', or as the password",
                {"WWW-Authenticate": 'Basic realm="darkroom", charset="UTF-8"'},
            )
        if scope["method"] not in SAFE:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
            if site not in ("none", "same-origin") or (origin is not None and urlsplit(origin).netloc != host):
                raise Refused(403, "origin", "Origin: a page of another site sent this; open the server's own page")

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name.rstrip(".") in self.hosts or is_number(name)

    def _has_token(self, authorization: str) -> bool:
        if self._token is None:
            return True
        kind, _, given = authorization.partition(" ")
        if kind.lower() == "basic":  # of browsers: any name, the token as the password
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(_digest(given.strip()), self._token)


class _Answer:
    """Adds headers to an answer on its way, and keeps its status."""

    def __init__(self, send: Any, closes: Any):
        self._send, self._closes = send, closes
        self.status = 499  # if nothing is sent, since the client has gone

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._closes():
                headers["connection"] = "close"
        await self._send(message)


async def _refuse(refused: Refused, send: Any) -> None:
    body = json.dumps(refused.content).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _digest(text: str) -> bytes:
    # Of one length, so that a comparison in constant time tells nothing of the token's.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
