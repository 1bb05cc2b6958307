"""The processes that train together: one that has died or hangs ends all of them; one that takes its time ends nothing.

What is watched is whether the others are alive, not whether they progress: to write a checkpoint may take minutes, in which the
others wait. Who waits for a dead process learns of it from the operating system rather than by a limit of time.
"""

import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psutil
import pytorch_lightning as pl
from pytorch_lightning.strategies.launchers import subprocess_script
from torch import distributed

from darkroom.base.command import fail
from darkroom.base.errors import MAIN_PROCESS, Interrupted, Pruned, is_main_process

# How long a process waits in an exchange for others that are alive.
EXCHANGE_SECONDS = 1800.0
POLL_SECONDS = 1.0
# For the thread that trains to notice by itself, and to say more on it.
NOTICE_SECONDS = 10.0
Look = Callable[[], str | None]
"""Returns None for a process that lives, what has become of it for one that died, STOPPED for one that does not run."""
STOPPED = "is stopped"


class RankWatch(pl.Callback):
    """Watches the other processes of a training on this machine, and ends this one when one of them dies or hangs.

    Parameters
    ----------
    seconds
        How long another process may be stopped (SIGSTOP) while this one runs.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.others: dict[int, Look] = {}
        self.started: list[subprocess.Popen[Any]] = []
        self.is_over, self.is_watching = threading.Event(), False
        # Lightning's observer kills the main process without a word, up to five seconds after another one has ended.
        subprocess_script._launch_process_observer = self.watch_started  # type: ignore[attr-defined, assignment]

    def watch_started(self, started: list["subprocess.Popen[Any]"]) -> None:
        """Watch the processes that this one has just started."""
        self.started = started
        self.others = {rank: _look_at_child(process) for rank, process in enumerate(started, 1)}
        self._watch()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Watch the main process from one that it started, and all on this machine where another program did."""
        if not is_main_process() and MAIN_PROCESS in os.environ:
            # Its death is received as a signal (`die_with_parent`).
            self.others = {0: _look_at(int(os.environ[MAIN_PROCESS]))}
        elif trainer.world_size > 1 and not self.others and distributed.is_initialized():
            places: list[Any] = [None] * trainer.world_size
            distributed.all_gather_object(places, (socket.gethostname(), os.getpid()))
            here = {rank: pid for rank, (host, pid) in enumerate(places) if host == socket.gethostname() and pid != os.getpid()}
            self.others = {rank: _look_at(pid) for rank, pid in here.items()}
        if not self.is_watching:
            self._watch()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Once all have started, give them time in exchanges: whether they are alive is watched."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.set_timeout(timedelta(seconds=EXCHANGE_SECONDS))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """End the watch where all processes end: the others may be faster."""
        if isinstance(exception, Interrupted | Pruned):
            self._over()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """End the watch with the training."""
        self._over()

    def _over(self) -> None:
        self.is_over.set()
        self.is_watching = False

    def _watch(self) -> None:
        self.is_over, self.is_watching = threading.Event(), bool(self.others)
        if self.others:
            threading.Thread(target=self._run, args=(self.is_over,), daemon=True, name="rank-watch").start()

    def _run(self, is_over: threading.Event) -> None:
        stopped: Counter[int] = Counter()  # looks, not seconds: this process may have been stopped along with the others
        while not is_over.wait(POLL_SECONDS):
            for rank, look in self.others.items():
                found = look()
                stopped[rank] = stopped[rank] + 1 if found == STOPPED else 0
                if found is None or (found == STOPPED and stopped[rank] * POLL_SECONDS < self.seconds):
                    continue
                if found == STOPPED or not is_over.wait(NOTICE_SECONDS):
                    self._end(f"rank {rank} {found}")
                return

    def _end(self, why: str) -> None:
        for process in self.started:
            process.kill()
        text = f"params.yaml: hardware.devices: one of {len(self.others) + 1} processes died or did not respond ({why})"
        fail(f"{text}; run the same command to resume", 1)


def _look_at_child(process: "subprocess.Popen[Any]") -> Look:
    look = _look_at(process.pid)

    def look_at_child() -> str | None:
        found = look()
        status = process.poll()  # afterwards: of one that ends in between, how it ended would not be known
        if status is None:
            return found
        return None if status == 0 else f"ended by signal {-status}" if status < 0 else f"ended with status {status}"

    return look_at_child


def _look_at(pid: int) -> Look:
    process: psutil.Process | None = None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)

    def look() -> str | None:
        try:
            if process is None or not process.is_running() or (status := process.status()) == psutil.STATUS_ZOMBIE:
                return "has ended"
        except psutil.NoSuchProcess:
            return "has ended"
        return STOPPED if status == psutil.STATUS_STOPPED else None

    return look
