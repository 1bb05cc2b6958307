"""The lock of a workspace: its holder is named, a dead one frees it, an orphan is waited for or told to end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.base.errors import RunError
from darkroom.stage import lock as lock_module
from darkroom.stage.lock import locked

SRC = Path(__file__).resolve().parents[3] / "src"
HOLD = (
    "import sys, time; sys.path.insert(0, {src!r})\n"
    "from pathlib import Path\n"
    "from darkroom.stage.lock import locked\n"
    "with locked(Path({lock!r}), 'train'):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A lock, and another process that holds it."""
    lock = tmp_path / "lock"
    code = HOLD.format(src=str(SRC), lock=str(lock))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield lock, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_holds_a_lock_is_named(holder: tuple[Path, subprocess.Popen[str]]) -> None:
    lock, process = holder
    message = rf"the stage train \(process {process.pid} on .*, since .*\) is running here; wait for it, or end it with 'kill {process.pid}'"
    with pytest.raises(RunError, match=message), locked(lock, "split"):
        pass


def test_the_lock_of_a_killed_process_is_free(holder: tuple[Path, subprocess.Popen[str]]) -> None:
    lock, process = holder
    process.kill()
    process.wait()
    with locked(lock, "split"):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert lock.read_text() == ""


def test_an_orphan_is_waited_for(
    holder: tuple[Path, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock, process = holder
    monkeypatch.setattr(lock_module, "is_orphan", lambda _: True)
    started = time.monotonic()
    monkeypatch.setattr(time, "sleep", lambda _: process.kill() if time.monotonic() - started > 0.1 else None)
    with locked(lock, "split"):
        pass
    assert "whose DVC was killed, to save its state and end" in capsys.readouterr().err


def test_an_orphan_that_nobody_told_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # DVC was killed in the instant between starting the stage and the stage asking to be told of it.
    lock = tmp_path / "lock"
    code = HOLD.format(src=str(SRC), lock=str(lock))
    monkeypatch.setenv("DVC_STAGE", "train")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout
        assert orphan.stdout.readline() == "held\n"
        for name, of_workspace in (("evaluate", True), ("train", False)):
            with (
                pytest.raises(RunError, match=r"the stage train .* is running here"),
                locked(lock, name, of_workspace=of_workspace),
            ):
                pass
        with locked(lock, "train", of_workspace=True):
            assert orphan.wait(5) == -signal.SIGTERM


def test_who_has_just_begun_is_waited_for_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock"
    code = (
        "import fcntl, sys, time\n"
        f"file = open({str(lock)!r}, 'a'); fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(0.5)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with locked(lock, "train"):
            assert process.wait(5) == 0
    assert capsys.readouterr().err == ""


def test_who_may_not_wait_is_told_of_a_holder_without_a_name(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = f"import fcntl, sys; file = open({str(lock)!r}, 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        with (
            pytest.raises(RunError, match=r"lock: a stage that has just started is running here; wait for it$"),
            locked(lock, "train", patient=False),
        ):
            pass
        process.communicate()


@pytest.mark.parametrize("made_anew", [False, True], ids=["gone", "another one in its place"])
def test_a_lock_that_was_removed_while_it_was_waited_for_is_no_lock(tmp_path: Path, made_anew: bool) -> None:
    """Its holder removed the folder, as that of a training that is over: whoever comes next would lock another file."""
    lock = tmp_path / "states" / "lock"
    lock.parent.mkdir()
    code = (
        "import fcntl, shutil, sys, time\n"
        f"file = open({str(lock)!r}, 'a'); fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(0.3)\n"
        f"shutil.rmtree({str(lock.parent)!r})\n"
        f"if {made_anew}: import os; os.mkdir({str(lock.parent)!r}); open({str(lock)!r}, 'a')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with locked(lock, "train"):
            # Read by another process: to close the file here would free the lock.
            code = f"import fcntl; file = open({str(lock)!r}, 'a+'); file.seek(0); print(file.read()); fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"
            other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            assert json.loads(other.stdout)["pid"] == os.getpid()
            assert "BlockingIOError" in other.stderr
