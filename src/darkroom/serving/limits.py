"""What the server takes, and how it says no: one line of JSON that names the limit. No torch."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from darkroom.base.errors import InputError, one_line

RETRY_SECONDS = 1
HOST = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?")


@dataclass(frozen=True)
class Limits:
    """The limits of one server.

    Attributes
    ----------
    max_bytes
        Of the body of a request.
    max_images
        Of a request.
    max_pixels
        Of an image; more are refused by its header, before anything is decoded.
    max_queue
        Requests that are being read, wait or are computed.
    timeout
        Seconds that a request may take, its upload included.
    batch_size
        Images that go through the network at once.
    """

    max_bytes: int = 20_000_000
    max_images: int = 16
    max_pixels: int = 100_000_000
    max_queue: int = 64
    timeout: float = 30.0
    batch_size: int = 32

    @property
    def max_held(self) -> int:
        """Bytes of all uploads that are in memory at once."""
        return 8 * self.max_bytes


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """A request that is refused.

    Parameters
    ----------
    status
        Of HTTP.
    limit
        What it is refused by: a name that programs can rely on, such as `max_bytes`.
    message
        What is wrong, and what to do.
    headers
        Further headers of the answer.
    """

    def __init__(self, status: int, limit: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(one_line(message))
        self.status, self.limit, self.headers = status, limit, headers or {}

    @classmethod
    def for_now(cls, limit: str, message: str, *, status: int = 503) -> "Refused":
        """Return a refusal that says when to try again."""
        return cls(status, limit, message, {"Retry-After": str(RETRY_SECONDS)})

    @property
    def content(self) -> dict[str, str]:
        """The JSON of the answer."""
        return {"error": str(self), "limit": self.limit}


def check_host(text: str) -> None:
    """Refuse a name of the server by which no request can ask, such as an address with a scheme or a port.

    Raises
    ------
    InputError
        With the name as a Host header has it.
    """
    try:
        host = (urlsplit(text if "//" in text else f"//{text}").hostname or "").encode("idna").decode()
    except ValueError:  # a UnicodeError is one
        host = ""
    if (host == text.casefold() and HOST.fullmatch(host)) or is_number(text):
        return
    advice = f"write {host}" if HOST.fullmatch(host) else "write a whole name, such as photos.example.com"
    raise InputError(f"--allow-host: {text!r} is no name by which a request can ask; {advice}")


def is_number(name: str) -> bool:
    """Return whether a name is an address of numbers."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
