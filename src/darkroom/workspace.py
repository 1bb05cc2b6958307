"""A stage at work: alone in its workspace, gone when DVC goes, and refused if what it read changed meanwhile."""

import ctypes
import fcntl
import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from darkroom import files, paths
from darkroom.errors import MAIN_PROCESS, RunError, is_main_process, warn
from darkroom.params_file import read_yaml

Inputs = dict[str, str]
"""What a stage depends on: `params.yaml: train.lr` to its value, `src/train.py` or `data/raw/…` to a hash."""
# How long an orphan may take to save its state and go.
ORPHAN_SECONDS = 30.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Stage:
    """A stage that is running, with its inputs as they were when it began."""

    name: str
    inputs: Inputs

    def check(self) -> None:
        """Refuse to go on if the parameters, code or data of the stage are no longer what they were.

        DVC records what it finds when a stage ends: without this check a result could be recorded beside a parameter, or code,
        that it was never made with.

        Raises
        ------
        RunError
            Naming what changed.
        """
        now = read_inputs(self.name)
        changed = sorted(key for key in self.inputs.keys() | now.keys() if self.inputs.get(key) != now.get(key))
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise RunError(
                f"{changed[0]}: changed while {self.name} ran{more}, so nothing was written; "
                "put it back, or run the same command again"
            )

    @contextmanager
    def replaced_dir(self, path: Path) -> Iterator[Path]:
        """Yield an empty folder that takes the place of `path` when the block succeeds and no input changed."""
        with self.replaced_dirs(path) as (directory,):
            yield directory

    @contextmanager
    def replaced_dirs(self, *folders: Path) -> Iterator[list[Path]]:
        """Yield empty folders that take the places of `folders`, the last first, when the block succeeds and no input changed."""
        with ExitStack() as stack:
            yield [stack.enter_context(files.replaced_dir(path)) for path in folders]
            self.check()


@contextmanager
def running(name: str) -> Iterator[Stage]:
    """Hold the workspace for a stage.

    Raises
    ------
    RunError
        If another stage runs here; it is named with its process.
    """
    _die_with_parent()
    if not is_main_process():
        yield Stage(name, read_inputs(name))
        return
    os.environ[MAIN_PROCESS] = str(os.getpid())  # for processes that will train beside this one
    with locked(paths.ROOT / ".dvc" / "tmp" / "darkroom.lock", name, of_workspace=True):
        for folder in (paths.RAW.parent, paths.MODELS, paths.TRAIN_METRICS.parent):
            files.sweep(folder)
        yield Stage(name, read_inputs(name))


def read_inputs(name: str) -> Inputs:
    """Return the parameters and dependencies of a stage, as dvc.yaml lists them, with the hash of each.

    Code is hashed by content, data by name, size and time of change, which is what DVC goes by as well. A folder elsewhere
    (s3://…) is left to the stage that reads it, which compares it with what it listed (darkroom.data.remote).
    """
    stage = read_yaml(paths.PIPELINE)["stages"][name]
    content = read_yaml(paths.PARAMS)
    params = content if isinstance(content, dict) else {}  # what is wrong with it, load_params says
    inputs = {f"params.yaml: {key}": value for section in stage["params"] for key, value in _flat(params.get(section), section)}
    for dependency in stage["deps"]:
        filled = _filled(dependency, params)
        path = paths.ROOT / filled
        # What is no path at all, such as one that is too long, does not exist either.
        if "://" in filled or not os.path.exists(path):  # noqa: PTH110
            continue
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                inputs[paths.shown(file)] = _code_hash(file) if path.is_relative_to(paths.ROOT / "src") else _signature(file)
    return inputs


def _filled(text: str, params: Any) -> str:
    """Return a dependency such as `${download.folder}` as DVC reads it."""
    if not text.startswith("${"):
        return text
    for key in text[2:-1].split("."):
        params = params.get(key) if isinstance(params, dict) else None
    return str(params) if "://" in str(params) else str(Path(str(params)))


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}")
    else:
        try:
            yield key, json.dumps(value, default=str)
        except (TypeError, ValueError):  # no parameter, as load_params says
            yield key, "unreadable"


