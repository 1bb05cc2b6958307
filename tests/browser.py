"""Opens a page in Chromium without a display, over its pipe for debugging, and says what a person would have seen; reads markup."""

import base64
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.pages.document import VOID

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
# A browser that runs as root, as in containers, refuses to start with its sandbox; the pages are our own.
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no page reaches the Internet
)
SECONDS = 60


class Markup(HTMLParser):
    """Elements with their attributes, texts, and what is left open of a page, as a browser reads them."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def attributes(self) -> set[str]:
        return {name for _, attributes in self.elements for name in attributes}


class Look(NamedTuple):
    """What was seen of a page.

    Attributes
    ----------
    errors
        Uncaught exceptions, errors and warnings on the console, what the browser refused or could not load.
    requests
        Addresses of what was asked for, beside the page itself and data in it.
    width
        Pixels that the page needs sideways.
    text
        The text of the page.
    markup
        Its elements once it is loaded.
    value
        What the expression of `look` gave.
    png
        A picture of the whole page.
    """

    errors: list[str]
    requests: list[str]
    width: int
    text: str
    markup: Markup
    value: Any
    png: bytes


def look(
    page: Path | str,
    *,
    width: int = 1400,
    dark: bool = False,
    expression: str = "null",
    settle: float = 0.5,
    chosen: Sequence[Path] = (),
    steps: Sequence[str] = (),
) -> Look:
    """Open a page in a window of `width` pixels, wait until it is loaded and `settle` seconds more, and look at it.

    The page is a file or an address. Before that, `chosen` files are given to its first field for files, and each of `steps`, an
    expression, is evaluated again and again until it is true.
    """
    address = page if isinstance(page, str) else page.resolve().as_uri()
    assert BROWSER is not None
    with _Browser() as browser:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

        def call(method: str, **params: Any) -> Any:
            return browser.call(method, session, **params)

        def value_of(code: str) -> Any:
            return call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)["result"].get("value")

        for domain in ("Page", "Runtime", "Log", "Network"):
            call(f"{domain}.enable")
        call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        call("Emulation.setEmulatedMedia", features=[scheme])
        call("Page.navigate", url=address)
        browser.wait_for("Page.loadEventFired")
        if chosen:
            root = call("DOM.getDocument")["root"]["nodeId"]
            field = call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
            call("DOM.setFileInputFiles", nodeId=field, files=[str(each) for each in chosen])
        for step in steps:
            until = time.monotonic() + SECONDS
            while not value_of(step):
                if time.monotonic() > until:
                    raise TimeoutError(f"{step} is not true; the page says {value_of('document.body.innerText')}")
                time.sleep(0.05)
        value_of(f"new Promise((done) => setTimeout(done, {1000 * settle}))")
        value, text = value_of(expression), value_of("document.body.innerText")
        needed, markup = value_of("document.documentElement.scrollWidth"), Markup(value_of("document.documentElement.outerHTML"))
        png = base64.b64decode(call("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        return Look(*_problems(browser.events, address), needed, text, markup, value, png)


def look_at(text: str, folder: Path) -> Look:
    """Look at a page that is written into a folder."""
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return look(path)


def _problems(events: list[dict[str, Any]], address: str) -> tuple[list[str], list[str]]:
    """Return errors and requests, without what the page's policy refused, of which nothing was sent."""
    errors: list[str] = []
    requests: dict[str, str] = {}
    for event in events:
        method, params = event["method"], event["params"]
        if method == "Runtime.exceptionThrown":
            errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            errors.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            errors.append(json.dumps(params["entry"]))
        elif method in ("Page.javascriptDialogOpening", "Network.loadingFailed"):
            errors.append(json.dumps(params))
            if params.get("blockedReason") == "csp":
                requests.pop(params["requestId"], None)
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith("data:") and url != address:
                requests[params["requestId"]] = url
    return errors, list(requests.values())


class _Browser:
    """Chromium with its pipe: JSON messages that end with a zero byte, read from file 4 and written to file 3."""

    def __enter__(self) -> "_Browser":
        self.events: list[dict[str, Any]] = []
        self._number, self._rest = 0, b""
        theirs, self._write = os.pipe()
        self._read, writes = os.pipe()
        command = shlex.join([str(BROWSER), *OPTIONS, "--remote-debugging-pipe", "about:blank"])
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command} 3<&{theirs} 4>&{writes}"],
            pass_fds=(theirs, writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(writes)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, EOFError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, session: str | None = None, /, **params: Any) -> Any:
        """Return the answer to a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while "id" not in (answer := self._next()) or answer["id"] != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait_for(self, method: str) -> None:
        """Return once an event has come."""
        until = time.monotonic() + SECONDS
        while not any(event["method"] == method for event in self.events):
            if time.monotonic() > until:
                raise TimeoutError(f"{method} has not come within {SECONDS} seconds")
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            if not part:
                raise EOFError("Chromium has ended")
            self._rest += part
        text, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message
