"""Who works at which trial: also after kills, and with several searches of one study."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState
from searching import assert_sound, open_trials, work

from darkroom.search import trials as trials_module
from darkroom.search.trials import SURPLUS, Trials


def run_killed(repository: Path, *, kills: int, number: int, address: str | None = None) -> Trials:
    context = multiprocessing.get_context("fork")
    for kill in range(kills):
        process = context.Process(target=work, args=(repository, number, address, 0.02))
        process.start()
        time.sleep(0.05 + 0.037 * kill)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    work(repository, number, address, 0)
    return open_trials(repository, number, address)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_kills_lose_double_and_change_nothing(tmp_path: Path, kind: str) -> None:
    def address(folder: Path) -> str | None:
        folder.mkdir()
        return f"sqlite:///{folder}/x.db" if kind == "sqlite" else None

    killed = run_killed(tmp_path / "a", kills=6, number=8, address=address(tmp_path / "a"))
    assert_sound(killed, 8)
    undisturbed = run_killed(tmp_path / "b", kills=0, number=8, address=address(tmp_path / "b"))
    assert [trial.params for trial in killed.counted()] == [trial.params for trial in undisturbed.counted()]


def test_several_at_once_make_exactly_as_many_as_wanted(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(tmp_path, 12, None, 0.01)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert_sound(open_trials(tmp_path, 12), 12)


def test_a_trial_of_a_search_that_lives_is_abandoned_alone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=work, args=(tmp_path, 1, None, 30))
    process.start()
    trials = open_trials(tmp_path, 1)
    while not trials.elsewhere():
        time.sleep(0.02)
    assert trials.claim() is None
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    claimed = trials.claim()
    assert claimed is not None
    assert claimed.number == 0
    assert trials.elsewhere() == []


def test_a_trial_on_another_machine_is_taken_over_when_its_search_has_long_been_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = open_trials(tmp_path, 1), open_trials(tmp_path, 1)
    there.place = "far:/away"
    far = there.claim()
    assert far is not None
    clock = [0.0]
    monkeypatch.setattr(trials_module.time, "monotonic", lambda: clock[0])
    assert here.claim() is None
    clock[0] = 100.0
    far.set_user_attr("beat", 1)
    assert here.claim() is None
    clock[0] = 100.0 + trials_module.STALE_SECONDS
    assert here.claim() is None
    clock[0] += 1
    taken = here.claim()
    assert taken is not None
    assert taken.number == 0
    # The first to finish counts.
    here.tell(taken, TrialState.COMPLETE, values=[0.5])
    there.tell(far, TrialState.COMPLETE, values=[0.1])
    assert [trial.value for trial in here.counted()] == [0.5]


@pytest.mark.parametrize("step", ["looks", "notes why", "tells"])
def test_another_search_finishes_it_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Results that come too late are ignored: the first to finish counts."""
    there, here = open_trials(tmp_path, 1), open_trials(tmp_path, 1)
    far = there.claim()
    assert far is not None
    here.tell(Trial(here.study, far._trial_id), TrialState.COMPLETE, values=[0.5])
    if step != "looks":
        monkeypatch.setattr(there, "is_finished", lambda _: False)
    if step == "tells":  # the study has looked, and the storage finds it finished

        def tell(*_: object, **__: object) -> None:
            raise UpdateFinishedTrialError

        monkeypatch.setattr(there.study, "tell", tell)
    assert there.prune_reason(far, 1, 0.1) is None
    there.tell(far, TrialState.COMPLETE, values=[0.1], reason="late" if step == "notes why" else "")
    (trial,) = here.counted()
    assert (trial.value, trial.user_attrs.get("reason")) == (0.5, None)


def test_a_search_sends_heartbeats_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "HEARTBEAT_SECONDS", 0.02)
    trials = open_trials(tmp_path)
    with trials.registered():
        trial = trials.claim()
        assert trial is not None
        while trials.attributes(trial).get("beat", 0) < 2:
            time.sleep(0.02)
    assert list(trials.folder.glob("alive-*")) == []


def test_one_too_many_is_not_counted(tmp_path: Path) -> None:
    trials = open_trials(tmp_path, 1)
    assert trials.claim() is not None
    late = open_trials(tmp_path, 1)
    assert late._create() is None
    assert [SURPLUS in trial.user_attrs for trial in late.study.trials] == [False, True]
    assert late.study.trials[1].state == TrialState.FAIL
    more = open_trials(tmp_path, 2)
    more._is_abandoned = lambda _: False  # type: ignore[method-assign]
    claimed = more.claim()
    assert claimed is not None
    assert claimed.number == 2


def test_pruning_is_in_the_study_before_the_training_hears_of_it(tmp_path: Path) -> None:
    trials = open_trials(tmp_path)
    good, poor = trials.claim(), trials.claim()
    assert good is not None
    assert poor is not None
    assert [trials.prune_reason(good, epoch, 0.9) for epoch in (1, 2)] == [None, None]
    trials.tell(good, TrialState.COMPLETE, values=[0.9])
    reason = trials.prune_reason(poor, 1, 0.2, seconds=3.456)
    assert reason == "pruned at epoch 1 with 0.2"
    pruned = trials.study.trials[1]
    assert pruned.user_attrs["seconds"] == 3.46
    assert (pruned.state, pruned.user_attrs["reason"], pruned.value) == (TrialState.PRUNED, reason, 0.2)
    trials.tell(poor, TrialState.FAIL, reason="its stage ended")
    assert trials.study.trials[1].state == TrialState.PRUNED


def test_an_epoch_that_is_reported_again_after_a_resume_is_recorded_once(tmp_path: Path) -> None:
    trials = open_trials(tmp_path)
    trial = trials.claim()
    assert trial is not None
    for value in (0.3, 0.4):
        assert trials.prune_reason(trial, 1, value) is None
    assert trials.study.trials[0].intermediate_values == {1: 0.3}


def test_the_curve_of_a_training_that_was_done_before_is_that_of_one_that_reports(tmp_path: Path) -> None:
    trials = open_trials(tmp_path)
    cached, poor = trials.claim(), trials.claim()
    assert cached is not None
    assert poor is not None
    trials.record_cached(cached, {1: 0.9, 2: 0.95})
    trials.record_cached(cached, {1: 0.1, 3: 0.97})
    trials.tell(cached, TrialState.COMPLETE, values=[0.97])
    trials.record_cached(cached, {4: 0.98})
    assert trials.study.trials[0].intermediate_values == {1: 0.9, 2: 0.95, 3: 0.97}
    assert trials.prune_reason(poor, 1, 0.2) is not None, "others are compared with it"
