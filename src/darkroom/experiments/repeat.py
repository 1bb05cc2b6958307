"""The same pipeline with several seeds, or on every fold: an experiment for each, and a table with mean and deviation."""

import json
import math
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.experiments.baseline import Baseline
from darkroom.experiments.leases import lease_gpus, visible_gpus
from darkroom.experiments.overrides import SECTIONS, Settings, with_settings
from darkroom.experiments.repository import Snapshot, file_in, find_experiment, params_of
from darkroom.experiments.runs import MAX_KILLS, Runner, run_in_threads, thread_limits
from darkroom.experiments.slots import Slot, lock_slots
from darkroom.experiments.text import table

METRICS = "metrics/evaluate.json"
STAGES = ("check", "download", "split", "train", "evaluate")


class Repetition(NamedTuple):
    """One run: its experiment, and what it changes in params.yaml."""

    name: str
    settings: Settings


def repetitions(name: str, params: Params, *, seeds: int | None, folds: int | None) -> list[Repetition]:
    """Return the runs: this number of seeds from `base.seed` on, or every fold of this number."""
    if seeds is not None:
        first = params.base.seed
        return [Repetition(f"{name}-seed{seed}", {"base.seed": seed}) for seed in range(first, first + seeds)]
    assert folds is not None
    return [Repetition(f"{name}-fold{fold}", {"split.folds": folds, "split.fold": fold}) for fold in range(folds)]


class Repeat:
    """The state that the jobs of a repetition share.

    Parameters
    ----------
    content
        Content of params.yaml.
    snapshot
        What the runs start from.
    waiting
        Runs that have not begun.
    logs
        Folder for their output.
    """

    def __init__(self, content: dict[str, Any], snapshot: Snapshot, waiting: Sequence[Repetition], logs: Path):
        self.content, self.snapshot, self.logs = content, snapshot, logs
        self.waiting = list(waiting)
        self.runner = Runner()
        self.faults: list[BaseException] = []

    def work(self, slot: Slot, env: dict[str, str]) -> None:
        """Do one run after the other, until none is left."""
        try:
            while self.waiting and not self.runner.stopping.is_set():
                self._run(slot, self.waiting.pop(0), env)
        except BaseException as error:
            self.faults.append(error)
            self.runner.stop()

    def _run(self, slot: Slot, each: Repetition, env: dict[str, str]) -> None:
        content = with_settings(self.content, each.settings)
        of_run = {"DVC_EXP_NAME": each.name, "DVC_EXP_BASELINE_REV": self.snapshot.head}
        num_kills = 0
        while not self.runner.stopping.is_set():
            slot.prepare(self.snapshot, content, lock=None, stages=STAGES)
            outcome = self.runner.run(slot, "evaluate", env={**env, **of_run}, log=self.logs / f"{each.name}.log")
            if outcome.kind == "done":
                slot.save(self.snapshot, each.name, f"{each.name}: {each.settings}")
                how = "done before, with the same data, code and parameters" if outcome.is_cached else "done"
                print(f"repeat: {each.name}: {how}", flush=True)
                return
            num_kills += outcome.kind == "interrupted"
            if outcome.kind == "failed" or num_kills == MAX_KILLS:
                raise RunError(f"repeat: {each.name} failed: {outcome.reason}; fix that, then the same command resumes")
            if outcome.kind == "busy":
                self.runner.stopping.wait(1)


def repeat(
    content: dict[str, Any], runs: Sequence[Repetition], params: Params, *, repository: Path, logs: Path, jobs: int
) -> list[dict[str, dict[str, float]]]:
    """Do the runs that have no experiment yet, and return the metrics of all, by split and name.

    Raises
    ------
    InputError
        If an experiment of the same name has other parameters.
    RunError
        If a run fails.
    Interrupted
        If a signal came; the same command resumes.
    """
    for each in runs:
        check_params(with_settings(content, each.settings))
    waiting = [each for each in runs if not _is_there(repository, each, content)]
    if waiting:
        with ExitStack() as stack:
            gpus = stack.enter_context(lease_gpus(params.hardware, jobs, visible_gpus()))
            slots = stack.enter_context(lock_slots(repository, jobs))
            work = Repeat(content, Baseline.prepare(slots[0], content, logs / "data.log").snapshot, waiting, logs)
            environments = [{**thread_limits(jobs), **gpu} for gpu in gpus]
            workers = [partial(work.work, slot, env) for slot, env in zip(slots, environments, strict=True)]
            run_in_threads(workers, work.runner, work.faults)
    return [_metrics(repository, each) for each in runs]


def summary(name: str, runs: Sequence[Repetition], metrics: Sequence[dict[str, dict[str, float]]]) -> list[str]:
    """Return a table of the runs; the last row has mean and sample standard deviation (divided by n - 1)."""
    columns = [(split, metric) for split in metrics[0] for metric in metrics[0][split]]
    values = {column: [each[column[0]].get(column[1], math.nan) for each in metrics] for column in columns}
    rows = [[each.name, *(f"{values[column][place]:.4f}" for column in columns)] for place, each in enumerate(runs)]
    last = [f"{statistics.mean(values[column]):.4f} ± {_deviation(values[column]):.4f}" for column in columns]
    return table([*rows, [name, *last]], ["run", *(f"{split}.{metric}" for split, metric in columns)])


def closing_line(runs: Sequence[Repetition]) -> str:
    """Return where the runs are, and what to type next."""
    names = runs[0].name if len(runs) == 1 else f"{runs[0].name} to {runs[-1].name}"
    return f"repeat: {names}: each is an experiment; './darkroom show' lists them, 'dvc exp apply {runs[0].name}' takes one over"


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def _is_there(repository: Path, each: Repetition, content: dict[str, Any]) -> bool:
    commit = find_experiment(repository, each.name)
    if commit is None:
        return False
    found, expected = params_of(repository, commit), with_settings(content, each.settings)
    sections = (*SECTIONS, "evaluate")
    changed = [section for section in sections if found.get(section) != expected.get(section)]
    if changed:
        raise InputError(
            f"--name: there is an experiment {each.name} already, with other values in {changed[0]}; "
            f"give another --name, or run 'dvc exp remove {each.name}'"
        )
    return True


def _metrics(repository: Path, each: Repetition) -> dict[str, dict[str, float]]:
    commit = find_experiment(repository, each.name)
    assert commit is not None
    found: dict[str, dict[str, float]] = json.loads(file_in(repository, commit, METRICS))
    return found
