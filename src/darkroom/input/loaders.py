"""Loaders that make batches in the training process, in threads or in worker processes, with the same bits."""

from collections import deque
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from darkroom.base.errors import RunError
from darkroom.base.params import HardwareParams
from darkroom.base.signals import waiting
from darkroom.data.pack import Rows
from darkroom.data.resizing import height_and_width
from darkroom.hardware.devices import cores
from darkroom.input.dataset import Batch, ImageDataset
from darkroom.input.samplers import BatchKey

# Batches that threads make ahead: one may be slow, with large images.
AHEAD = 2
# Images that a thread takes at once: few, so that all threads finish at the same time.
IMAGES = 8
# More are not faster for one device, and need memory.
MOST_THREADS, MOST_PROCESSES = 8, 4


class Loader(Protocol):
    """Batches of one epoch after the other."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


def make_loader(
    batches: Dataset[Batch], order: Sampler[BatchKey], *, readers: int, timeout: float = 0, pin_memory: bool = False
) -> Loader:
    """Return a loader with threads, or with processes if threads cannot share the work.

    Parameters
    ----------
    batches
        By epoch and rows.
    order
        Epoch and rows of each batch.
    readers
        Number of threads or processes; with 0 the training process makes the batches.
    timeout
        Seconds to wait for a batch before an error is raised; 0: no limit.
    pin_memory
        Whether batches are made in pinned memory, from which a GPU copies.
    """
    if readers and isinstance(batches, ImageDataset) and batches.threads_can_share:
        return ThreadLoader(batches, order, num_threads=readers, timeout=timeout, pin_memory=pin_memory)
    # Workers make whole batches, so that images are not sent one by one.
    return ProcessLoader(
        batches,
        sampler=order,
        batch_size=None,
        num_workers=readers,
        timeout=timeout if readers else 0,
        pin_memory=pin_memory,
        persistent_workers=readers > 0,
    )


def num_readers(hardware: HardwareParams, batches: ImageDataset, *, on_gpu: bool, num_devices: int = 1) -> int:
    """Return the number of threads or processes that make the batches for one training process.

    0 if batches are sliced from memory, which is as fast as passing them on; with a GPU, 1, as the processor is idle then.
    """
    if hardware.num_workers != "auto":
        return hardware.num_workers
    if batches.is_sliced:
        return int(on_gpu)
    return max(1, min(MOST_THREADS if batches.threads_can_share else MOST_PROCESSES, cores() // num_devices))


def describe_reading(loader: Loader) -> str:
    """Describe how images are read, such as "encoded images, 2 threads"."""
    if isinstance(loader, ThreadLoader):
        batches: Any = loader.batches
        readers, kind = loader.num_threads, "thread"
    else:
        assert isinstance(loader, DataLoader)
        batches, readers, kind = loader.dataset, loader.num_workers, "process"
    if not isinstance(batches, ImageDataset):
        return "cached features"
    stored = "encoded images" if batches.pack.is_encoded else "pixels"
    way = ", sliced in batches" if batches.is_sliced else ""
    once = f", decoded once ({batches.cache.num_bytes / 1e9:.2g} GB of memory at most)" if batches.cache else ""
    plural = "" if readers == 1 else "es" if kind == "process" else "s"
    return f"{stored}{way}, " + (f"{readers} {kind}{plural}" if readers else "by the training process") + once


class ProcessLoader(DataLoader[Batch]):
    """Batches that worker processes make, or the training process; a signal ends the wait for one."""

    def __iter__(self) -> Any:
        """Yield the batches of one epoch."""
        batches = super().__iter__()
        while True:
            with waiting():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


class ThreadLoader:
    """Batches that threads make ahead, sharing the images of each.

    Threads share the mapped files of the pack and write into the final tensor, so that nothing is copied between processes.
    Reading, decoding and resizing release Python's lock.

    Attributes
    ----------
    sampler
        The order, under the name by which Lightning finds it to set the epoch.
    """

    def __init__(
        self, batches: ImageDataset, order: Sampler[BatchKey], *, num_threads: int, timeout: float = 0, pin_memory: bool = False
    ):
        self.batches, self.sampler = batches, order
        self.batch_sampler = None  # Lightning looks for this, too
        self.num_threads, self.timeout, self.pin_memory = num_threads, timeout, pin_memory

    def __len__(self) -> int:
        assert isinstance(self.sampler, Sized)
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # Torch's operations use one thread in each of these, as more would compete with the network's. Torch applies the last
        # number that was set to every thread that has not read it before, so this thread reads it.
        torch.get_num_threads()
        threads = ThreadPoolExecutor(self.num_threads, "reader", initializer=partial(torch.set_num_threads, 1))
        started: deque[tuple[Tensor, Rows, list[Future[None]]]] = deque()
        try:
            for epoch, rows in self.sampler:
                started.append(self._submit(threads, epoch, rows))
                if len(started) > AHEAD:
                    yield self._wait(*started.popleft())
            while started:
                yield self._wait(*started.popleft())
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _submit(self, threads: ThreadPoolExecutor, epoch: int, rows: Rows) -> tuple[Tensor, Rows, list[Future[None]]]:
        """Start a batch in the threads; return its tensor, its rows and the futures to wait for."""
        shape = *height_and_width(self.batches.size_of(epoch)), self.batches.channels
        images = torch.empty(len(rows), *shape, dtype=self.batches.dtype, pin_memory=self.pin_memory)

        def make(part: slice) -> None:
            place = images[part].permute(0, 3, 1, 2)
            made = self.batches.images(epoch, rows[part], place)
            if made is not place:
                np.copyto(images.numpy()[part], made.permute(0, 2, 3, 1).numpy())

        parts = [slice(start, start + IMAGES) for start in range(0, len(rows), IMAGES)]
        return images.permute(0, 3, 1, 2), rows, [threads.submit(make, part) for part in parts]

    def _wait(self, images: Tensor, rows: Rows, parts: Iterable[Future[None]]) -> Batch:
        for part in parts:
            try:
                with waiting():
                    part.result(self.timeout or None)
            except TimeoutError:
                if part.done():  # the reading itself timed out, as on a network file system
                    raise
                raise timed_out(self.timeout) from None
        return self.batches.labelled(images, rows)


def timed_out(seconds: float) -> RunError:
    """Return the error for readers that do not respond."""
    return RunError(
        f"params.yaml: hardware.worker_timeout_seconds: the readers made no batch for {seconds:g} s; raise it, "
        "or set hardware.num_workers to 0, and run the same command to resume"
    )
