"""The trials of a study, shared by the jobs of a search and by several searches: which trial is next, who owns it, how it ends.

A trial has an owner from its creation: a search, known by its machine, its repository and a lock file that is released when it
dies. If the owner is gone, another search resumes the trial under the same number. If two searches ever run the same trial, the
first to finish counts, and the other finds it finished.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from darkroom.experiments.leases import search_lock
from darkroom.experiments.overrides import Settings
from darkroom.health.processes import is_locked
from darkroom.search.samplers import EXHAUSTED
from darkroom.search.space import Space
from darkroom.stage.lock import locked

HEARTBEAT_SECONDS = 20.0
# A search elsewhere without a heartbeat for this long, by this machine's clock, is gone.
STALE_SECONDS = 180.0
SURPLUS = "surplus"
# Trials whose training did not run, since DVC's run cache had its results.
CACHED = "cached"


class Trials:
    """Assigns the trials of a study to jobs, and records their results.

    Parameters
    ----------
    study
        The study, with sampler and pruner.
    space
        The search space.
    number
        Number of trials in all.
    repository
        The repository. Its searches see each other's locks; those elsewhere are seen by their heartbeats.
    """

    def __init__(self, study: Study, space: Space, number: int, repository: Path):
        self.study, self.space, self.number = study, space, number
        self.folder = repository / ".dvc" / "tmp" / "search"
        self.place = f"{socket.gethostname()}:{repository}"
        self.token = uuid.uuid4().hex
        self.held: dict[int, Trial] = {}
        """Trials that this search runs, by number."""
        self.heartbeats: dict[int, tuple[Any, float]] = {}
        """Last heartbeat seen of each trial of other machines, and when."""
        self._claiming = threading.Lock()

    @contextmanager
    def registered(self) -> Iterator[None]:
        """Let other searches know that this one is alive."""
        stop = threading.Event()
        heart = threading.Thread(target=self._send_heartbeats, args=(stop,), daemon=True)
        lock = self._lock_of(self.token)
        with ExitStack() as stack:
            with search_lock(self.folder / "alive.asking"):
                for left in self.folder.glob("alive-*.lock"):
                    if not is_locked(left, "fcntl"):
                        left.unlink()
                stack.enter_context(locked(lock, "tune", patient=False))
            heart.start()
            try:
                yield
            finally:
                stop.set()
        lock.unlink(missing_ok=True)

    def claim(self, *, new: bool = True) -> Trial | None:
        """Return a trial to run: one whose search is gone, else a new one if `new` and some are left, else None."""
        with self._claiming, search_lock(self.folder / f"{self.study.study_name}.asking"):
            counted = self.counted()
            for trial in counted:
                if trial.state == TrialState.RUNNING and trial.number not in self.held and self._is_abandoned(trial):
                    return self._hold(trial)
            if not new or len(counted) >= self.number or self.is_exhausted:
                return None
            return self._create()

    @property
    def is_exhausted(self) -> bool:
        """Whether the sampler has tried every combination, so that no trial is left."""
        return EXHAUSTED in self.study.user_attrs

    def counted(self) -> list[FrozenTrial]:
        """Return all trials, without surplus ones that several searches began at the same moment."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if SURPLUS not in trial.user_attrs]

    def elsewhere(self) -> list[FrozenTrial]:
        """Return the trials that other searches run, or that were running a moment ago."""
        return [trial for trial in self.counted() if trial.state == TrialState.RUNNING and trial.number not in self.held]

    def settings(self, trial: Trial) -> Settings:
        """Return what a trial changes in params.yaml; every call returns the same."""

        def suggest(key: str, kind: Any) -> Any:
            if isinstance(kind, CategoricalDistribution):
                return trial.suggest_categorical(key, kind.choices)
            if isinstance(kind, IntDistribution):
                return trial.suggest_int(key, kind.low, kind.high, step=kind.step, log=kind.log)
            assert isinstance(kind, FloatDistribution)
            return trial.suggest_float(key, kind.low, kind.high, step=kind.step, log=kind.log)

        return self.space.suggest(suggest)

    def prune_reason(self, trial: Trial, epoch: int, value: float, seconds: float | None = None) -> str | None:
        """Record the value of an epoch; if the pruner then prunes the trial, record that and return the reason.

        `seconds` are those that the trial took until then.
        """
        if len(self.study.directions) > 1:
            return None
        if epoch not in self.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            try:
                trial.report(value, epoch)
            except UpdateFinishedTrialError:  # another search finished it just now
                return None
        if not trial.should_prune():
            return None
        reason = f"pruned at epoch {epoch} with {value:.4g}"
        if seconds is not None and not self.is_finished(trial):
            with suppress(UpdateFinishedTrialError):  # another search finished it just now
                trial.set_user_attr("seconds", round(seconds, 2))
        self.tell(trial, TrialState.PRUNED, reason=reason)
        return reason

    def record_cached(self, trial: Trial, values: Mapping[int, float]) -> None:
        """Record that the training of a trial was done before, and its values by epoch; it is not pruned any more."""
        if self.is_finished(trial):
            return
        with suppress(UpdateFinishedTrialError):  # another search finished it just now
            trial.set_user_attr(CACHED, True)
            if len(self.study.directions) > 1:
                return
            for epoch in sorted(values.keys() - self.study.get_trials(deepcopy=False)[trial.number].intermediate_values.keys()):
                trial.report(values[epoch], epoch)

    def tell(self, trial: Trial, state: TrialState, *, values: Sequence[float] | None = None, reason: str = "") -> None:
        """Finish a trial, unless it is finished."""
        if self.is_finished(trial):
            return
        with suppress(ValueError, UpdateFinishedTrialError):  # another search finished it just now
            if reason:
                trial.set_user_attr("reason", reason)
            self.study.tell(trial, list(values) if values is not None else None, state=state, skip_if_finished=True)

    def is_finished(self, trial: Trial) -> bool:
        """Return whether a trial is finished, by this or another search."""
        return self.study.get_trials(deepcopy=False)[trial.number].state.is_finished()

    def attributes(self, trial: Trial) -> dict[str, Any]:
        """Return the attributes of a trial in the study."""
        return self.study.get_trials(deepcopy=False)[trial.number].user_attrs

    def release(self, trial: Trial) -> None:
        """Stop owning a trial that is finished, or that is to be resumed later."""
        self.held.pop(trial.number, None)

    def _create(self) -> Trial | None:
        """Create a trial that has an owner from the start; None if other searches have begun the last ones."""
        made = uuid.uuid4().hex
        self.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"owner": self._owner(), "made": made}))
        trials = self.counted()
        frozen = next(trial for trial in trials if trial.user_attrs.get("made") == made)
        if sum(trial.number < frozen.number for trial in trials) >= self.number:
            trial = Trial(self.study, frozen._trial_id)
            trial.set_user_attr(SURPLUS, "several searches began the last trials at the same moment")
            self.tell(trial, TrialState.FAIL)
            return None
        return self._hold(frozen)

    def _hold(self, frozen: FrozenTrial) -> Trial:
        trial = Trial(self.study, frozen._trial_id)
        if frozen.user_attrs.get("owner") != self._owner():
            trial.set_user_attr("owner", self._owner())
        self.held[frozen.number] = trial
        return trial

    def _owner(self) -> dict[str, Any]:
        return {"place": self.place, "token": self.token, "pid": os.getpid()}

    def _lock_of(self, token: str) -> Path:
        return self.folder / f"alive-{token}.lock"

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        """Return whether the search that ran a trial is gone."""
        owner = trial.user_attrs.get("owner") or {}
        if owner.get("token") == self.token:
            return True
        if owner.get("place") == self.place:
            lock = self._lock_of(str(owner.get("token")))
            return not (lock.is_file() and is_locked(lock, "fcntl"))
        heartbeat = (owner.get("token"), trial.user_attrs.get("beat"))
        seen, since = self.heartbeats.get(trial.number, (None, 0.0))
        if seen != heartbeat:
            self.heartbeats[trial.number] = (heartbeat, time.monotonic())
            return False
        return time.monotonic() - since > STALE_SECONDS

    def _send_heartbeats(self, stop: threading.Event) -> None:
        count = 0
        while not stop.wait(HEARTBEAT_SECONDS):
            count += 1
            for trial in list(self.held.values()):
                with suppress(Exception):  # the jobs report a storage that cannot be reached
                    trial.set_user_attr("beat", count)
