"""How a run ended is read from its output; jobs share cores and GPUs; a search listens to its trainings."""

import json
import os
import socket
from pathlib import Path

import pytest

from darkroom.base.environment import POLICY, SPINS, limit_spinning
from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams
from darkroom.base.paths import TRIAL_SOCKET
from darkroom.experiments import runs
from darkroom.experiments.leases import VISIBLE, lease_gpus, visible_gpus
from darkroom.experiments.runs import Outcome, read_outcome, thread_limits

FAILED = "ERROR: failed to reproduce 'train': failed to run: python src/train.py, exited with {}\n"


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (0, "", Outcome("done")),
        (0, "Stage 'train' is cached - skipping run, checking out outputs\n", Outcome("done", is_cached=True)),
        (0, "Stage 'split' is cached - skipping run, checking out outputs\nRunning stage 'train':\n", Outcome("done")),
        (-9, "epoch 1\n", Outcome("interrupted", "killed (-9)")),
        (255, "error: interrupted by SIGTERM; saved\n" + FAILED.format(143), Outcome("interrupted", "interrupted by SIGTERM; saved")),
        (255, "epoch 1\n" + FAILED.format(-9), Outcome("interrupted", "killed (-9)")),
        (255, "epoch 1\n" + FAILED.format(137), Outcome("interrupted", "killed (137)")),
        (255, "error: train.batch_size: too many; lower it\n" + FAILED.format(1), Outcome("failed", "train.batch_size: too many; lower it")),
        (255, "error: .resume/a/lock: the stage train (…) is running here; wait\n" + FAILED.format(1), Outcome("busy", ".resume/a/lock: the stage train (…) is running here; wait")),
        (255, "Traceback\nValueError: x\n\n" + FAILED.format(1), Outcome("failed", "ValueError: x")),
        (255, "Stage 'x' didn't change\nERROR: 'dvc.lock' is invalid\n", Outcome("failed", "'dvc.lock' is invalid")),
        (1, "", Outcome("failed", "dvc ended with status 1")),
    ],
)  # fmt: skip
def test_outcomes(status: int, said: str, expected: Outcome) -> None:
    assert read_outcome(status, said) == expected


def test_a_training_asks_the_search_whether_to_end() -> None:
    from darkroom.training.search_link import ask

    heard = []

    def prune_reason(report: dict[str, object]) -> str | None:
        heard.append(report)
        return "poor" if report["epoch"] == 2 else None

    with runs._Listener(prune_reason) as listener:
        address = listener.env[TRIAL_SOCKET]
        with socket.socket(socket.AF_UNIX) as killed:  # in the middle of a report
            killed.connect(address)
            killed.sendall(b'{"epo')
        assert [ask(address, {"epoch": epoch}) for epoch in (1, 2)] == [None, "poor"]
    assert heard == [{"epoch": 1}, {"epoch": 2}]
    assert not Path(address).parent.exists()


def test_threads_are_divided_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in (*runs.THREADS, POLICY, SPINS):
        monkeypatch.delenv(name, raising=False)
    assert thread_limits(1) == {}
    limit_spinning()  # as every command does
    waiting = {SPINS: "0"}
    assert thread_limits(3) == dict.fromkeys(runs.THREADS, "2") | waiting
    assert thread_limits(20) == dict.fromkeys(runs.THREADS, "1") | waiting
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert "OMP_NUM_THREADS" not in thread_limits(2)
    monkeypatch.setenv(POLICY, "ACTIVE")
    assert not {POLICY, SPINS} & set(thread_limits(2))


@pytest.fixture
def hardware(content: dict[str, dict[str, object]]) -> HardwareParams:
    return HardwareParams.model_validate(content["hardware"])


def test_no_two_jobs_or_searches_share_a_gpu(hardware: HardwareParams, tmp_path: Path) -> None:
    gpus = ["0", "1", "2", "3"]
    with lease_gpus(hardware, 2, gpus, tmp_path) as ours:
        assert ours == [{VISIBLE: "0"}, {VISIBLE: "1"}]
        if (search := os.fork()) == 0:  # another one
            with lease_gpus(hardware, 2, gpus, tmp_path) as theirs:
                right = theirs == [{VISIBLE: "2"}, {VISIBLE: "3"}]
            try:
                lease_gpus(hardware, 3, gpus, tmp_path).__enter__()
            except InputError as error:
                right = right and str(error).startswith("--jobs: 3 jobs with 1 GPU each need 3, but 2 of 4 are free here")
            else:
                right = False
            os._exit(not right)
        assert os.waitpid(search, 0)[1] == 0
    two = hardware.model_copy(update={"devices": 2})
    with lease_gpus(two, 2, gpus, tmp_path) as pairs:
        assert pairs == [{VISIBLE: "0,1"}, {VISIBLE: "2,3"}]


def test_no_gpu_is_leased_where_none_is_used(hardware: HardwareParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease_gpus(hardware.model_copy(update={"accelerator": "cpu"}), 3, ["0"], tmp_path) as jobs:
        assert jobs == [{}, {}, {}]
    monkeypatch.setenv(VISIBLE, "GPU-abc, 3")
    assert visible_gpus() == ["GPU-abc", "3"]
    monkeypatch.setenv(VISIBLE, "")
    assert visible_gpus() == []


def test_reports_are_json() -> None:
    assert json.loads('{"metrics": {"val/loss": NaN}}')["metrics"]["val/loss"] != 0  # a training may tell of what is no number
