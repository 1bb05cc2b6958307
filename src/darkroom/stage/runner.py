"""Running a stage: alone in its workspace, ended with its DVC, refused if its inputs changed or its result may not stay here."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.errors import MAIN_PROCESS, InputError, RunError, is_main_process
from darkroom.base.params import Params
from darkroom.stage.imported import may_have_been_read
from darkroom.stage.inputs import Inputs, read_inputs
from darkroom.stage.lock import locked
from darkroom.stage.orphans import die_with_parent
from darkroom.stage.record import record_of


@dataclass(frozen=True)
class Stage:
    """A running stage, with its inputs as they were at its start."""

    name: str
    inputs: Inputs

    @property
    def code(self) -> Inputs:
        """The hashes of the source files that the stage depends on."""
        return {name: value for name, value in self.inputs.items() if name.startswith("src/")}

    def check(self) -> None:
        """Refuse to go on if parameters, code or data of the stage changed since its start.

        DVC records the inputs that it finds when a stage ends. Without this check it could record a result with parameters or
        code that did not produce it. Code that nothing has imported may change (docs/decisions/0008).

        Raises
        ------
        RunError
            Naming what changed.
        """
        now = read_inputs(self.name)
        changed = sorted(key for key in self.inputs.keys() | now.keys() if self.inputs.get(key) != now.get(key))
        changed = [key for key in changed if may_have_been_read(key)]
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise RunError(
                f"{changed[0]}: changed while {self.name} ran{more}, so nothing was written; "
                "put it back, or run the same command again"
            )

    @contextmanager
    def replaced_dir(self, path: Path) -> Iterator[Path]:
        """Yield an empty folder that replaces `path` when the block succeeds and no input changed."""
        with self.replaced_dirs(path) as (directory,):
            yield directory

    @contextmanager
    def replaced_dirs(self, *folders: Path) -> Iterator[list[Path]]:
        """Yield empty folders that replace `folders`, the last one first, when the block succeeds and no input changed."""
        with ExitStack() as stack:
            yield [stack.enter_context(files.replaced_dir(path)) for path in folders]
            self.check()

    def record(self, path: Path, outputs: Mapping[str, Path]) -> None:
        """Write the record of the result: what it was made of, and the hashes of `outputs`, by the names that these will have."""
        files.write_sealed_json(path, record_of(self.name, self.code, outputs))


@contextmanager
def running(name: str) -> Iterator[Stage]:
    """Lock the workspace and run a stage in it.

    Raises
    ------
    RunError
        If another stage is running here; the message names its process.
    """
    die_with_parent()
    if not is_main_process():
        yield Stage(name, read_inputs(name))
        return
    os.environ[MAIN_PROCESS] = str(os.getpid())  # for the processes that it starts to train beside it
    with locked(paths.ROOT / ".dvc" / "tmp" / "darkroom.lock", name, of_workspace=True):
        for folder in (paths.RAW.parent, paths.MODELS, paths.TRAIN_METRICS.parent):
            files.sweep(folder)
        yield Stage(name, read_inputs(name))


def refuse_smoke_test(params: Params) -> None:
    """Refuse a training that only tries the code where its result would replace a model.

    Raises
    ------
    InputError
        Naming the key, and the command that runs it elsewhere.
    """
    train = params.train
    key = "train.debug" if train.debug else "train.trainer.fast_dev_run" if train.trainer.fast_dev_run else None
    if key and paths.in_workspace():
        raise InputError(
            f"params.yaml: {key}: only tries the code, and here its result would replace the model and its metrics; "
            "run 'dvc exp run --temp $(./darkroom preset debug)'"
        )


@contextmanager
def with_way_back() -> Iterator[None]:
    """Add to a mistake in params.yaml how to undo `-S`, which `dvc exp run` has written to the workspace's file."""
    try:
        yield
    except InputError as error:
        # Set by `dvc exp run`, also for `--temp`, which changes nothing here.
        if "DVC_EXP_NAME" in os.environ and paths.in_workspace():
            raise InputError(f"{error} ('git restore params.yaml' brings back the committed one)") from None
        raise
