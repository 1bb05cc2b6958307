"""A headless Chromium that opens a page, and what came of it: its elements, messages of its console, its requests."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Where Chromium itself calls home.
ITS_OWN = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")


class Element(NamedTuple):
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None]


class Opened(NamedTuple):
    """What came of opening a page."""

    elements: list[Element]
    console: list[str]
    requests: list[str]
    """Host and path of each but the page itself."""


class Elements(HTMLParser):
    """The elements of a page, without a browser."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[Element] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, dict(attrs)))


def open_page(text: str, folder: Path) -> Opened:
    """Open a page, which a server on this machine sends, and to which all names of the Internet lead as well."""
    requests: list[str] = []
    with _serving(text, requests) as port:
        command = [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-logging=stderr"),
            f"--user-data-dir={folder / 'profile'}",
            f"--host-resolver-rules=MAP * 127.0.0.1:{port}",
            *("--virtual-time-budget=2000", "--dump-dom", f"http://page.test:{port}/page"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Opened(Elements(done.stdout).found, console, requests)


@contextmanager
def _serving(text: str, requests: list[str]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").partition(":")[0]
            is_page = (host, self.path) == ("page.test", "/page")
            if not is_page and not host.endswith(ITS_OWN):
                requests.append(host + self.path)
            self.send_response(200 if is_page else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode() if is_page else b"")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
