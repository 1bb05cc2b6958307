"""The models that answer, and the way of a request through decoding, waiting and computing, within the limits. No torch."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from darkroom.data.decoding.bounds import TooManyPixelsError
from darkroom.data.images import ImageArray, ImageError
from darkroom.data.listing import printable
from darkroom.serving.batching import Batcher
from darkroom.serving.limits import Limits, Refused
from darkroom.serving.measured import Measured
from darkroom.serving.uploads import Upload, Uploads

if TYPE_CHECKING:
    from darkroom.serving.collected import Collected
    from darkroom.serving.explaining import Explaining
    from darkroom.serving.served import Served


@dataclass(frozen=True)
class Loaded:
    """What takes seconds to load.

    Attributes
    ----------
    explaining
        The models, each with what explains its predictions; the first one answers if a request names none.
    collected
        Keeps corrections; None: they are refused.
    """

    explaining: "Sequence[Explaining]"
    collected: "Collected | None" = None
    models: "dict[str, Served]" = field(init=False)
    """By name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", {each.served.name: each.served for each in self.explaining})


class Service:
    """Answers requests once its models are loaded.

    Parameters
    ----------
    limits
        What is refused.
    measured
        What is counted.

    Attributes
    ----------
    loaded : Loaded or None
        None until the models are loaded and warm.
    """

    def __init__(self, limits: Limits, measured: Measured):
        self.limits, self.measured = limits, measured
        self.loaded: Loaded | None = None
        self.uploads = Uploads(limits)
        self._network = ThreadPoolExecutor(1, "network")
        self._decoders = ThreadPoolExecutor(os.cpu_count(), "decode")
        self._collector = ThreadPoolExecutor(1, "collect")
        self._batchers: dict[str, Batcher] = {}
        self._working = 0

    async def load(self, load: Callable[[], Loaded]) -> None:
        """Load the models in the thread that computes."""
        loaded = await asyncio.get_running_loop().run_in_executor(self._network, load)
        for name, served in loaded.models.items():
            compute = self._timed(served.predict)
            self._batchers[name] = Batcher(compute, self.limits.batch_size, self._network, self._observer(name))
            self.measured.name_model(**served.identity)
        self.loaded = loaded

    def _observer(self, name: str) -> Callable[[int, list[float]], None]:
        size, wait = self.measured.batches.labels(name), self.measured.seconds.labels("wait")

        def observe(count: int, waited: list[float]) -> None:
            size.observe(count)
            for seconds in waited:
                wait.observe(seconds)

        return observe

    def _timed(self, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
        timer = self.measured.seconds.labels("network")

        def timed(images: Any) -> Any:
            with timer.time():
                return compute(images)

        return timed

    def ready(self) -> Loaded:
        """Return what is loaded.

        Raises
        ------
        Refused
            While it is being loaded.
        """
        if self.loaded is None:
            raise Refused.for_now("loading", "the model is being loaded; send it again in some seconds")
        return self.loaded

    def model(self, name: str | None) -> "Served":
        """Return a model by its name; the first one, if none is named."""
        models = self.ready().models
        if name is None:
            return next(iter(models.values()))
        if name not in models:
            raise Refused(404, "model", f"model: there is no '{printable(name)}'; there is {', '.join(models)}")
        return models[name]

    @asynccontextmanager
    async def reading(self, request: Request) -> AsyncIterator[Upload]:
        """Yield the images of a request: it is counted, may take so many seconds, and holds its bytes as long.

        Raises
        ------
        Refused
            If there are too many requests, or this one is too large or too slow.
        """
        self.ready()
        if self._working >= self.limits.max_queue:
            message = f"{self.limits.max_queue} requests are waiting already; send it again"
            raise Refused.for_now("max_queue", message, status=429)
        self._working += 1
        is_read = False
        try:
            async with asyncio.timeout(self.limits.timeout):
                with self.uploads.holding() as body:
                    upload = await body.read(request)
                    is_read = True
                    yield upload
        except TimeoutError:
            seconds = f"{self.limits.timeout:g} seconds"
            if not is_read:
                raise Refused(408, "timeout", f"the upload has not ended within {seconds}; send it faster") from None
            raise Refused.for_now("timeout", f"it was not computed within {seconds}; send it again, or fewer images") from None
        finally:
            self._working -= 1

    async def decode(self, served: "Served", images: Sequence[tuple[str, bytes]]) -> list[ImageArray]:
        """Return images as the network takes them, decoded in threads.

        Raises
        ------
        Refused
            Naming the first that cannot be decoded.
        """
        loop = asyncio.get_running_loop()
        read = [loop.run_in_executor(self._decoders, self._read, served, data) for _, data in images]
        decoded = await asyncio.gather(*read, return_exceptions=True)
        for (name, _), image in zip(images, decoded, strict=True):
            if isinstance(image, ImageError):
                is_large = isinstance(image, TooManyPixelsError)
                status, limit = (413, "max_pixels") if is_large else (422, "image")
                raise Refused(status, limit, f"{name}: {image}; send {'a smaller' if is_large else 'another'} image")
            if isinstance(image, BaseException):
                raise image
        return [image for image in decoded if not isinstance(image, BaseException)]

    def _read(self, served: "Served", data: bytes) -> ImageArray:
        with self.measured.seconds.labels("decode").time():
            return served.read(data, self.limits.max_pixels)

    async def predict(self, served: "Served", images: Sequence[ImageArray]) -> list[dict[str, Any]]:
        """Return what a model says of images; other requests' images are computed with them."""
        return await self._batchers[served.name](images)

    async def explain(self, served: "Served", image: ImageArray, label: int) -> dict[str, Any]:
        """Return what explains a class of an image."""
        explaining = next(each for each in self.ready().explaining if each.served is served)
        return await asyncio.get_running_loop().run_in_executor(self._network, explaining, image, label)

    async def collect(self, work: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Do what keeps a correction, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._collector, work)
