"""A stage at work: alone in its workspace, gone when DVC goes, and refused if what it read changed meanwhile."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from darkroom import files, paths
from darkroom.errors import MAIN_PROCESS, RunError, is_main_process
from darkroom.stage.inputs import Inputs, read_inputs
from darkroom.stage.lock import locked
from darkroom.stage.orphans import die_with_parent


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
    die_with_parent()
    if not is_main_process():
        yield Stage(name, read_inputs(name))
        return
    os.environ[MAIN_PROCESS] = str(os.getpid())  # for processes that will train beside this one
    with locked(paths.ROOT / ".dvc" / "tmp" / "darkroom.lock", name, of_workspace=True):
        for folder in (paths.RAW.parent, paths.MODELS, paths.TRAIN_METRICS.parent):
            files.sweep(folder)
        yield Stage(name, read_inputs(name))
