"""A command that is to run once is refused where srun, torchrun or mpirun has started it several times."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.base.errors import MAIN_PROCESS, InputError
from darkroom.stage import observed
from darkroom.stage.inputs import read_inputs
from darkroom.stage.launcher import COUNTED, RANKS, launched, refuse_launcher
from darkroom.stage.runner import running

ROOT = Path(__file__).resolve().parents[3]
SRUN = {"SLURM_JOB_ID": "42", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
TORCHRUN = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": "none"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*COUNTED, *RANKS, MAIN_PROCESS, "LOCAL_RANK", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        (SRUN, "SLURM_NTASKS=2"),
        (SRUN | STEP, "SLURM_STEP_NUM_TASKS=2"),
        (SRUN | STEP | {"SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"}, "SLURM_STEP_NUM_TASKS=2"),
        (TORCHRUN, "WORLD_SIZE=2"),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"}, "OMPI_COMM_WORLD_SIZE=3"),
        ({"PMI_SIZE": "4", "PMI_RANK": "2"}, "PMI_SIZE=4"),
        ({"NODE_RANK": "1", "MASTER_ADDR": "node0"}, "NODE_RANK=1"),
        ({"RANK": "1"}, "RANK=1"),
    ],
)
def test_several_processes(environment: dict[str, str], variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = launched(environment)
    assert launch is not None
    assert launch.variable == variable
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    start = "srun --ntasks=1 " if "SLURM_PROCID" in environment else ""
    with pytest.raises(InputError, match=rf"^{variable}: .*; run '{start}dvc repro' with hardware\.devices set"):
        refuse_launcher("dvc repro")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        SRUN | STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},  # srun --ntasks=1 in a job of two tasks
        {"SLURM_JOB_ID": "42", "SLURM_NTASKS": "2"},  # the shell of salloc
        SRUN | {"SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"},  # a batch script without srun
        TORCHRUN | {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": "many", "RANK": ""},
        TORCHRUN | {MAIN_PROCESS: "1", "LOCAL_RANK": "1"},  # one that this project started itself
        {"NODE_RANK": "0", "MASTER_ADDR": "node0"},
    ],
)
def test_one_process(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched(environment) is None
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refuse_launcher("dvc repro")


@pytest.mark.parametrize("stage", ["check", "download", "split", "evaluate", "predict"])
def test_only_a_training_may_run_in_several(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them would write the same files, and only the first one holds the lock."""
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(InputError, match=rf"^SLURM_NTASKS=2: .*; run 'srun --ntasks=1 python src/{stage}\.py' with"),
        running(stage),
    ):
        pass


@pytest.mark.parametrize("is_script", [True, False])
def test_a_training_by_hand_may_and_the_first_process_alone_holds_the_lock(
    root: Path, monkeypatch: pytest.MonkeyPatch, is_script: bool
) -> None:
    """The others say what they open: the first one refuses a result for which any of them read what is not declared.

    A script of one's own that calls `main` is not observed.
    """
    (root / "dvc.yaml").write_text("stages:\n  train:\n    deps: [src/split.py]\n    params: [base]\n")
    lock, report = root / ".dvc" / "tmp" / "darkroom.lock", str(root / "report")
    for number in ("1", "0"):
        for name, value in (SRUN | {"SLURM_PROCID": number}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv(MAIN_PROCESS, raising=False)
        seen = observed.Observation(str(root), report)
        seen.opened.add(f"/read/by/{number}")
        monkeypatch.setattr(observed, "observation", seen if is_script else None)
        with running("train") as stage:
            assert stage.inputs == read_inputs("train")
            assert lock.exists() == (number == "0")
            first = observed.Observation(str(root), report)
            assert first.of_all_processes() == ({"/read/by/1"} if number == "1" and is_script else set()), (
                "those of an earlier stage go"
            )


@pytest.mark.parametrize("environment", [SRUN, TORCHRUN, {"OMPI_COMM_WORLD_SIZE": "2"}], ids=["srun", "torchrun", "mpirun"])
def test_dvc_may_not(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two DVC would wait for the lock of the other, or train as one of two ranks that never meet."""
    for name, value in (environment | {"DVC_STAGE": "train"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"run '(srun --ntasks=1 )?dvc repro' with hardware\.devices set"), running("train"):
        pass


def test_it_is_told_in_one_line() -> None:
    environment = os.environ | SRUN | {"DVC_STAGE": "train"}
    done = subprocess.run([sys.executable, "src/train.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: SLURM_NTASKS=2: 2 processes of this command were started, but it runs once, and starts those of a training itself; "
        "run 'srun --ntasks=1 dvc repro' with hardware.devices set, or see 'Several machines' in docs/sharing.md\n"
    )


@pytest.mark.parametrize("command", ["tune", "repeat"])
def test_nor_the_commands_that_call_it(command: str) -> None:
    arguments = [] if command == "tune" else ["--seeds", "2"]
    done = subprocess.run(
        [sys.executable, "darkroom", command, *arguments], cwd=ROOT, env=os.environ | SRUN, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"run 'srun --ntasks=1 ./darkroom {command}' with hardware.devices set" in done.stderr
