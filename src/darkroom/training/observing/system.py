"""System measurements during a training: CPU, memory, GPU and images per second, as a table and a chart."""

import csv
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

import psutil
import pytorch_lightning as pl
import torch

from darkroom.base.errors import warn
from darkroom.training.observing.charts import draw_lines

SAMPLE_SECONDS = 3.0
PERCENT = ("cpu_percent", "memory_percent", "gpu_percent", "gpu_memory_percent")
COLUMNS = ("time", "step", "images_per_second", "training_gb", *PERCENT)
Sample = dict[str, float | str]


class SystemMonitor(pl.Callback):
    """Samples the machine in a thread while its `with` block runs; as a callback it counts the images.

    A resumed training appends to the table. A failure here does not end the training.

    Parameters
    ----------
    folder
        Where machine.csv and machine.png are written.
    seconds
        Time from one sample to the next.
    """

    def __init__(self, folder: Path, seconds: float = SAMPLE_SECONDS):
        self.table, self.chart, self.seconds = folder / "machine.csv", folder / "machine.png", seconds
        self.num_images = self.step = 0
        self.cpu_seconds = 0.0
        """Processor time that the measurements took."""
        self._over = Event()
        self._thread = Thread(target=self._watch, name="watch", daemon=True)
        self._process = psutil.Process()
        self._last = (time.perf_counter(), 0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Count the images of all processes."""
        self.num_images += len(batch["labels"]) * trainer.world_size
        self.step = trainer.global_step

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            psutil.cpu_percent()  # the next call of this thread measures from here on
            is_over = False
            while not is_over:
                is_over = self._over.wait(self.seconds)
                self._write(self._sample())
                self.cpu_seconds = time.thread_time()
            draw(self.table, self.chart)
        except (OSError, psutil.Error) as error:
            warn(f"{self.table}: cannot be written ({error}); training continues without it")

    def _write(self, sample: Sample) -> None:
        is_new = not self.table.exists()
        with self.table.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow(sample)

    def _sample(self) -> Sample:
        now, (then, before) = time.perf_counter(), self._last
        self._last = (now, self.num_images)
        return {
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "step": self.step,
            "images_per_second": round((self._last[1] - before) / (now - then), 1),
            "cpu_percent": psutil.cpu_percent(),
            "memory_percent": psutil.virtual_memory().percent,
            "training_gb": round(self._memory_bytes() / 1e9, 3),
            **_gpu(),
        }

    def _memory_bytes(self) -> int:
        """Return the memory of this process and its workers; shared memory counts in each."""
        total = int(self._process.memory_info().rss)
        for child in self._process.children(recursive=True):
            with suppress(psutil.Error):
                total += child.memory_info().rss
        return total


def _gpu() -> Sample:
    """Return load and memory of this process's GPU, or nothing if there is none or it does not report them."""
    # Otherwise the query would initialise the device here, in a thread.
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    sample: Sample = {}
    with suppress(Exception):  # drivers and libraries raise errors of many kinds, and nothing depends on it
        free, total = torch.cuda.mem_get_info()
        sample["gpu_memory_percent"] = round(100 * (1 - free / total), 1)
        sample["gpu_percent"] = torch.cuda.utilization()
    return sample


def draw(table: Path, chart: Path) -> None:
    """Draw machine.csv as a chart."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [float(row[name] or "nan") for row in rows] for name in COLUMNS[1:]}
    x = [time.mktime(time.strptime(row["time"], "%Y-%m-%d %H:%M:%S")) for row in rows]
    percent = [name for name in PERCENT if any(row[name] for row in rows)]
    panels = {
        "images/s": {"images/s": columns["images_per_second"]},
        "%": {name.removesuffix("_percent").replace("_", " "): columns[name] for name in percent},
        "training, GB": {"GB": columns["training_gb"]},
    }
    draw_lines(chart, [(second - x[0]) / 60 for second in x], panels, x_label=f"minutes ({os.cpu_count()} cores)")
