"""The trials of a study: which one a search works at next, who works at one, what is told of it; also with several searches.

A trial has an owner from the moment that it exists: a search, known by its machine, its repository and a lock file that dies with
it. The trials of an owner that is gone are gone on with under the same number. Where two searches should ever work at the same
trial, the first to finish counts, and the other finds it finished.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from darkroom.experiments.leases import locked_among_searches
from darkroom.experiments.overrides import Settings
from darkroom.health.processes import is_locked
from darkroom.search.space import Space
from darkroom.stage.lock import locked

BEAT_SECONDS = 20.0
# A search elsewhere that has not beaten for so long, by this machine's clock, is gone.
STALE_SECONDS = 180.0
SURPLUS = "surplus"


class Trials:
    """Hands out the trials of a study, and takes back what came of them.

    Parameters
    ----------
    study
        With sampler and pruner.
    space
        What is searched.
    number
        Of trials in all.
    repository
        The repository; searches in it know of each other by locks, those elsewhere by their beats.
    """

    def __init__(self, study: Study, space: Space, number: int, repository: Path):
        self.study, self.space, self.number = study, space, number
        self.folder = repository / ".dvc" / "tmp" / "search"
        self.place = f"{socket.gethostname()}:{repository}"
        self.token = uuid.uuid4().hex
        self.held: dict[int, Trial] = {}
        """Trials that this search works at, by number."""
        self.beats: dict[int, tuple[Any, float]] = {}
        self._asking = threading.Lock()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Be alive to other searches."""
        stop = threading.Event()
        beater = threading.Thread(target=self._beat, args=(stop,), daemon=True)
        lock = self._lock_of(self.token)
        with ExitStack() as stack:
            with locked_among_searches(self.folder / "alive.asking"):
                for left in self.folder.glob("alive-*.lock"):
                    if not is_locked(left, "fcntl"):
                        left.unlink()
                stack.enter_context(locked(lock, "tune", patient=False))
            beater.start()
            try:
                yield
            finally:
                stop.set()
        lock.unlink(missing_ok=True)

    def claim(self, *, new: bool = True) -> Trial | None:
        """Return a trial to work at: one that was left behind, or a new one if there is one to be had and `new`; else None."""
        with self._asking, locked_among_searches(self.folder / f"{self.study.study_name}.asking"):
            counted = self.counted()
            for trial in counted:
                if trial.state == TrialState.RUNNING and trial.number not in self.held and self._is_left(trial):
                    return self._hold(trial)
            if not new or len(counted) >= self.number:
                return None
            return self._create()

    def counted(self) -> list[FrozenTrial]:
        """Return all trials but those too many that searches elsewhere began at the same moment."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if SURPLUS not in trial.user_attrs]

    def elsewhere(self) -> list[FrozenTrial]:
        """Return the trials that others work at, or have left but a moment ago."""
        return [trial for trial in self.counted() if trial.state == TrialState.RUNNING and trial.number not in self.held]

    def settings(self, trial: Trial) -> Settings:
        """Return what a trial changes in params.yaml, the same whenever it is asked."""

        def suggest(key: str, kind: Any) -> Any:
            if isinstance(kind, CategoricalDistribution):
                return trial.suggest_categorical(key, kind.choices)
            if isinstance(kind, IntDistribution):
                return trial.suggest_int(key, kind.low, kind.high, step=kind.step, log=kind.log)
            assert isinstance(kind, FloatDistribution)
            return trial.suggest_float(key, kind.low, kind.high, step=kind.step, log=kind.log)

        return self.space.suggest(suggest)

    def judge(self, trial: Trial, epoch: int, value: float) -> str | None:
        """Note a value of an epoch; return why the trial is pruned if it is, which then is in the study already."""
        if len(self.study.directions) > 1:
            return None
        if epoch not in self.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            try:
                trial.report(value, epoch)
            except UpdateFinishedTrialError:  # by another search, just now
                return None
        if not trial.should_prune():
            return None
        reason = f"{value:.4g} in epoch {epoch} is worse than others were"
        self.tell(trial, TrialState.PRUNED, reason=reason)
        return reason

    def tell(self, trial: Trial, state: TrialState, *, values: Sequence[float] | None = None, reason: str = "") -> None:
        """Finish a trial, unless it is."""
        if self.is_finished(trial):
            return
        with suppress(ValueError, UpdateFinishedTrialError):  # another search has, just now
            if reason:
                trial.set_user_attr("reason", reason)
            self.study.tell(trial, list(values) if values is not None else None, state=state, skip_if_finished=True)

    def is_finished(self, trial: Trial) -> bool:
        """Return whether it is finished, by whomever."""
        return self.study.get_trials(deepcopy=False)[trial.number].state.is_finished()

    def attributes(self, trial: Trial) -> dict[str, Any]:
        """Return what is noted of a trial."""
        return self.study.get_trials(deepcopy=False)[trial.number].user_attrs

    def release(self, trial: Trial) -> None:
        """Work at it no longer."""
        self.held.pop(trial.number, None)

    def _create(self) -> Trial | None:
        """Begin a trial that has an owner from the first; None if others have begun the last ones."""
        made = uuid.uuid4().hex
        self.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"owner": self._owner(), "made": made}))
        trials = self.counted()
        frozen = next(trial for trial in trials if trial.user_attrs.get("made") == made)
        if sum(trial.number < frozen.number for trial in trials) >= self.number:
            trial = Trial(self.study, frozen._trial_id)
            trial.set_user_attr(SURPLUS, "began as searches elsewhere began the last ones")
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

    def _is_left(self, trial: FrozenTrial) -> bool:
        """Return whether the search that worked at a trial is gone."""
        owner = trial.user_attrs.get("owner") or {}
        if owner.get("token") == self.token:
            return True
        if owner.get("place") == self.place:
            lock = self._lock_of(str(owner.get("token")))
            return not (lock.is_file() and is_locked(lock, "fcntl"))
        beat = (owner.get("token"), trial.user_attrs.get("beat"))
        seen, since = self.beats.get(trial.number, (None, 0.0))
        if seen != beat:
            self.beats[trial.number] = (beat, time.monotonic())
            return False
        return time.monotonic() - since > STALE_SECONDS

    def _beat(self, stop: threading.Event) -> None:
        count = 0
        while not stop.wait(BEAT_SECONDS):
            count += 1
            for trial in list(self.held.values()):
                with suppress(Exception):  # a storage that is out of reach is told by who needs it
                    trial.set_user_attr("beat", count)
