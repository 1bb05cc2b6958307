"""Reading the images of a request, multipart or as the body itself, within the limits. No torch."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from darkroom.data.listing import printable
from darkroom.serving.limits import Limits, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

MULTIPART = "multipart/form-data"
RAW = ("image/", "application/octet-stream")
MOST_FIELDS = 64
# What is still read of a body that is too large, so that the sender sees the answer rather than a broken connection.
DISCARDED, DISCARD_SECONDS = 10, 5.0


@dataclass(frozen=True)
class Upload:
    """What a request has sent.

    Attributes
    ----------
    images
        Names, printable, and bytes.
    fields
        Texts of the form, by name.
    """

    images: list[tuple[str, bytes]]
    fields: dict[str, list[str]] = field(default_factory=dict)


class Uploads:
    """Reads requests, and counts the bytes that all of them hold."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._held = 0

    @contextmanager
    def holding(self) -> "Iterator[_Body]":
        """Yield what reads the body of a request; what it holds is free afterwards."""
        body = _Body(self)
        try:
            yield body
        finally:
            self._held -= body.held

    def take(self, count: int) -> None:
        """Count bytes that a request holds from now on."""
        self._held += count
        if self._held > self.limits.max_held:
            raise Refused.for_now("max_queue", "the uploads of others fill the memory for now; send it again")


class _Body:
    """The body of one request."""

    def __init__(self, uploads: Uploads):
        self.uploads, self.limits, self.held = uploads, uploads.limits, 0

    async def read(self, request: Request) -> Upload:
        """Return what it holds.

        Raises
        ------
        Refused
            Naming the limit.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self.limits.max_bytes:
            # A client that waits for `100 Continue` has sent nothing yet.
            if "expect" not in request.headers:
                await _discard(request.stream(), self.limits.max_bytes)
            raise self._too_large()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == MULTIPART:
            upload = await self._form(request)
        elif kind.startswith(RAW):
            content = b"".join([part async for part in self._counted(request)])
            upload = Upload([("image", content)] if content else [])
        else:
            what = f"the type {printable(kind)} is not taken" if kind else "is missing"
            raise Refused(415, "type", f"Content-Type: {what}; send multipart/form-data, or an image as image/jpeg")
        if not upload.images:
            raise Refused(
                400, "image", "the request holds no image; send a file of multipart/form-data, or the image as the body"
            )
        if len(upload.images) > self.limits.max_images:
            raise self._too_many()
        return upload

    def _too_large(self) -> Refused:
        return Refused(
            413, "max_bytes", f"the request has more than {self.limits.max_bytes} bytes; send a smaller image, or fewer"
        )

    def _too_many(self) -> Refused:
        return Refused(413, "max_images", f"the request has more than {self.limits.max_images} images; send fewer at once")

    async def _counted(self, request: Request) -> AsyncGenerator[bytes, None]:
        stream = request.stream()
        async for part in stream:
            if self.held + len(part) > self.limits.max_bytes:
                await _discard(stream, self.limits.max_bytes)
                raise self._too_large()
            self.held += len(part)
            self.uploads.take(len(part))
            yield part

    async def _form(self, request: Request) -> Upload:
        parser = _InMemory(request.headers, self._counted(request), max_files=self.limits.max_images + 1, max_fields=MOST_FIELDS)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            if "Too many files" in error.message:
                raise self._too_many() from None
            raise Refused(400, "multipart", f"the form cannot be read ({error.message}); send multipart/form-data") from None
        except (KeyError, UnicodeDecodeError) as error:
            raise Refused(400, "multipart", f"the form cannot be read ({error}); send multipart/form-data") from None
        images: list[tuple[str, bytes]] = []
        fields: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields.setdefault(name, []).append(value)
            elif value.filename or value.size:  # else a field of the form in which nothing was chosen
                images.append((printable(value.filename or "image"), await value.read()))
        await form.close()
        return Upload(images, fields)


class _InMemory(MultiPartParser):
    """Keeps files in memory, which is bounded, rather than in files of /tmp."""

    spool_max_size = 1 << 62


async def _discard(stream: AsyncIterator[bytes], max_bytes: int) -> None:
    """Read what a sender still sends, without keeping it, for a while."""
    until, count = time.monotonic() + DISCARD_SECONDS, 0
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            async for part in stream:
                count += len(part)
                if count > DISCARDED * max_bytes or time.monotonic() > until:
                    return
    except (TimeoutError, ClientDisconnect):
        return
