"""Downloading a file or an image over HTTP, from a server that may fail, stall, report wrong sizes or redirect."""

import re
import time
from http.client import responses as REASONS  # noqa: N812
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import DownloadParams
from darkroom.data.images import ImageError
from darkroom.sources.progress import progress_bar

BACKOFF_SECONDS = (1.0, 2.0, 4.0)
LEAST_BYTES_PER_SECOND = 1000
# An attempt that received this much does not count as a failure: a bad connection may break many times in a large archive.
PROGRESS_BYTES = 1 << 20
BLOCK_BYTES = 1 << 18
MAX_REDIRECTS = 5
# Statuses below 500 after which the same request may succeed.
WORTH_ANOTHER = (408, 425, 429)


class _TemporaryError(Exception):
    """Worth another attempt; the message says what happened, without the address, which may hold a key."""


class Session(requests.Session):
    """A session that follows no redirects by itself."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Leave redirects to `_open`; requests would read the whole body of a redirect, which may never end."""


def transfer(params: DownloadParams, part: Path, shown: str) -> None:
    """Append to `part` until it is all of `download.archive`.

    Parameters
    ----------
    params
        Section `download` of params.yaml: address, hosts, timeout and maximum size.
    part
        What an earlier call downloaded of the same archive, if anything.
    shown
        Name of the archive in error messages.

    Raises
    ------
    InputError
        If the server refuses, sends too much, or redirects to a host that is not allowed.
    RunError
        If it stalls, or fails repeatedly; the part is kept.
    """
    failures = 0
    with Session() as session:
        # Some servers send a .tar.gz with `Content-Encoding: gzip`; it must not be decompressed.
        session.headers["Accept-Encoding"] = "identity"
        while True:
            before = _size(part)
            try:
                return _attempt(session, params, part, shown)
            except (requests.Timeout, ReadTimeoutError):
                raise _stalled(params, shown) from None
            except (_TemporaryError, requests.RequestException, HTTPError) as error:
                reason = _explain(error)
            failures = 0 if _size(part) - before >= PROGRESS_BYTES else failures + 1
            if failures > len(BACKOFF_SECONDS):
                raise RunError(f"{shown}: {reason}, {failures} times; run the same command later, it resumes the download")
            time.sleep(BACKOFF_SECONDS[max(failures - 1, 0)])


def read_address(session: Session, params: DownloadParams, shown: str, most_bytes: int) -> bytes:
    """Return the image at `download.archive`; parameters and errors are those of `transfer`.

    `most_bytes` is the largest size of an image.

    Raises
    ------
    ImageError
        If the server has no such image, or it is too large.
    """
    failures = 0
    while True:
        try:
            return _read(session, params, shown, most_bytes)
        except (requests.Timeout, ReadTimeoutError):
            reason = f"the server sends nothing for {params.timeout_seconds:g} s"
        except (_TemporaryError, requests.RequestException, HTTPError) as error:
            reason = _explain(error)
        failures += 1
        if failures > len(BACKOFF_SECONDS):
            raise RunError(f"{shown}: {reason}, {failures} times; run the same command later")
        time.sleep(BACKOFF_SECONDS[failures - 1])


def _read(session: Session, params: DownloadParams, shown: str, most_bytes: int) -> bytes:
    with _open(session, params, 0, shown) as response:
        status = response.status_code
        if 400 <= status < 500 and status not in WORTH_ANOTHER:
            raise ImageError(f"the server returns {status} {REASONS.get(status, '')}".rstrip())
        _check_status(status, shown)
        announced = response.headers.get("Content-Length", "")
        started, blocks, received = time.monotonic(), list[bytes](), 0
        while block := response.raw.read1(BLOCK_BYTES, decode_content=False):
            blocks.append(block)
            received += len(block)
            if received > most_bytes:
                raise ImageError(f"is larger than {most_bytes >> 20} MiB")
            seconds = time.monotonic() - started
            if seconds > params.timeout_seconds and received < LEAST_BYTES_PER_SECOND * seconds:
                raise _TemporaryError("the server sends less than 1 kB/s")
        if announced.isdecimal() and received < int(announced):
            raise _TemporaryError(f"the connection ended after {received} of {announced} bytes")
        return b"".join(blocks)


