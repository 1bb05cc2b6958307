"""A server that fails, stalls, lies or leaves the folder of the table: the archive comes whole, or one line says why, and nothing hangs."""

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import DownloadParams
from darkroom.data.images import ImageError
from darkroom.sources import http as module
from darkroom.sources.http import Session, read_address, transfer

CONTENT = bytes(range(256)) * 40
ELSEWHERE = "http://localhost:1/x"
Download = Callable[..., DownloadParams]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture
def get(download: Download, server: Any, tmp_path: Path) -> Callable[..., bytes]:
    """Transfer /x, whose answers are given, and return what came."""

    def run(*answers: Any, part: bytes = b"", **changes: Any) -> bytes:
        server.answers["/x"] = list(answers)
        changes = {"source": "archive", "archive": f"{server.address}/x", "timeout_seconds": 0.4} | changes
        path = tmp_path / "part"
        if part:
            path.write_bytes(part)
        transfer(download(**changes), path, "http://host/x")
        return path.read_bytes()

    return run


def test_a_body(get: Any, server: Any) -> None:
    assert get(server.body(CONTENT)) == CONTENT


def test_a_body_without_length(get: Any, server: Any) -> None:
    assert get(server.body(CONTENT, headers={"Content-Length": ""})) == CONTENT


def test_a_server_error_is_tried_again(get: Any, server: Any) -> None:
    assert get(server.body(b"", 500), server.body(b"", 503), server.body(CONTENT)) == CONTENT


def test_a_broken_body_goes_on_by_range(get: Any, server: Any) -> None:
    def short(request: Any) -> None:
        server.body(CONTENT, sent=1000)(request)

    assert get(short, server.ranged(CONTENT)) == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_the_part_of_an_earlier_run_is_used(get: Any, server: Any) -> None:
    assert get(server.ranged(CONTENT), part=CONTENT[:4000]) == CONTENT
    assert server.ranges == ["bytes=4000-"]


def test_a_whole_part_needs_nothing(get: Any, server: Any) -> None:
    assert get(server.ranged(CONTENT), part=CONTENT) == CONTENT


def test_a_part_longer_than_the_file_is_dropped(get: Any, server: Any) -> None:
    assert get(server.ranged(CONTENT), part=CONTENT * 2) == CONTENT


def test_a_server_that_ignores_ranges_starts_over(get: Any, server: Any) -> None:
    assert get(server.body(CONTENT), part=b"part of something else") == CONTENT


def test_a_wrong_range_starts_over(get: Any, server: Any) -> None:
    assert get(server.ranged(CONTENT, shift=-3), server.body(CONTENT), part=CONTENT[:500]) == CONTENT


def test_a_redirect_to_the_same_host(get: Any, server: Any) -> None:
    server.answers["/y"] = [server.body(CONTENT)]
    assert get(server.redirect("/y?token=1")) == CONTENT


def test_a_redirect_to_an_allowed_host(get: Any, server: Any) -> None:
    server.answers["/y"] = [server.body(CONTENT)]
    address = server.address.replace("127.0.0.1", "localhost")
    assert get(server.redirect(f"{address}/y"), redirect_hosts=["localhost"]) == CONTENT