def _code_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _signature(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"


@contextmanager
def locked(path: Path, name: str, *, patient: bool = True, of_workspace: bool = False) -> Iterator[None]:
    """Hold a lock file that says who holds it; the system frees the lock of a process that dies, however it dies.

    In the lock of a workspace an orphan that does not know that it is one is asked to end.

    Raises
    ------
    RunError
        Naming the process that holds it. One whose DVC was killed is given the time to save its state and go.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + ORPHAN_SECONDS
        waited = False
        while not _try_lock(file):
            holder = _read_holder(file)
            untold = of_workspace and _is_untold_orphan(holder, name)
            if not (patient and (untold or _is_orphan(holder))) or time.monotonic() > deadline:
                raise RunError(_busy(holder, path))
            # Who has just begun has not said yet who it is.
            if holder and not waited:
                warn(f"{paths.shown(path)}: waiting for {_who(holder)}, which was left behind, to save its state and end")
                if untold:
                    _end(holder["pid"])
            waited = waited or bool(holder)
            time.sleep(0.2)
        file.truncate(0)
        about = {
            "stage": name,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "by_dvc": "DVC_STAGE" in os.environ,
            "host": socket.gethostname(),
            "since": time.time(),
        }
        # Not by way of a buffer, which would be tried once more, without a name in the error, when the file is closed.
        with files.naming(path):
            os.write(file.fileno(), json.dumps(about).encode())
        yield
        file.truncate(0)


def _try_lock(file: IO[str]) -> bool:
    try:
        # Unlike flock's, these locks are not handed on to forked workers, which may outlive this process for a while.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read_holder(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        holder: dict[str, Any] = json.loads(file.read())
    except ValueError:  # it has the lock, but has not written yet
        holder = {}
    return holder


def _is_orphan(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return not holder
    try:
        parent = int(Path(f"/proc/{holder['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return not Path(f"/proc/{holder['pid']}").exists() and Path("/proc/self").exists()
    return bool(parent != holder["parent"])


def _is_untold_orphan(holder: dict[str, Any], name: str) -> bool:
    """Return whether the holder's DVC died before the holder could ask to be told (see `_die_with_parent`).

    In a workspace DVC lets nobody else run a stage while it does: where it runs this one, the DVC that ran it before is gone.
    """
    ours = holder.get("host") == socket.gethostname() and holder["stage"] == name
    return ours and bool(holder.get("by_dvc")) and "DVC_STAGE" in os.environ


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def _who(holder: dict[str, Any]) -> str:
    if not holder:
        return "a stage that has just begun"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    return f"the stage {holder['stage']} (process {holder['pid']} on {holder['host']}, since {since})"


def _busy(holder: dict[str, Any], path: Path) -> str:
    way_out = f"wait for it, or end it with 'kill {holder['pid']}'" if holder else "wait for it"
    return f"{paths.shown(path)}: {_who(holder)} is at work here; {way_out}"


def _die_with_parent() -> None:
    """Be told to end (SIGTERM) when the DVC that started this stage dies, instead of running on beside the next one.

    A process that trains beside the main one is killed with it: it has nothing to save, and may wait for the dead for ever.
    """
    if not ({"DVC_STAGE", "LOCAL_RANK"} & set(os.environ)) or sys.platform != "linux":
        return
    parent, number = os.getppid(), signal.SIGTERM
    if not is_main_process():
        # Where the main process has started it, that may have failed before this one was able to look.
        parent, number = int(os.environ.get(MAIN_PROCESS, parent)), signal.SIGKILL
    following(parent, number)()


def following(parent: int, number: int) -> Callable[[], None]:
    """Return what lets a process that calls it be sent a signal when its parent dies, on Linux; it loads nothing by then."""
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before it could be asked for
            os.kill(os.getpid(), number)

    return follow
