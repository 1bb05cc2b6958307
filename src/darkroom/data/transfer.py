"""The bytes behind an http address into a file, from a server that may fail, stall, lie about sizes or lead elsewhere."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from darkroom.data.progress import progress_bar
from darkroom.errors import InputError, RunError
from darkroom.params import DownloadParams

BACKOFF_SECONDS = (1.0, 2.0, 4.0)
LEAST_BYTES_PER_SECOND = 1000
# A try that brought this much does not count as a failure: a flaky line may drop a large archive many times.
PROGRESS_BYTES = 1 << 20
BLOCK_BYTES = 1 << 18
MAX_REDIRECTS = 5
NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class _TemporaryFault(Exception):
    """Worth another try; the message says what happened, without the address."""


def transfer(params: DownloadParams, part: Path, shown: str) -> None:
    """Append to `part` until it holds all that the server has behind `download.archive`.

    Raises
    ------
    InputError
        If the server refuses, sends too much, or redirects to where it may not.
    RunError
        If it fails, breaks off or stalls time and again; the part is kept.
    """
    failures = 0
    with requests.Session() as session, progress_bar(f"download {shown}", None, of_bytes=True) as advance:
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                return _Attempt(session, params, part, shown, advance).run(before)
            except _TemporaryFault as fault:
                reason = str(fault)
            except NETWORK_ERRORS as error:
                if isinstance(error, OSError) and not isinstance(error, requests.RequestException) and error.filename:
                    raise
                reason = _explain(error)
            gained = (part.stat().st_size if part.exists() else 0) - before
            failures = 0 if gained >= PROGRESS_BYTES else failures + 1
            if failures > len(BACKOFF_SECONDS):
                raise RunError(f"{shown}: {reason}, {failures} times; run the same command later, it goes on where it was")
            time.sleep(BACKOFF_SECONDS[max(failures - 1, 0)])
