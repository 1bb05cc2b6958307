"""A search from its beginning, or from where it was interrupted, to its end: trials as experiments, told to an Optuna study."""

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

from darkroom.errors import InputError, RunError
from darkroom.experiments.baseline import Baseline
from darkroom.experiments.leases import leased, visible_gpus
from darkroom.experiments.overrides import SECTIONS, Settings, with_settings
from darkroom.experiments.repository import find_experiment, git, params_of
from darkroom.experiments.runs import MOST_KILLS, Outcome, Running, side_by_side, threads
from darkroom.experiments.slots import Slot, taken_slots
from darkroom.experiments.text import described, experiment_name
from darkroom.params import Params
from darkroom.params_file import check_params
from darkroom.search.samplers import make_pruner, make_sampler
from darkroom.search.space import Space
from darkroom.search.storage import faults, open_storage
from darkroom.search.study import check_baseline, check_study, started
from darkroom.search.trials import Trials

# From the first trial on: then it is not the values that are wrong.
MOST_FAILURES = 3
WAIT_SECONDS = 2.0
PUBLISHED = "metrics/train/published.json"


class SearchResult(NamedTuple):
    """A search that has come to its end."""

    study: Study
    trials: Trials
    address: str
    """Of the storage, for optuna-dashboard."""


@dataclass
class Search:
    """What the jobs of a search share."""

    trials: Trials
    params: Params
    baseline: Baseline
    logs: Path
    running: Running = field(default_factory=Running)
    deadline: float = math.inf
    num_failed: int = 0
    num_done: int = 0
    faults: list[BaseException] = field(default_factory=list)

    def work(self, slot: Slot, env: Mapping[str, str]) -> None:
        """Work at trials until there are no more, one after the other."""
        try:
            told = False
            while not self.running.ended.is_set():
                trial = self.trials.claim(new=time.monotonic() < self.deadline)
                if trial is not None:
                    try:
                        self._attempt(slot, trial, env)
                    finally:
                        self.trials.release(trial)
                elif elsewhere := self.trials.elsewhere():
                    if not told:
                        say(f"waiting for {len(elsewhere)} that other searches work at")
                    told = True
                    self.running.ended.wait(WAIT_SECONDS)
                else:
                    return
        except BaseException as error:
            self.faults.append(error)
            self.running.end()

    def _attempt(self, slot: Slot, trial: Trial, env: Mapping[str, str]) -> None:
        """Bring a trial to its end, or leave it for the next time if the search is to end."""
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
        say(f"{name}: {described(settings)}")
        num_kills = 0
        while not self.running.ended.is_set():
            slot.open(self.baseline.snapshot, content, lock=self.baseline.lock)
            outcome = self._run(slot, trial, name, env)
            if self.trials.is_finished(trial):
                self._tell_pruned(trial)
                return
            if outcome.kind == "done":
                commit = slot.save(self.baseline.snapshot, name, f"{name}: {described(settings)}")
                self._conclude(trial, commit, settings, slot.repository)
                return
            if outcome.kind == "failed":
                self._fail(trial, outcome.reason)
                return
            if outcome.kind == "busy":
                self.running.ended.wait(WAIT_SECONDS)
                continue
            num_kills += 1
            if num_kills == MOST_KILLS:
                self._fail(trial, f"was killed {num_kills} times ({outcome.reason}); is there memory for it?")
                return

    def _run(self, slot: Slot, trial: Trial, name: str, env: Mapping[str, str]) -> Outcome:
        metric = self.params.tune.metrics[0]

        def judge(report: dict[str, Any]) -> str | None:
            value = report["metrics"].get(metric, math.nan)
            return self.trials.judge(trial, int(report["epoch"]), value) if math.isfinite(value) else None

        begun = time.monotonic()
        of_trial = {"DVC_EXP_NAME": name, "DVC_EXP_BASELINE_REV": self.baseline.snapshot.head}
        listens = len(self.params.tune.metrics) == 1 and metric.startswith("val/")
        outcome = self.running.run(
            slot, "train", env={**env, **of_trial}, log=self.logs / f"{name}.log", judge=judge if listens else None
        )
        seconds = self.trials.attributes(trial).get("seconds", 0.0) + time.monotonic() - begun
        if not self.trials.is_finished(trial):
            trial.set_user_attr("seconds", round(seconds, 2))
        return outcome

    def _conclude(self, trial: Trial, commit: str, settings: Settings, repository: Path) -> None:
        """Tell the study what an experiment has come to."""
        name = self.name(trial.number)
        content, expected = params_of(repository, commit), with_settings(self.baseline.content, settings)
        if any(content.get(section) != expected.get(section) for section in SECTIONS):
            raise InputError(
                f"params.yaml: tune.study: there is an experiment {name} already, of other parameters; "
                f"give tune.study a new name, or run 'dvc exp remove {name}'"
            )
        published = json.loads(git(repository, "show", f"{commit}:{PUBLISHED}"))["published"]
        values = [published.get(metric.removeprefix("val/")) for metric in self.params.tune.metrics]
        for metric, value in zip(self.params.tune.metrics, values, strict=True):
            if value is None:
                self._fail(trial, f"{metric} has no value for the published epoch")
                return
        if not self.trials.is_finished(trial):
            trial.set_user_attr("experiment", commit)
        self.trials.tell(trial, TrialState.COMPLETE, values=values)
        self.num_done += 1
        told = "  ".join(f"{metric} {value:.6g}" for metric, value in zip(self.params.tune.metrics, values, strict=True))
        say(f"{name}: {told}")

    def _tell_pruned(self, trial: Trial) -> None:
        self.num_done += 1
        say(f"{self.name(trial.number)}: ended early: {self.trials.attributes(trial).get('reason', 'finished elsewhere')}")

    def _fail(self, trial: Trial, reason: str) -> None:
        self.trials.tell(trial, TrialState.FAIL, reason=reason)
        say(f"{self.name(trial.number)}: failed: {reason}")
        self.num_failed += 1
        if self.num_failed == MOST_FAILURES and not self.num_done:
            raise RunError(f"tune: the first {MOST_FAILURES} trials failed, the last one: {reason}; mend that and go on")

    def name(self, number: int) -> str:
        """Return what the experiment of a trial is called."""
        return experiment_name(self.trials.study.study_name, number)


