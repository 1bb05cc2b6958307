"""Running a stage: alone in its workspace, ended with its DVC, refused if its inputs changed or its result may not stay here."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.errors import MAIN_PROCESS, InputError, RunError, is_main_process
from darkroom.base.params import Params
from darkroom.stage import observed
from darkroom.stage.declared import Declared, counts
from darkroom.stage.inputs import Inputs, read_inputs
from darkroom.stage.launcher import refuse_launcher
from darkroom.stage.lock import locked
from darkroom.stage.lost import saying_what_is_lost
from darkroom.stage.orphans import die_with_parent
from darkroom.stage.record import record_of

SHA256_LENGTH = 64


@dataclass(frozen=True)
class Stage:
    """A running stage, with its inputs as they were at its start."""

    name: str
    inputs: Inputs

    @property
    def code(self) -> Inputs:
        """The hashes of the source files that the stage depends on, and of whatever else people add to its dependencies."""
        return {
            name: value
            for name, value in self.inputs.items()
            if len(value) == SHA256_LENGTH and not name.startswith("params.yaml: ")
        }

    def check(self) -> None:
        """Refuse to go on if what the stage read changed since its start, or is not among its inputs.

        DVC records the inputs that it finds when a stage ends. Without this check it could record a result with parameters, code
        or data that did not produce it. Code that was not read may change (docs/decisions/0008, 0025).

        Raises
        ------
        RunError
            Naming what changed.
        InputError
            Naming what was read and is not declared, and where to add it.
        """
        seen = observed.observation
        now = read_inputs(self.name)
        ran = {paths.shown(Path(path)): value for path, value in seen.code.items()} if seen else {}
        edited = {key for key, value in ran.items() if self.inputs.get(key, value) != value}
        changed = edited | {key for key in self.inputs.keys() | now.keys() if self.inputs.get(key) != now.get(key)}
        if seen:
            changed = {key for key in changed if key in edited or counts(key, seen)}
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise RunError(
                f"{min(changed)}: changed while {self.name} ran{more}, so nothing was written; "
                "put it back, or run the same command again"
            )
        if seen:
            Declared(self.name).check(seen.of_all_processes())

    @contextmanager
    def replaced(self, *places: Path) -> Iterator[list[Path]]:
        """Yield empty folders, and files for places with an ending, that replace `places` when the block succeeds.

        The last one is replaced first, and nothing if an input changed meanwhile.
        """
        with ExitStack() as stack:
            yield [stack.enter_context((files.replaced_file if each.suffix else files.replaced_dir)(each)) for each in places]
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
    InputError
        If another program started it several times side by side; a training outside of DVC may be.
    """
    if name != "train" or "DVC_STAGE" in os.environ:
        refuse_launcher("dvc repro" if "DVC_STAGE" in os.environ else f"python src/{name}.py")
    die_with_parent()
    if not is_main_process():
        if observed.observation:
            observed.observation.report_all()
        yield Stage(name, read_inputs(name))
        return
    os.environ[MAIN_PROCESS] = str(os.getpid())  # for the processes that it starts to train beside it
    with saying_what_is_lost(), locked(paths.ROOT / ".dvc" / "tmp" / "darkroom.lock", name, of_workspace=True):
        for folder in (paths.RAW.parent, paths.MODELS, paths.TRAIN_METRICS.parent):
            files.sweep(folder)
        if observed.observation:
            observed.observation.forget_reports()
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
