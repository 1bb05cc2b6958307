"""Progress of a training: one line per epoch, and on a terminal a bar below them until the training ends."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import STEP_OUTPUT
from rich.console import Console, Group
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

# Reading the loss waits for the device, so it is read at most this often.
REFRESH_SECONDS = 0.25
# Columns at the right that the bar leaves free: a terminal writes ^C behind it, and what is broken into two lines is not removed.
MARGIN = 6


class Bar(Progress):
    """A bar of which nothing remains on the terminal once it is stopped."""

    def __init__(self) -> None:
        self._console = Console()
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(None),
            TextColumn("{task.fields[values]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=1 / REFRESH_SECONDS,
            transient=True,
        )

    def get_renderable(self) -> Constrain:
        """Return what is shown, a little narrower than the terminal."""
        return Constrain(Group(*self.get_renderables()), max(1, self._console.width - MARGIN))


class ProgressReport(pl.Callback):
    """Shows epoch, loss, the monitored metric, images per second and time left."""

    def __init__(self, monitor: str, batch_size: int, refresh: int | None = None):
        self.monitor, self.batch_size, self.refresh = monitor, batch_size, refresh
        self.validated = -1
        """The last epoch that was validated."""
        self.bar: Bar | None = None
        self.task = TaskID(0)
        self.epoch_start = self.epoch_seconds = self.last_refresh = 0.0
        self.num_batches = 0
        """Batches since `epoch_start`, which are fewer in a resumed epoch."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Open the bar if standard output is a terminal."""
        if trainer.is_global_zero and self.refresh != 0 and sys.stdout.isatty():
            self.bar = Bar()
            self.task = self.bar.add_task("", total=trainer.estimated_stepping_batches, values="")
            self.bar.start()
        self._begin_epoch(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Print the line of the previous epoch, and start the clock of this one."""
        self._print_epoch(trainer, trainer.current_epoch)
        self._begin_epoch(trainer)

    def _begin_epoch(self, trainer: pl.Trainer) -> None:
        self.epoch_start, self.num_batches = time.perf_counter(), 0
        if self.bar is not None:
            self.bar.update(self.task, description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: STEP_OUTPUT,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Refresh the bar a few times a second, or every n-th step."""
        self.num_batches += 1
        now = time.perf_counter()
        if self.bar is None:
            return
        if trainer.global_step % self.refresh if self.refresh else now - self.last_refresh < REFRESH_SECONDS:
            return
        self.last_refresh = now
        speed = self.num_batches * self.batch_size / (now - self.epoch_start)
        loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)  # type: ignore[arg-type]
        self._refresh(trainer, loss, speed)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Note that this epoch has values of its own."""
        self.validated = trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Stop the epoch's clock."""
        self.epoch_seconds = time.perf_counter() - self.epoch_start

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Print the line of the last epoch, and close the bar."""
        self._print_epoch(trainer, trainer.current_epoch)
        self._close()

    def _refresh(self, trainer: pl.Trainer, loss: float, speed: float) -> None:
        assert self.bar is not None
        score = trainer.callback_metrics.get(self.monitor)
        shown = f"{self.monitor} {float(score):.4f}  " if score is not None else ""
        self.bar.update(self.task, completed=trainer.global_step, values=f"loss {loss:.3f}  {shown}{speed:,.0f} images/s")

    def _print_epoch(self, trainer: pl.Trainer, epoch: int) -> None:
        # The module logs the training metrics of an epoch only after the callbacks' on_train_epoch_end.
        if not trainer.is_global_zero or not self.epoch_seconds:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        names = dict.fromkeys(("train/loss", "val/loss", "val/accuracy", self.monitor))
        # Lightning keeps the values of an earlier validation.
        shown = [name for name in names if name in metrics and (name.startswith("train/") or self.validated == epoch - 1)]
        values = "  ".join(f"{name} {metrics[name]:.4f}" for name in shown)
        speed = self.num_batches * self.batch_size / self.epoch_seconds
        line = f"epoch {epoch}/{trainer.max_epochs}  {values}  {speed:,.0f} images/s"
        if self.bar is None:
            print(line, flush=True)
        else:  # above the bar, and not broken where the terminal ends
            self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Close the bar after a signal or an error, which Lightning ends without `teardown`."""
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Close the bar."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
