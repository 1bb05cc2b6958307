"""One `dvc repro` in a slot: how it is started, told when to stop, and how it ended."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from darkroom.base import paths
from darkroom.base.environment import SPINS, has_chosen_waiting
from darkroom.base.errors import Interrupted
from darkroom.experiments.slots import Slot
from darkroom.stage.lock import HELD

# From what a training reports after a validation to the reason for ending it early, or None.
PruneReason = Callable[[dict[str, Any]], str | None]
# After so many kills by other processes a run counts as failed; most often memory is short.
MAX_KILLS = 5
REPORT_SECONDS = 60.0
# Runs DVC in a process that is killed when the search dies, upon which the stage saves its state. `preexec_fn` would not be safe
# in a process with threads.
DVC = """
import signal, sys
sys.path.insert(0, sys.argv.pop(1))
from darkroom.stage.orphans import following
following(int(sys.argv.pop(1)), signal.SIGKILL)()
del sys.path[0]
from dvc.cli import main
sys.exit(main())
"""
SRC = Path(__file__).resolve().parents[2]
SIGNALLED = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGUSR1, signal.SIGTERM)}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    kind: Literal["done", "failed", "interrupted", "busy"]
    """`interrupted`: run again, it resumes; `busy`: another process runs the same training."""
    reason: str = ""
    is_cached: bool = False
    """Whether DVC's run cache had the last stage, so that it did not run."""


@dataclass
class Runner:
    """Runs stages, several at a time, and can stop all of them."""

    stopping: threading.Event = field(default_factory=threading.Event)
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def run(
        self, slot: Slot, target: str, *, env: Mapping[str, str], log: Path, prune_reason: PruneReason | None = None
    ) -> Outcome:
        """Run a stage and those before it, and wait for its end; their output is appended to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        begun = log.stat().st_size if log.exists() else 0
        with _Listener(prune_reason) as listener:
            variables = environment(slot) | dict(env) | listener.env
            process = start_dvc(["repro", target], folder=slot.folder, env=variables, log=log)
            self.processes.add(process)
            try:
                if self.stopping.is_set():
                    _stop(process)
                process.wait()
            except BaseException:  # a signal, where this is the main thread
                _stop(process)
                process.wait()
                raise
            else:
                # If DVC was killed, its stage still saves its state. Processes that are left after that have not begun to work.
                slot.wait_for_stage()
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            finally:
                self.processes.discard(process)
        with log.open("rb") as file:
            file.seek(begun)
            output = file.read().decode(errors="replace")
        return read_outcome(process.wait(), output, target)

    def stop(self) -> None:
        """Let all runs save their state and end, and start no other."""
        self.stopping.set()
        for process in list(self.processes):
            _stop(process)


def start_dvc(arguments: Sequence[str], *, folder: Path, env: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start DVC in a folder, as a session of its own that is killed when this process dies; its output is appended to `log`."""
    launch = ["-c", DVC, str(SRC), str(os.getpid())] if sys.platform == "linux" else ["-m", "dvc"]
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *launch, *arguments],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment(slot: Slot) -> dict[str, str]:
    """Return the environment of a run: states and logs are written to the repository, not to the slot."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    left_out = {*paths.SET_BY_HOOKS, "DVC_STAGE", paths.TRIAL_SOCKET}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"PATH": path, "DVC_ROOT": str(slot.repository)}


def thread_limits(jobs: int) -> dict[str, str]:
    """Return the environment variables with which jobs share the cores; those that the user has set stay.

    Torch computes with `train.threads` threads all the same, which is a part of the result. Where there are more than cores, they
    must sleep at once when they wait: by spinning, two trainings with two threads each on two cores take ten times as long.
    """
    if jobs == 1:
        return {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = {name: str(max(1, cores // jobs)) for name in THREADS if name not in os.environ}
    return limits if has_chosen_waiting() else {**limits, SPINS: "0"}


def read_outcome(status: int, output: str, target: str = "train") -> Outcome:
    """Return how `dvc repro` of a stage ended, from its exit status and its output, which includes that of the stage."""
    if status == 0:
        return Outcome("done", is_cached=re.search(rf"^Stage '{target}' is cached", output, re.MULTILINE) is not None)
    errors = re.findall(r"^error: (.*)$", output, re.MULTILINE)
    exited = re.findall(r"exited with (-?\d+)", output)
    of_stage = int(exited[-1]) if exited else None
    if status < 0 or (of_stage is not None and (of_stage < 0 or of_stage in SIGNALLED)):
        return Outcome("interrupted", errors[-1] if errors else f"killed ({of_stage if of_stage is not None else status})")
    if errors:
        return Outcome("busy" if f" {HELD}; " in errors[-1] else "failed", errors[-1])
    lines = [line for line in output.splitlines() if line.strip()]
    of_dvc = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    before = lines[: lines.index("ERROR: " + of_dvc[-1])] if of_dvc else lines
    # The last line of a traceback is the most useful.
    reason = before[-1] if of_stage is not None and before else of_dvc[-1] if of_dvc else ""
    return Outcome("failed", " ".join(reason.split()) or f"dvc ended with status {status}")


def run_in_threads(jobs: Sequence[Callable[[], None]], runner: Runner, failed: list[BaseException]) -> None:
    """Run jobs in a thread each; upon a signal their runs save their states and end.

    Raises
    ------
    Interrupted
        If a signal came.
    """
    workers = [threading.Thread(target=job, daemon=True) for job in jobs]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            workers[0].join(0.1) if workers[0].is_alive() else time.sleep(0.1)
    except Interrupted as error:
        runner.stop()
        for worker in workers:
            worker.join()
        raise Interrupted(error.number, "finished trials are kept, the same command resumes the others") from None
    if failed:
        raise failed[0]


class _Listener:
    """Listens at a socket while a training runs, and replies to each report whether to end early."""

    def __init__(self, prune_reason: PruneReason | None):
        self.prune_reason = prune_reason
        self.env: dict[str, str] = {}

    def __enter__(self) -> "_Listener":
        if self.prune_reason is None:
            return self
        # Not in the repository: the path of a socket may have about a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="darkroom-"))
        self.env = {paths.TRIAL_SOCKET: str(self.folder / "trial")}
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.env[paths.TRIAL_SOCKET])
        self.server.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.prune_reason is not None:
            with suppress(OSError):  # wakes the thread
                self.server.shutdown(socket.SHUT_RDWR)
            self.server.close()
            self.thread.join()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _serve(self) -> None:
        assert self.prune_reason is not None
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:  # closed
                return
            # A training that is killed meanwhile gets no reply.
            with connection, suppress(OSError, ValueError):
                connection.settimeout(REPORT_SECONDS)
                with connection.makefile("rw", encoding="utf-8") as stream:
                    reason = self.prune_reason(json.loads(stream.readline()))
                    stream.write(json.dumps({"prune": reason}) + "\n")
                    stream.flush()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End DVC, upon which its stage gets one signal and saves its state at the next step; a second one would end it at once."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "linux":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGTERM)
