"""Makes one write of a stage fail: a file opened, a folder made, a name changed or removed, a content synced.

A limit on the size of files reaches those libraries that write for themselves (safetensors, Arrow, torch). The stages run in forks
of this script.
"""

import errno
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

from chaos.recorder import TOLD, Recorder
from forked_stages import serve

SHORT = 100  # bytes
TRIALS = 10  # of a study
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events of Python's audit hooks, and the number of their arguments that are paths.
WRITES = {"os.rename": 2, "os.mkdir": 1, "os.chmod": 1, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1, "tempfile.mkstemp": 1}
REMOVALS = ("os.remove", "os.rmdir")
# What needs room on the disk, and goes on failing once the disk is full.
GROWING = ("open", "os.mkdir", "tempfile.mkstemp", "os.fsync")


class Fault(NamedTuple):
    """What goes wrong at the n-th write: an errno, or from there on no file grows beyond 100 bytes (`short`).

    Or no file grows beyond `number` bytes from the start (`size`).
    """

    kind: str
    number: int


class Saboteur:
    """Lists everything that is written below a folder, and makes one of it fail."""

    def __init__(self, fault: Fault | None, root: Path, log: int):
        self.fault, self.root, self.log = fault, str(root), log
        self.count = 0

    def begin(self) -> None:
        """Watch this process from here on."""
        if self.fault and self.fault.kind == "size":
            self.limit(self.fault.number)
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            self.happens("os.fsync", Path(f"/proc/self/fd/{descriptor}").readlink(), named=False)
            sync(descriptor)

        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(self.watch)

    def limit(self, size: int) -> None:
        """Let no file grow beyond a size; Python ignores the signal that comes with it, so that writing fails with EFBIG."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(arguments[2], int) and arguments[2] & WRITE_FLAGS and not isinstance(arguments[0], int):
                self.happens(event, arguments[0])
        elif event in WRITES and not isinstance(arguments[0], int):
            path = arguments[WRITES[event] - 1]
            # What is removed may be named within a folder whose descriptor comes last.
            folder = arguments[-1] if event in REMOVALS and arguments[-1] >= 0 else None
            self.happens(event, path, "" if folder is None else f"/proc/self/fd/{folder}/")

    def happens(self, event: str, path: Any, folder: str = "", *, named: bool = True) -> None:
        """Count a write, and fail if it is its turn; as from the system, an error names a path only where one was given."""
        name = os.fsdecode(path)
        place = os.path.join(os.path.realpath(os.path.dirname(folder + name)), os.path.basename(name))  # noqa: PTH118, PTH119, PTH120
        # What is there already is not made, what is not there is not removed.
        idle = (event == "os.mkdir") if Path(place).is_dir() else (event in REMOVALS and not os.path.lexists(place))
        if idle or not place.startswith(self.root + "/"):
            return
        number, self.count = self.count, self.count + 1
        os.write(self.log, (json.dumps([event, place.removeprefix(self.root + "/")]) + "\n").encode())
        if self.fault is None or self.fault.kind == "size":
            return
        if self.fault.kind == "short":
            if number == self.fault.number:
                self.limit(SHORT)
            return
        still_full = self.fault.kind == "ENOSPC" and number > self.fault.number and event in GROWING
        if number == self.fault.number or still_full:
            code = getattr(errno, self.fault.kind)
            raise OSError(code, os.strerror(code), *([name] if named else []))


def load() -> None:
    """Open the published model."""
    from darkroom.base import paths
    from darkroom.base.params_file import load_params
    from darkroom.models.saving import load_model

    load_model(paths.MODELS, load_params(paths.PARAMS))


def search() -> None:
    """Add trials to a study until it has ten, and tell after each that it is finished."""
    from optuna import create_study
    from optuna.trial import TrialState

    from darkroom.search.storage import faults, open_storage

    storage, where = open_storage(None, Path.cwd(), "crash")
    with faults(where):
        study = create_study(study_name="crash", storage=storage, load_if_exists=True)
        while len(done := study.get_trials(states=[TrialState.COMPLETE])) < TRIALS:
            trial = study.ask()
            study.tell(trial, trial.suggest_float("x", 0, 1))
            sys.audit(TOLD, trial.number)
    print(*(f"{trial.number} {trial.value}" for trial in done), sep="\n")


def begin(root: Path, request: list[Any] | str | None, log: int) -> None:
    """Let the fault happen that is asked for, or record what is written."""
    if request == "record":
        Recorder(root, log).begin()
    else:
        Saboteur(request and Fault(*request), root, log).begin()  # type: ignore[arg-type, misc]


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    serve(root, lambda request, log: begin(root, request, log), {"load": load, "search": search})
