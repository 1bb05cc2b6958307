"""How fast a model answers as it is and as each of its exports, measured in turns. N images, H by W pixels, K classes."""

import multiprocessing
import pickle
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from darkroom.data.images import ImageArray
from darkroom.export.formats import FORMATS, Run
from darkroom.export.network import Exported
from darkroom.metrics.bootstrap import wilson

# Of a round each form and batch size has this many seconds, or one run; with fewer runs it is left out.
SLICE, FEWEST = 0.1, 5
MEMORY_SECONDS = 120


@dataclass(frozen=True)
class Form:
    """A form of the model: `eager`, or a format.

    Attributes
    ----------
    name
        `eager`, or a format.
    run
        From images (N, H, W, 3) uint8 to probabilities (N, K) first.
    open
        Opens it anew in another process, to see how much memory that takes.
    num_bytes
        Of its files.
    """

    name: str
    run: Run
    open: Callable[[], Run]
    num_bytes: int


@dataclass(frozen=True)
class Accuracy:
    """The share of `images` of validation that are predicted correctly, with Wilson's interval."""

    value: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, right: NDArray[np.bool_]) -> "Accuracy":
        """Return it, given which images (N,) are predicted correctly."""
        value = float(right.mean())
        return cls(value, *wilson(value, len(right)), len(right))


@dataclass
class Timing:
    """The seconds of each run of a form on batches of a size."""

    form: str
    batch_size: int
    seconds: list[float] = field(default_factory=list)

    def milliseconds(self, quantile: float) -> float:
        """Return a quantile of the time of a batch."""
        return 1000 * float(np.quantile(self.seconds, quantile))

    def images_per_second(self, quantile: float = 0.5) -> float:
        """Return the throughput at a quantile of the time of a batch: 0.1 of the fast runs, 0.9 of the slow ones."""
        return 1000 * self.batch_size / self.milliseconds(quantile)


def measure_times(forms: Sequence[Form], image: ImageArray, batch_sizes: Sequence[int], seconds: float) -> list[Timing]:
    """Run every form on batches of every size in turns, until the time is over, and return what each took.

    What else the machine does meanwhile slows all of them. One that had no time for five runs is left out.
    """
    end = time.monotonic() + seconds
    batches = {size: np.ascontiguousarray(np.stack([image] * size)) for size in batch_sizes}
    timings = {(form.name, size): Timing(form.name, size) for size in sorted(batch_sizes) for form in forms}
    runs = {form.name: form.run for form in forms}
    for name, size in timings:
        if time.monotonic() < end:
            runs[name](batches[size])  # the first allocates memory and chooses kernels
    while time.monotonic() < end:
        for (name, size), timing in timings.items():
            slice_end = time.monotonic() + SLICE
            while True:
                begun = time.perf_counter()
                runs[name](batches[size])
                timing.seconds.append(time.perf_counter() - begun)
                if time.monotonic() >= min(slice_end, end):
                    break
            if time.monotonic() >= end:
                break
    return [timing for timing in timings.values() if len(timing.seconds) >= FEWEST]


def open_form(name: str, path: Path, threads: int) -> Run:
    """Open a file of a format."""
    torch.set_num_threads(threads)
    return FORMATS[name].open(path)


def open_eager(content: bytes, threads: int) -> Run:
    """Open a network that `pickle` has written a moment ago, in another process."""
    torch.set_num_threads(threads)
    network: Exported = pickle.loads(content)

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with torch.inference_mode():
            return tuple(each.numpy() for each in network(torch.from_numpy(images)))

    return run


def _added_memory(open_run: Callable[[], Run], batch: NDArray[np.uint8], found: Any) -> None:
    """Send how many bytes opening a form and running it on a batch have added to this process at most."""
    before = psutil.Process().memory_info().rss
    open_run()(batch)
    found.send(max(0, _peak() - before))


def _peak() -> int:
    """Return the most bytes that this process has held. On Linux `ru_maxrss` begins with those of the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_memory(open_run: Callable[[], Run], batch: NDArray[np.uint8]) -> int | None:
    """Return the bytes that opening a form and running it on a batch add to a process with torch at most; None if it fails."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_added_memory, args=(open_run, batch, sender), daemon=True)
    process.start()
    sender.close()
    try:
        return int(receiver.recv()) if receiver.poll(MEMORY_SECONDS) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()


Facts = Mapping[str, Any]
"""Of all forms: parameters, multiply_adds, threads, image_size, tta, weights_sha256."""
