"""A queue that puts images which wait together into one batch. No torch. N images."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from darkroom.base.errors import RunError
from darkroom.data.images import ImageArray

Compute = Callable[[Sequence[ImageArray]], list[Any]]
"""From N images of one size to N results."""


@dataclass
class _Waiting:
    image: ImageArray
    result: asyncio.Future[Any]
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Computes images in batches, without a delay: what came while one batch was computed is the next one.

    A single image is computed at once, and eight that come together wait for at most one batch before theirs.

    Parameters
    ----------
    compute
        Called in `thread`, for one batch after the other.
    batch_size
        Images of a batch, at most.
    thread
        Where it is computed: an executor with one thread, which models share.
    observe
        Called with the size of each batch, and the seconds that each of its images has waited.
    """

    def __init__(self, compute: Compute, batch_size: int, thread: Executor, observe: Callable[[int, list[float]], object]):
        self._compute, self._batch_size, self._thread, self._observe = compute, batch_size, thread, observe
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, images: Sequence[ImageArray]) -> list[Any]:
        """Return the results of the images of a request; those of one that is cancelled are no longer computed."""
        loop = asyncio.get_running_loop()
        mine = [_Waiting(image, loop.create_future()) for image in images]
        self._waiting.extend(mine)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            return list(await asyncio.gather(*(each.result for each in mine)))
        finally:
            for each in mine:
                each.result.cancel()

    async def _run(self) -> None:
        while batch := self._next():
            started = time.perf_counter()
            self._observe(len(batch), [started - each.since for each in batch])
            for each, result in zip(batch, await self._results([each.image for each in batch]), strict=True):
                if each.result.done():  # cancelled meanwhile
                    continue
                if isinstance(result, Exception):
                    each.result.set_exception(result)
                else:
                    each.result.set_result(result)

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._batch_size:
            each = self._waiting.popleft()
            if not each.result.done():
                batch.append(each)
        return batch

    async def _results(self, images: Sequence[ImageArray]) -> list[Any]:
        """Return a result, or an exception, for each image; one that cannot be computed spoils none beside it."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._compute, images)
        except RunError as error:
            if len(images) == 1:
                return [error]
            return [result for image in images for result in await self._results([image])]
        except Exception as error:
            return [error] * len(images)