def _attempt(session: Session, params: DownloadParams, part: Path, shown: str) -> None:
    start = _size(part)
    with _open(session, params, start, shown) as response:
        status, content_range = response.status_code, response.headers.get("Content-Range")
        if status == 416 and start and content_range in (None, f"bytes */{start}"):
            # Nothing follows the part: it is complete, which the checksum will show.
            return
        if status == 416 or (status == 206 and not (content_range or "").startswith(f"bytes {start}-")):
            part.unlink(missing_ok=True)
            raise _TemporaryError("the server sends another range than requested")
        _check_status(status, shown)
        _receive(response, params, part, shown, start=0 if status == 200 else start)


def _open(session: Session, params: DownloadParams, start: int, shown: str) -> requests.Response:
    url = str(params.archive)
    hosts = {urlsplit(url).hostname, *params.redirect_hosts}
    headers = {"Range": f"bytes={start}-"} if start else {}
    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=params.timeout_seconds)
        if not response.is_redirect:
            return response
        response.close()
        url = _redirected(url, response.headers["Location"], hosts, shown)
    raise InputError(f"{shown}: redirects more than {MAX_REDIRECTS} times; use the address of the file itself")


def _redirected(url: str, location: str, hosts: set[str | None], shown: str) -> str:
    try:
        target = urljoin(url, location)
        scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
    except ValueError:
        raise InputError(f"{shown}: redirects to an invalid address; use another address") from None
    if scheme not in ("http", "https") or (url.startswith("https:") and scheme == "http"):
        raise InputError(f"{shown}: redirects to {scheme}, which is not safe; use another address")
    if host not in hosts:
        raise InputError(f"{shown}: redirects to the host '{host}'; if you trust it, add it to download.redirect_hosts")
    return target


def _check_status(status: int, shown: str) -> None:
    if status in (200, 206):
        return
    response = f"the server returns {status} {REASONS.get(status, '')}".rstrip()
    if status >= 500 or status in WORTH_ANOTHER:
        raise _TemporaryError(response)
    advice = "use an address that needs no login" if status in (401, 403, 407) else "correct download.archive"
    raise InputError(f"{shown}: {response}; {advice}")


def _receive(response: requests.Response, params: DownloadParams, part: Path, shown: str, *, start: int) -> None:
    announced = response.headers.get("Content-Length", "")
    total = start + int(announced) if announced.isdecimal() else None
    limit = params.max_gigabytes * 1e9
    received, window_start, window_end = start, start, time.monotonic() + params.timeout_seconds
    with part.open("ab" if start else "wb") as file, progress_bar(f"download {shown}", total, of_bytes=True) as advance:
        advance(start)
        while True:
            if max(received, total or 0) > limit:
                raise InputError(f"{shown}: is larger than {limit / 1e9:g} GB; if that is right, raise download.max_gigabytes")
            # read1 returns what has arrived; `iter_content` would wait for a whole block, however slow the server is.
            block = response.raw.read1(BLOCK_BYTES, decode_content=False)
            if not block:
                break
            file.write(block)
            advance(len(block))
            received += len(block)
            if time.monotonic() > window_end:
                if received - window_start < LEAST_BYTES_PER_SECOND * params.timeout_seconds:
                    raise _stalled(params, shown)
                window_start, window_end = received, time.monotonic() + params.timeout_seconds
    if total is not None and received < total:
        raise _TemporaryError(f"the connection ended after {received} of {total} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _stalled(params: DownloadParams, shown: str) -> RunError:
    return RunError(
        f"{shown}: the server sends less than 1 kB/s for {params.timeout_seconds:g} s; "
        "run the same command later, which resumes the download, or raise download.timeout_seconds"
    )


def _explain(error: Exception) -> str:
    if isinstance(error, _TemporaryError):
        return str(error)
    # Messages of the libraries contain the whole address; only the system's reason is shown.
    reason = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", str(error))
    kind = "TLS failed" if isinstance(error, requests.exceptions.SSLError) else "the connection failed"
    return f"{kind} ({reason[1] if reason else type(error).__name__})"
