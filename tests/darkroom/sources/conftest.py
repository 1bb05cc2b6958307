"""Fixtures for the tests of sources: among them a server that misbehaves on purpose."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from data_fixtures import download, image, root


@dataclass
class Server:
    """Answers the requests for each path by the next function of its list, the last one for ever."""

    address: str
    answers: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def body(
        self, content: bytes, status: int = 200, *, sent: int | None = None, headers: dict[str, str] | None = None
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        """Answer with a body, of which only `sent` bytes come."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(content[:sent])

        return answer

    def ranged(self, content: bytes, *, shift: int = 0) -> Callable[[BaseHTTPRequestHandler], None]:
        """Answer as a server does that knows ranges; `shift` makes it give another one than asked for."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            start = int((request.headers.get("Range") or "bytes=0-")[6:-1])
            if start >= len(content):
                self.body(b"", 416, headers={"Content-Range": f"bytes */{len(content)}"})(request)
            else:
                start = max(0, start + shift)
                headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                self.body(content[start:], 206, headers=headers)(request)

        return answer

    def drip(self, seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
        """Answer without end, one byte at a time; with 0 seconds between, as fast as can be."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.end_headers()
            while not self.stopped.is_set():
                request.wfile.write(b"x" if seconds else bytes(1 << 16))
                time.sleep(seconds)

        return answer

    def redirect(self, location: str) -> Callable[[BaseHTTPRequestHandler], None]:
        """Answer that the file is elsewhere."""
        return self.body(b"", 302, headers={"Location": location})

    def hang(self, _: BaseHTTPRequestHandler) -> None:
        """Answer nothing."""
        self.stopped.wait(10)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on 127.0.0.1 that answers as the test tells it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.ranges.append(self.headers.get("Range"))
            answers = served.answers[self.path.split("?")[0]]
            # The client may hang up.
            with contextlib.suppress(OSError):
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    served = Server(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.stopped.set()
    listener.shutdown()
    thread.join()
    listener.server_close()
