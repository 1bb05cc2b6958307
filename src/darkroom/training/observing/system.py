"""System measurements during a training: CPU, memory, GPU and images per second, as a table and a chart."""

import csv
import os
import time
from collections import deque
from collections.abc import Sequence
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
from darkroom.training.observing.resilient_logger import ResilientLogger

SAMPLE_SECONDS = 3.0
PERCENT = ("cpu_percent", "memory_percent", "gpu_percent", "gpu_memory_percent")
NAMES = {
    "cpu_percent": "processor",
    "memory_percent": "memory of the machine",
    "gpu_percent": "GPU",
    "gpu_memory_percent": "memory of the GPU",
}
# Units of the chart's time, in seconds, and how many of one make it the better one: seconds up to half an hour.
UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
FEWEST_UNITS = 30
COLUMNS = ("time", "step", "images_per_second", "training_gb", *PERCENT)
Sample = dict[str, float | str]
# By MLflow's names where it has one, which it shows on a page of their own; {} is the number of the GPU.
LOGGED = {
    "images_per_second": "system/images_per_second",
    "training_gb": "system/training_memory_gigabytes",
    "cpu_percent": "system/cpu_utilization_percentage",
    "memory_percent": "system/system_memory_usage_percentage",
    "gpu_percent": "system/gpu_{}_utilization_percentage",
    "gpu_memory_percent": "system/gpu_{}_memory_usage_percentage",
}


class SystemMonitor(pl.Callback):
    """Samples the machine in a thread while its `with` block runs; as a callback it counts the images and logs the samples.

    A resumed training appends to the table. A failure here does not end the training.

    Parameters
    ----------
    folder
        Where machine.csv and machine.png are written.
    loggers
        Get every sample, from the thread that trains.
    seconds
        Time from one sample to the next.
    """

    def __init__(self, folder: Path, loggers: Sequence[ResilientLogger] = (), seconds: float = SAMPLE_SECONDS):
        self.table, self.chart, self.seconds = folder / "machine.csv", folder / "machine.png", seconds
        self.loggers = loggers
        self.num_images = self.step = 0
        self.device: torch.device | None = None
        self.cpu_seconds = 0.0
        """Processor time that the measurements took."""
        self._samples: deque[Sample] = deque()
        self._over = Event()
        self._thread = Thread(target=self._watch, name="watch", daemon=True)
        self._process = psutil.Process()
        self._last = (time.perf_counter(), 0)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Note the device of this process, which other threads do not know."""
        self.device = trainer.strategy.root_device

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
        self._log()

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Log what was sampled during a long validation."""
        self._log()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Take the last sample, and log it with table and chart, before the loggers are closed."""
        self._stop()
        self._log()
        for logger in self.loggers:
            for path in (self.table, self.chart):
                if path.exists():
                    logger.log_artifact(path)

    def _log(self) -> None:
        while self._samples:
            sample = self._samples.popleft()
            number = self.device.index or 0 if self.device else 0
            values = {LOGGED[name].format(number): float(value) for name, value in sample.items() if name in LOGGED}
            for logger in self.loggers:
                logger.log_metrics(values, int(sample["step"]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            psutil.cpu_percent()  # the next call of this thread measures from here on
            is_over = False
            while not is_over:
                is_over = self._over.wait(self.seconds)
                sample = self._sample()
                self._samples.append(sample)
                self._write(sample)
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
            **_gpu(self.device),
        }

    def _memory_bytes(self) -> int:
        """Return the memory of this process and its workers; shared memory counts in each."""
        total = int(self._process.memory_info().rss)
        for child in self._process.children(recursive=True):
            with suppress(psutil.Error):
                total += child.memory_info().rss
        return total


def _gpu(device: torch.device | None) -> Sample:
    """Return load and memory of a device, or nothing if it is no GPU or does not report them."""
    # Before the fit starts, the query would initialise the device here, in a thread.
    if device is None or device.type != "cuda":
        return {}
    sample: Sample = {}
    with suppress(Exception):  # drivers and libraries raise errors of many kinds, and nothing depends on it
        free, total = torch.cuda.mem_get_info(device)
        sample["gpu_memory_percent"] = round(100 * (1 - free / total), 1)
        sample["gpu_percent"] = torch.cuda.utilization(device)
    return sample


def draw(table: Path, chart: Path) -> None:
    """Draw machine.csv as a chart."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [float(row[name] or "nan") for row in rows] for name in COLUMNS[1:]}
    times = [time.mktime(time.strptime(row["time"], "%Y-%m-%d %H:%M:%S")) for row in rows]
    seconds, unit = next((each for each in UNITS if times[-1] - times[0] >= each[0] * FEWEST_UNITS), UNITS[-1])
    percent = [name for name in PERCENT if any(row[name] for row in rows)]
    panels = {
        "images per second": {"images per second": columns["images_per_second"]},
        "%": {NAMES[name]: columns[name] for name in percent},
        "memory of the\ntraining, GB": {"memory": columns["training_gb"]},
    }
    memory = psutil.virtual_memory().total / 1e9
    draw_lines(
        chart,
        [(each - times[0]) / seconds for each in times],
        panels,
        title=f"Machine during the training: {os.cpu_count()} cores, {memory:.0f} GB",
        x_label=f"{unit} since the first measurement",
        from_zero=True,
    )
