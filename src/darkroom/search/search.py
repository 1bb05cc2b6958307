"""Run a search, or resume it: every trial is an experiment, and its result is recorded in an Optuna study."""

import json
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.study import Study
from optuna.trial import Trial, TrialState

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.experiments.baseline import Baseline
from darkroom.experiments.leases import lease_gpus, visible_gpus
from darkroom.experiments.overrides import SECTIONS, Settings, with_settings
from darkroom.experiments.repository import file_in, find_experiment, params_of
from darkroom.experiments.runs import MAX_KILLS, Outcome, Runner, run_in_threads, thread_limits
from darkroom.experiments.slots import Slot, lock_slots
from darkroom.experiments.text import experiment_name, settings_text
from darkroom.search.curves import read_curve
from darkroom.search.progress import say, state_text
from darkroom.search.samplers import make_pruner, make_sampler
from darkroom.search.space import Space
from darkroom.search.storage import faults, open_storage
from darkroom.search.study import check_baseline, check_study, with_start
from darkroom.search.trials import Trials

# If the first trials all fail, it is not because of their values.
MAX_FAILURES = 3
WAIT_SECONDS = 2.0
PUBLISHED = "metrics/train.json"


class SearchResult(NamedTuple):
    """A finished search."""

    study: Study
    trials: Trials
    address: str
    """Address of the storage, for optuna-dashboard."""


@dataclass
class Search:
    """The state that the jobs of a search share."""

    trials: Trials
    params: Params
    baseline: Baseline
    logs: Path
    jobs: int = 1
    runner: Runner = field(default_factory=Runner)
    deadline: float = math.inf
    num_failed: int = 0
    num_done: int = 0
    faults: list[BaseException] = field(default_factory=list)
    begun: dict[int, float] = field(default_factory=dict)
    """When the trials that run now began, by number; those that were resumed, that much earlier."""

    def work(self, slot: Slot, env: Mapping[str, str]) -> None:
        """Run one trial after the other, until none is left."""
        try:
            has_said_so = False
            while not self.runner.stopping.is_set():
                trial = self.trials.claim(new=time.monotonic() < self.deadline)
                if trial is not None:
                    try:
                        self.begun[trial.number] = time.monotonic() - self.trials.attributes(trial).get("seconds", 0.0)
                        self._run_trial(slot, trial, env)
                    finally:
                        self.begun.pop(trial.number, None)
                        self.trials.release(trial)
                elif elsewhere := self.trials.elsewhere():
                    if not has_said_so:
                        say(f"waiting for {len(elsewhere)} trials of other searches")
                    has_said_so = True
                    self.runner.stopping.wait(WAIT_SECONDS)
                else:
                    return
        except BaseException as error:
            self.faults.append(error)
            self.runner.stop()

    def _run_trial(self, slot: Slot, trial: Trial, env: Mapping[str, str]) -> None:
        """Run a trial to its end, or until the search is stopped."""
        name = self.name(trial.number)
        settings = self.trials.settings(trial)
        if commit := find_experiment(slot.repository, name):
            self._conclude(trial, commit, settings, slot.repository)
            return
        try:
            check_params(content := with_settings(self.baseline.content, settings))
        except InputError as error:
            self._fail(trial, str(error))
            return
        say(f"{name}: {settings_text(settings)}")
        num_kills = 0
        while not self.runner.stopping.is_set():
            slot.prepare(self.baseline.snapshot, content, lock=self.baseline.lock)
            outcome = self._run_once(slot, trial, name, env)
            if self.trials.is_finished(trial):
                self._say_pruned(trial)
                return
            if outcome.kind == "done":
                if outcome.is_cached:
                    self._record_cached(slot, trial)
                commit = slot.save(self.baseline.snapshot, name, f"{name}: {settings_text(settings)}")
                self._conclude(trial, commit, settings, slot.repository)
                return
            if outcome.kind == "failed":
                self._fail(trial, outcome.reason)
                return
            if outcome.kind == "busy":
                self.runner.stopping.wait(WAIT_SECONDS)
                continue
            num_kills += 1
            if num_kills == MAX_KILLS:
                self._fail(trial, f"was killed {num_kills} times ({outcome.reason}), perhaps for lack of memory")
                return

    def _run_once(self, slot: Slot, trial: Trial, name: str, env: Mapping[str, str]) -> Outcome:
        metric = self.params.tune.metrics[0]

        def prune_reason(report: dict[str, Any]) -> str | None:
            value = report["metrics"].get(metric, math.nan)
            seconds = time.monotonic() - self.begun[trial.number]
            return self.trials.prune_reason(trial, int(report["epoch"]), value, seconds) if math.isfinite(value) else None

        variables = {"DVC_EXP_NAME": name, "DVC_EXP_BASELINE_REV": self.baseline.snapshot.head}
        can_prune = len(self.params.tune.metrics) == 1 and metric.startswith("val/")
        reason = prune_reason if can_prune else None
        log = self.logs / f"{name}.log"
        outcome = self.runner.run(slot, "train", env={**env, **variables}, log=log, prune_reason=reason)
        if not self.trials.is_finished(trial):
            trial.set_user_attr("seconds", round(time.monotonic() - self.begun[trial.number], 2))
        return outcome

    def _record_cached(self, slot: Slot, trial: Trial) -> None:
        """Record the epochs of a training that DVC's run cache had, which has reported none, for the pruner of other trials."""
        say(f"{self.name(trial.number)}: was trained before, with the same data, code and parameters; nothing was trained again")
        by_epoch = self.params.train.log_every == "epoch"
        self.trials.record_cached(trial, read_curve(slot.folder, self.params.tune.metrics[0]) if by_epoch else {})

    def _conclude(self, trial: Trial, commit: str, settings: Settings, repository: Path) -> None:
        """Record the result of an experiment in the study."""
        name = self.name(trial.number)
        content, expected = params_of(repository, commit), with_settings(self.baseline.content, settings)
        if any(content.get(section) != expected.get(section) for section in SECTIONS):
            raise InputError(
                f"params.yaml: tune.study: there is already an experiment {name} with other parameters; "
                f"give tune.study a new name, or run 'dvc exp remove {name}'"
            )
        published = json.loads(file_in(repository, commit, PUBLISHED))["published"]
        values = [published.get(metric.removeprefix("val/")) for metric in self.params.tune.metrics]
        for metric, value in zip(self.params.tune.metrics, values, strict=True):
            if value is None:
                self._fail(trial, f"{metric} has no value for the published epoch")
                return
        if not self.trials.is_finished(trial):
            trial.set_user_attr("experiment", commit)
        self.trials.tell(trial, TrialState.COMPLETE, values=values)
        self.num_done += 1
        shown = "  ".join(f"{metric} {value:.6g}" for metric, value in zip(self.params.tune.metrics, values, strict=True))
        self._say_end(trial, shown)

    def _say_pruned(self, trial: Trial) -> None:
        self.num_done += 1
        self._say_end(trial, self.trials.attributes(trial).get("reason", "finished by another search"))

    def _fail(self, trial: Trial, reason: str) -> None:
        self.trials.tell(trial, TrialState.FAIL, reason=reason)
        self._say_end(trial, f"failed: {reason}")
        self.num_failed += 1
        if self.num_failed == MAX_FAILURES and not self.num_done:
            raise RunError(f"tune: the first {MAX_FAILURES} trials failed, the last one: {reason}; fix that and run it again")

    def _say_end(self, trial: Trial, text: str) -> None:
        """Print how a trial ended, and how far the search is."""
        say(f"{self.name(trial.number)}: {text}")
        say(state_text(self.trials, self.begun, self.jobs, self.deadline))

    def name(self, number: int) -> str:
        """Return the name of a trial's experiment."""
        return experiment_name(self.trials.study.study_name, number)


