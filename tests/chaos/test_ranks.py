"""Two processes that train together: when one ends, dies or hangs, both end within half a minute, and training can be resumed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clones import TWO_PROCESSES, Clone, Finished, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ranks")]
GONE_SECONDS = 30
END_SECONDS = 300  # for the other epochs on a busy machine
LEAVES_SLOWLY = """
import os, time
leave = os._exit
def slowly(status):
    if os.environ.get("LOCAL_RANK", "0") == "0":
        time.sleep(7)
    leave(status)
os._exit = slowly
"""
# The disk takes its time for a state of the main process; PyDLL keeps Python's lock meanwhile, as some libraries do.
SAVES_SLOWLY = """
import ctypes, os, pathlib, sys, time
sync, slow = os.fsync, int(os.environ["SLOW_SECONDS"])
def slowly(descriptor):
    if ".ckpt" in os.readlink(f"/proc/self/fd/{descriptor}") and not pathlib.Path(os.environ["SLOW_MARK"]).exists():
        pathlib.Path(os.environ["SLOW_MARK"]).touch()
        locked = min(slow // 2, 10)
        ctypes.PyDLL(None).sleep(locked)
        time.sleep(slow - locked)
        print("saved slowly", flush=True)
    sync(descriptor)
if os.environ.get("LOCAL_RANK", "0") == "0" and sys.argv[-1].endswith("train.py"):
    os.fsync = slowly
"""
DIED = "error: params.yaml: hardware.devices: one of 2 processes died or did not respond ("


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that trains in two processes on the CPU, for long."""
    made = finished.copy(tmp_path_factory.mktemp("ranks") / "darkroom")
    made.edit(
        TWO_PROCESSES
        | {"epochs: 3": "epochs: 12", "patience: 10": "patience: 1000", "timeout_seconds: 25.0": "timeout_seconds: 8.0"}
    )
    return made


@pytest.fixture
def training(clone: Clone) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The main process and the number of the other one, while they train."""
    with started(clone, {}) as processes:
        yield processes


@contextmanager
def started(clone: Clone, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield both once the first epoch has ended; kill the main one at the end."""
    clone.run("rm -rf .resume")
    process = subprocess.Popen(
        [sys.executable, "src/train.py"],
        cwd=clone.path,
        env=clone.env | {"PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, "epoch 1/12")
    other = int(subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()[0])
    try:
        yield process, other
    finally:
        process.kill()
        process.communicate()


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, even if its parent has not read its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def ended(training: tuple[subprocess.Popen[str], int]) -> tuple[int, str]:
    process, other = training
    _, told = process.communicate(timeout=GONE_SECONDS)
    deadline = time.monotonic() + 5
    while not is_gone(other) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert is_gone(other)
    return process.returncode, told


def test_a_signal_ends_both_and_the_bits_stay(clone: Clone, training: tuple[subprocess.Popen[str], int]) -> None:
    training[0].send_signal(signal.SIGTERM)
    status, told = ended(training)
    assert status == 128 + signal.SIGTERM
    assert told.startswith("error: interrupted by SIGTERM; the state of epoch ")
    assert told.count("\n") == 1
    assert "train: resuming at epoch " in clone.run("python src/train.py").stdout
    resumed = (clone.path / "models/model.safetensors").read_bytes()
    clone.run("rm -rf .resume && python src/train.py")
    assert (clone.path / "models/model.safetensors").read_bytes() == resumed


@pytest.mark.thorough
def test_the_main_one_may_take_longer_to_end(clone: Clone, tmp_path: Path) -> None:
    """Lightning checks every five seconds, and kills it if the other one has ended with a status other than 0."""
    (tmp_path / "sitecustomize.py").write_text(LEAVES_SLOWLY)
    with started(clone, {"PYTHONPATH": str(tmp_path)}) as training:
        training[0].send_signal(signal.SIGTERM)
        status, told = ended(training)
    assert status == 128 + signal.SIGTERM
    assert told.startswith("error: interrupted by SIGTERM; the state of epoch ")


def slow_save(folder: Path, seconds: int) -> dict[str, str]:
    """Return the environment in which the first state takes so long to be written."""
    (folder / "sitecustomize.py").write_text(SAVES_SLOWLY)
    return {"PYTHONPATH": str(folder), "SLOW_SECONDS": str(seconds), "SLOW_MARK": str(folder / "mark")}


@pytest.mark.thorough
def test_the_other_one_dies(training: tuple[subprocess.Popen[str], int]) -> None:
    os.kill(training[1], signal.SIGKILL)
    assert_told_in_one_line(training)


def assert_told_in_one_line(training: tuple[subprocess.Popen[str], int]) -> None:
    status, told = ended(training)
    assert status == 1
    assert told.startswith(DIED)
    assert told.endswith("); run the same command to resume\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize("seconds", [pytest.param(seconds, marks=pytest.mark.thorough) for seconds in (12, 70)])
def test_a_state_that_takes_long_to_write_ends_nothing(clone: Clone, tmp_path: Path, seconds: int) -> None:
    """The limit for a process that does not respond is 8 seconds here."""
    with started(clone, slow_save(tmp_path, seconds)) as (process, _):
        wait_for(process, "saved slowly")
        wait_for(process, "epoch 3/12")
        assert process.poll() is None


@pytest.mark.thorough
def test_the_other_one_dies_while_a_state_is_written(clone: Clone, tmp_path: Path) -> None:
    with started(clone, slow_save(tmp_path, 60)) as training:
        while not (tmp_path / "mark").exists():
            time.sleep(0.1)
        os.kill(training[1], signal.SIGKILL)
        assert_told_in_one_line(training)
    assert "train: published" in clone.run("python src/train.py").stdout


@pytest.mark.thorough
def test_the_main_one_dies(training: tuple[subprocess.Popen[str], int]) -> None:
    training[0].kill()
    assert ended(training)[0] == -signal.SIGKILL


@pytest.mark.thorough
def test_all_are_stopped_for_longer_than_the_limit_and_go_on(training: tuple[subprocess.Popen[str], int]) -> None:
    """As by Ctrl-Z and `fg`."""
    process, other = training
    for number in (signal.SIGSTOP, signal.SIGCONT):
        os.kill(other, number)
        process.send_signal(number)
        time.sleep(15 if number == signal.SIGSTOP else 0)
    _, told = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 0, told
    assert is_gone(other)


def test_the_main_one_died_before_the_other_one_could_look(clone: Clone) -> None:
    """It would wait for the main one without end, and keep the pipes of its output open."""
    started = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "DARKROOM_MAIN_PROCESS": "1"}
    done = subprocess.run([sys.executable, "src/train.py"], cwd=clone.path, env=clone.env | started, timeout=GONE_SECONDS)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.thorough
def test_the_other_one_hangs(training: tuple[subprocess.Popen[str], int]) -> None:
    os.kill(training[1], signal.SIGSTOP)
    status, told = ended(training)
    assert status == 1
    assert told.startswith("error: params.yaml: hardware.devices: one of 2 processes died or did not respond")
    assert told.count("\n") == 1


@pytest.mark.thorough
def test_two_processes_measure_what_one_does(clone: Clone) -> None:
    """Every step is of the same images, also in balanced epochs, so the metrics are those of one process."""
    clone.run("rm -rf .resume && cp params.yaml params.before")
    network = "{provider: timm, name: test_vit, pretrained: false, kwargs: {img_size: 8, patch_size: 2}}"  # it has no batch norm
    changed = {"epochs: 12": "epochs: 2", "sampler: shuffled": "sampler: balanced", "precision: 32-true": "precision: 64-true"}
    text = re.sub(
        r"  model:\n.*?  init_from", f"  model: {network}\n  init_from", (clone.path / "params.yaml").read_text(), flags=re.DOTALL
    )
    (clone.path / "params.yaml").write_text(text)
    clone.edit(changed)
    logs = []
    for number in (2, 1):
        clone.edit({"devices: 2": f"devices: {number}", "processes: 2": f"processes: {number}"})
        clone.run("rm -rf .resume && python src/train.py")
        folder = clone.path / "metrics/train/plots/metrics"
        logs.append({str(table.relative_to(folder)): numbers_of(table) for table in folder.rglob("*.tsv")})
    clone.run("mv params.before params.yaml")
    two, one = logs
    assert {"val/loss.tsv", "val/accuracy.tsv", "train/loss.tsv", "train/accuracy.tsv"} <= set(one)
    assert two == {name: pytest.approx(values, rel=1e-6) for name, values in one.items()}


def numbers_of(table: Path) -> list[float]:
    return [float(cell) for line in table.read_text().splitlines()[1:] for cell in line.split("\t")]


@pytest.mark.thorough
def test_the_port_is_taken(clone: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = clone.run(f"rm -rf .resume; MASTER_PORT={server.getsockname()[1]} python src/train.py", status=1)
    assert done.stderr == "error: MASTER_PORT: is used by another program; set another port, or unset it\n"