def test_the_body_of_a_redirect_is_not_read(get: Any, server: Any) -> None:
    server.answers["/y"] = [server.body(CONTENT)]

    def endless(request: Any) -> None:
        request.send_response(302)
        request.send_header("Location", "/y")
        request.end_headers()
        while not server.stopped.is_set():
            request.wfile.write(bytes(1 << 16))

    assert get(endless) == CONTENT


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (lambda s: s.body(b"", 404), InputError, "the server returns 404 Not Found; correct download.archive"),
        (lambda s: s.body(b"", 403), InputError, "the server returns 403 Forbidden; use an address that needs no login"),
        (lambda s: s.body(b"", 204), InputError, "the server returns 204 No Content; correct download.archive"),
        (lambda s: s.body(b"", 500), RunError, "the server returns 500 Internal Server Error, 4 times; run the same command"),
        (lambda s: s.body(CONTENT, sent=0), RunError, "the connection failed"),
        (lambda s: s.redirect(ELSEWHERE), InputError, "redirects to the host 'localhost'; if you trust it, add it to"),
        (lambda s: s.redirect("ftp://127.0.0.1/x"), InputError, "redirects to ftp, which is not safe; use another address"),
        (lambda s: s.redirect("http://[/"), InputError, "redirects to an invalid address; use another address"),
        (lambda s: s.redirect("/x"), InputError, "redirects more than 5 times; use the address of the file itself"),
        (lambda s: s.body(CONTENT, headers={"Content-Length": "2000000000"}), InputError, "is larger than 0.001 GB; if"),
        (lambda s: s.drip(0), InputError, "is larger than 0.001 GB; if that is right, raise download.max_gigabytes"),
        (lambda s: s.drip(0.02), RunError, "the server sends less than 1 kB/s for 0.4 s; run the same"),
        (lambda s: s.hang, RunError, "the server sends less than 1 kB/s for 0.4 s; run the same command later"),
    ],
)
def test_what_is_given_up(answer: Any, kind: type[Exception], message: str, get: Any, server: Any) -> None:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        get(answer(server), max_gigabytes=0.001)
    assert str(caught.value).startswith(f"http://host/x: {message}")
    assert time.monotonic() - began < 3


def test_https_never_becomes_http() -> None:
    hosts: set[str | None] = {"host"}
    with pytest.raises(InputError, match=re.escape("x: redirects to http, which is not safe")):
        module._redirected("https://host/x", "http://host/x", hosts, "x")
    assert module._redirected("http://host/x", "https://host/y", hosts, "x") == "https://host/y"


def test_no_server_and_no_secret_in_the_message(get: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/x?page=secret"
        with pytest.raises(RunError) as caught:
            get(archive=address)
    assert str(caught.value).startswith("http://host/x: the connection failed (Connection refused), 4 times; run the same")
    assert "secret" not in str(caught.value)


def test_a_part_is_kept_when_the_server_stalls(get: Any, server: Any, tmp_path: Path) -> None:
    def half(request: Any) -> None:
        server.body(CONTENT, sent=5000)(request)
        request.wfile.flush()
        server.stopped.wait(5)

    with pytest.raises(RunError):
        get(half)
    assert (tmp_path / "part").read_bytes() == CONTENT[:5000]


@pytest.fixture
def read(download: Download, server: Any) -> Callable[..., bytes]:
    """Read the image at /x, whose answers are given."""

    def run(*answers: Any) -> bytes:
        server.answers["/x"] = list(answers)
        params = download(source="archive", archive=f"{server.address}/x", timeout_seconds=0.4)
        with Session() as session:
            return read_address(session, params, "http://host/x", 20_000)

    return run


def test_an_image_comes_whole_after_faults(read: Any, server: Any) -> None:
    assert read(server.body(b"", 503), server.body(CONTENT, sent=100), server.body(CONTENT)) == CONTENT


def test_an_image_that_is_not_there_is_no_fault_of_the_network(read: Any, server: Any) -> None:
    with pytest.raises(ImageError, match=r"^the server returns 404 Not Found$"):
        read(server.body(b"", 404))
    with pytest.raises(ImageError, match=r"^is larger than 0 MiB$"):
        read(server.drip(0))
    with pytest.raises(InputError, match=r"redirects to the host 'localhost'; if you trust it"):
        read(server.redirect(ELSEWHERE))


def test_a_server_that_fails_ends_the_run(read: Any, server: Any) -> None:
    with pytest.raises(RunError, match=r"^http://host/x: the server returns 500 Internal Server Error, 4 times; run the same"):
        read(server.body(b"", 500))
    with pytest.raises(RunError, match=r"^http://host/x: the server sends nothing for 0\.4 s, 4 times"):
        read(server.hang)
