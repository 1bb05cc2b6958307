"""The server's process: it listens, loads the models, and stops without losing a request. No torch."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from darkroom.base.errors import InputError, Interrupted
from darkroom.serving.app import make_app
from darkroom.serving.guard import Guard
from darkroom.serving.limits import Limits
from darkroom.serving.measured import Measured
from darkroom.serving.service import Loaded, Service

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# For so long requests are refused in words before the port closes: those on their way hear that the server stops.
LINGER_SECONDS = 0.3
KEEP_ALIVE_SECONDS = 65  # more than the usual 60 of proxies, which would else send a request into a connection that closes


class Server(uvicorn.Server):
    """One server in this process.

    Parameters
    ----------
    limits
        What is refused.
    load
        Loads the models, in a thread.
    hosts, token
        As those of `Guard`.
    version
        Of Darkroom.
    """

    def __init__(self, limits: Limits, load: Callable[[], Loaded], *, hosts: tuple[str, ...], token: str | None, version: str):
        measured = Measured()
        self.service = Service(limits, measured)
        self.guard = Guard(make_app(self.service, self._load, version), measured, hosts, token)
        self._loading = load
        self._error: Exception | None = None
        self._address = ""
        self._lost: Interrupted | None = None
        super().__init__(
            uvicorn.Config(
                self.guard,
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,  # which would close the handlers of all other logs; warnings go to standard error without it
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                proxy_headers=False,
            )
        )

    def serve_on(self, listening: socket.socket, address: str) -> None:
        """Answer on a socket until a signal comes, then finish what was accepted.

        Raises
        ------
        InputError, RunError, …
            What `load` raises.
        Interrupted
            By a second signal; what was not answered is lost then.
        """
        self._address = address
        self.run(sockets=[listening])
        if self._error is not None:
            raise self._error
        if self._lost is not None:
            raise self._lost
        print(f"serve: stopped; all of {self.guard.answered} requests were answered", flush=True)

    async def _load(self) -> None:
        try:
            await self.service.load(self._loading)
        except Exception as error:
            self._error = error
            self.should_exit = True
            return
        print(f"serve: {self._address} is ready; Ctrl-C stops it", flush=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals stop the server gracefully; uvicorn's own way ends the process by the same signal afterwards."""
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in STOPPING:
                loop.remove_signal_handler(number)

    def _stop(self, number: signal.Signals) -> None:
        if self.guard.stopping:
            self._lost = Interrupted(number, f"{self.guard.open} requests are not answered")
            self.force_exit = self.should_exit = True
            return
        self.guard.stopping = True
        print(f"serve: stops; {self.guard.open} requests are being answered, new ones are refused", flush=True)
        self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        until = time.monotonic() + LINGER_SECONDS
        while not self.force_exit and (self.guard.open or time.monotonic() < until):
            await asyncio.sleep(0.02)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0: any that is free.

    Raises
    ------
    InputError
        If the address is not one of this machine, or the port is taken or not allowed.
    """
    try:
        kind, _, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host: {host} is no address of this machine; use 127.0.0.1 or 0.0.0.0") from None
    # With the protocol, or asyncio does not know that it is TCP and leaves Nagle's algorithm on: 40 ms for each answer.
    listening = socket.socket(kind, socket.SOCK_STREAM, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except PermissionError:
        raise InputError(f"--port: {port} is not allowed for this user; use 1024 or more") from None
    except OSError as error:
        listening.close()
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--port: {host}:{port} cannot be used ({reason}); name another port, or 0 for any free one") from None
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the address for a browser."""
    found: Any = listening.getsockname()
    host = f"[{found[0]}]" if ":" in found[0] else found[0]
    return f"http://{host}:{found[1]}"