def search(content: dict[str, Any], params: Params, *, repository: Path, logs: Path, jobs: int) -> SearchResult:
    """Search, or go on with it.

    Parameters
    ----------
    content, params
        Of params.yaml, as plain mappings and checked.
    repository
        The repository, to which experiments are added.
    logs
        Folder for what the trials say.
    jobs
        Number of trials side by side.

    Raises
    ------
    InputError
        If something is wrong with `tune`, before the first trial.
    RunError
        If the study's storage or the repository fails, or the first trials do.
    Interrupted
        If a signal came; the same command goes on.
    """
    tune = params.tune
    content = started(content, params, repository)
    space = Space(tune.search_space, content)
    sampler = make_sampler(tune, params.base.allow_targets, space.of_params())
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
        gpus = stack.enter_context(leased(params.hardware, jobs, visible_gpus()))
        slots = stack.enter_context(taken_slots(repository, jobs))
        baseline = Baseline.prepare(slots[0], content, logs / f"{tune.study}-data.log")
        check_baseline(study, baseline.inputs, space.keys)
        trials = Trials(study, space, tune.trials, repository)
        stack.enter_context(trials.working())
        work = Search(trials, params, baseline, logs)
        if tune.timeout_minutes is not None:
            work.deadline = time.monotonic() + 60 * tune.timeout_minutes
        environments = [{**threads(jobs), **gpu} for gpu in gpus]
        jobs_of = [partial(work.work, slot, env) for slot, env in zip(slots, environments, strict=True)]
        side_by_side(jobs_of, work.running, work.faults)
    return SearchResult(study, trials, address)


def say(text: str) -> None:
    """Tell what happens."""
    print(f"tune: {text}", flush=True)
