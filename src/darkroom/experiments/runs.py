"""One training, run by DVC in a slot: how it is started, listened to, told to end, and what came of it."""

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

from darkroom.errors import Interrupted
from darkroom.experiments.slots import Slot

# What a training reports, and the reason why it is to end, or None.
Judge = Callable[[dict[str, Any]], str | None]
# As darkroom.training.search_link has it, which imports torch; a test holds the two together.
ADDRESS = "DARKROOM_TRIAL"
# Of one training by others, after which it is not worth the next time; most often memory is short.
MOST_KILLS = 5
# A training saves its state within seconds of being asked.
END_SECONDS = 60.0
# DVC, in a process that is killed when the search dies: its stage then saves its state. Not by `preexec_fn`, for the search has threads.
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
    """What came of a run."""

    kind: Literal["done", "failed", "interrupted", "busy"]
    """`interrupted`: the same run goes on where it was; `busy`: the same training is at work elsewhere."""
    reason: str = ""


@dataclass
class Running:
    """The runs that are at work, so that all of them can be asked to end."""

    ended: threading.Event = field(default_factory=threading.Event)
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def run(self, slot: Slot, target: str, *, env: Mapping[str, str], log: Path, judge: Judge | None = None) -> Outcome:
        """Run a stage and those before it, and wait for its end; what they say goes to the end of `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        begun = log.stat().st_size if log.exists() else 0
        with _Listener(judge) as listener:
            of_run = environment(slot) | dict(env) | listener.env
            process = start_dvc(["repro", target], folder=slot.folder, env=of_run, log=log)
            self.processes.add(process)
            try:
                if self.ended.is_set():
                    _ask_to_end(process)
                process.wait()
            except BaseException:  # a signal, where this is the main thread
                _ask_to_end(process)
                process.wait()
                raise
            else:
                # A stage whose DVC was killed saves its state; what is left then has not begun.
                slot.settle()
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            finally:
                self.processes.discard(process)
        with log.open("rb") as file:
            file.seek(begun)
            said = file.read().decode(errors="replace")
        return outcome(process.wait(), said)

    def end(self) -> None:
        """Ask all runs to save their state and end, and start no other."""
        self.ended.set()
        for process in list(self.processes):
            _ask_to_end(process)


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
    """Return the environment of a run: states and logs belong to the repository, not to its slot."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    left_out = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "DVC_STAGE", ADDRESS}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"PATH": path, "DVC_ROOT": str(slot.repository)}


def threads(jobs: int) -> dict[str, str]:
    """Return how many threads each of the jobs has; what the user has set stays.

    Trainings with more threads than cores wait for each other by spinning: two with two threads each on two cores take ten times
    as long.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {name: str(max(1, cores // jobs)) for name in THREADS if name not in os.environ} if jobs > 1 else {}


def outcome(status: int, said: str) -> Outcome:
    """Return what came of `dvc repro`, by its exit status and what it and the stage said."""
    if status == 0:
        return Outcome("done")
    errors = re.findall(r"^error: (.*)$", said, re.MULTILINE)
    exited = re.findall(r"exited with (-?\d+)", said)
    of_stage = int(exited[-1]) if exited else None
    if status < 0 or (of_stage is not None and (of_stage < 0 or of_stage in SIGNALLED)):
        return Outcome("interrupted", errors[-1] if errors else f"killed ({of_stage if of_stage is not None else status})")
    if errors:
        return Outcome("busy" if " is at work here; " in errors[-1] else "failed", errors[-1])
    lines = [line for line in said.splitlines() if line.strip()]
    of_dvc = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    before = lines[: lines.index("ERROR: " + of_dvc[-1])] if of_dvc else lines
    # Of a traceback the last line says most.
    told = before[-1] if of_stage is not None and before else of_dvc[-1] if of_dvc else ""
    return Outcome("failed", " ".join(told.split()) or f"dvc ended with status {status}")


def side_by_side(jobs: Sequence[Callable[[], None]], running: Running, failed: list[BaseException]) -> None:
    """Run jobs in threads; a signal lets their runs save their states and end.

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
        running.end()
        for worker in workers:
            worker.join()
        raise Interrupted(error.number, "finished trials are kept, the same command goes on with the others") from None
    if failed:
        raise failed[0]


class _Listener:
    """Answers what a training reports, at a socket, while it runs."""

    def __init__(self, judge: Judge | None):
        self.judge = judge
        self.env: dict[str, str] = {}

    def __enter__(self) -> "_Listener":
        if self.judge is None:
            return self
        # Not in the repository: the system allows such an address a hundred letters.
        self.folder = Path(tempfile.mkdtemp(prefix="darkroom-"))
        self.env = {ADDRESS: str(self.folder / "trial")}
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.env[ADDRESS])
        self.server.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.judge is not None:
            with suppress(OSError):  # wakes the thread
                self.server.shutdown(socket.SHUT_RDWR)
            self.server.close()
            self.thread.join()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _serve(self) -> None:
        assert self.judge is not None
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:  # closed
                return
            # A training that is killed while it asks gets no answer.
            with connection, suppress(OSError, ValueError):
                connection.settimeout(END_SECONDS)
                with connection.makefile("rw", encoding="utf-8") as stream:
                    reason = self.judge(json.loads(stream.readline()))
                    stream.write(json.dumps({"prune": reason}) + "\n")
                    stream.flush()


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """End DVC: its stage is told so once, and saves its state at the next step; told twice, it would end at once."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "linux":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGTERM)