def search(content: dict[str, Any], params: Params, *, repository: Path, logs: Path, jobs: int) -> SearchResult:
    """Run a search, or resume it.

    Parameters
    ----------
    content, params
        Content of params.yaml, as plain mappings and checked.
    repository
        The repository that experiments are added to.
    logs
        Folder for the output of the trials.
    jobs
        Number of trials at the same time.

    Raises
    ------
    InputError
        If `tune` is wrong, before the first trial.
    RunError
        If the study's storage or the repository fails, or the first trials do.
    Interrupted
        If a signal came; the same command resumes.
    """
    tune = params.tune
    content = with_start(content, params, repository)
    space = Space(tune.search_space, content)
    sampler = make_sampler(tune, params.base.allow_targets, space.of_params(), space.distributions())
    pruner = make_pruner(tune.pruner, params.base.allow_targets)
    storage, address = open_storage(tune.storage, repository, tune.study)
    with ExitStack() as stack:
        stack.enter_context(faults(address))
        study = optuna.create_study(
            study_name=tune.study,
            storage=storage,
            sampler=sampler,
            pruner=pruner,
            directions=tune.directions,
            load_if_exists=True,
        )
        check_study(study, params, space, repository)
        gpus = stack.enter_context(lease_gpus(params.hardware, jobs, visible_gpus()))
        slots = stack.enter_context(lock_slots(repository, jobs))
        baseline = Baseline.prepare(slots[0], content, logs / f"{tune.study}-data.log")
        check_baseline(study, baseline.inputs, space.keys)
        trials = Trials(study, space, tune.trials, repository)
        stack.enter_context(trials.registered())
        work = Search(trials, params, baseline, logs, jobs)
        if tune.timeout_minutes is not None:
            work.deadline = time.monotonic() + 60 * tune.timeout_minutes
        environments = [{**thread_limits(jobs), **gpu} for gpu in gpus]
        workers = [partial(work.work, slot, env) for slot, env in zip(slots, environments, strict=True)]
        run_in_threads(workers, work.runner, work.faults)
        if trials.is_exhausted and len(trials.counted()) < tune.trials:
            say(f"there are no more combinations than these {len(trials.counted())} trials")
    return SearchResult(study, trials, address)
