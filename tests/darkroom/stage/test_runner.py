"""One stage at a time in a workspace, named by its process; what changes under a stage is found; orphans end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom import paths
from darkroom.errors import RunError
from darkroom.stage import lock as lock_module
from darkroom.stage.inputs import read_inputs
from darkroom.stage.lock import locked
from darkroom.stage.runner import Stage, running

SRC = Path(__file__).resolve().parents[3] / "src"
HOLD = (
    "import sys, time; sys.path.insert(0, {src!r})\n"
    "from pathlib import Path\n"
    "from darkroom.stage.lock import locked\n"
    "with locked(Path({lock!r}), 'train'):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small workspace with one stage."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  split:\n    deps: [src/split.py, data/raw, '${predict.input}']\n    params: [base, split]\n"
    )
    (tmp_path / "params.yaml").write_text("base: {seed: 0}\nsplit: {val_fraction: 0.1}\npredict: {input: photos}\nother: 1\n")
    for name in ("src/split.py", "data/raw/images.npy", "photos/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    for name, path in {"ROOT": "", "PIPELINE": "dvc.yaml", "PARAMS": "params.yaml", "RAW": "data/raw"}.items():
        monkeypatch.setattr(paths, name, tmp_path / path)
    monkeypatch.setattr(paths, "MODELS", tmp_path / "models")
    monkeypatch.setattr(paths, "TRAIN_METRICS", tmp_path / "metrics" / "train")
    return tmp_path


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


def test_inputs_are_what_dvc_yaml_lists(root: Path) -> None:  # noqa: ARG001
    assert set(read_inputs("split")) == {
        "params.yaml: base.seed",
        "params.yaml: split.val_fraction",
        "src/split.py",
        "data/raw/images.npy",
        "photos/a.jpg",
    }


@pytest.mark.parametrize("folder", ["[1, 2]", "x" * 5000, "{a: 1}", "nowhere"])
def test_what_is_no_path_depends_on_nothing(folder: str, root: Path) -> None:
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("input: photos", f"input: {folder}"))
    assert "photos/a.jpg" not in read_inputs("split")
    assert "src/split.py" in read_inputs("split")


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("params.yaml", "base: {seed: 1}\nsplit: {val_fraction: 0.1}\npredict: {input: photos}\n", "params.yaml: base.seed"),
        ("src/split.py", "other", "src/split.py"),
        ("data/raw/images.npy", "longer content", "data/raw/images.npy"),
        ("photos/b.jpg", "new", "photos/b.jpg"),
    ],
)
def test_a_change_under_a_stage_is_found_and_nothing_is_written(root: Path, file: str, text: str, named: str) -> None:
    out = root / "data" / "split"
    out.mkdir()
    (out / "before").write_text("before")

    def split() -> None:
        with running("split") as stage, stage.replaced_dir(out) as directory:
            (directory / "after").write_text("after")
            (root / file).write_text(text)

    with pytest.raises(RunError, match=f"^{named}: changed while split ran, so nothing was written; put it back"):
        split()
    assert [entry.name for entry in out.iterdir()] == ["before"]


def test_what_the_stage_does_not_read_may_change(root: Path) -> None:
    with running("split") as stage, stage.replaced_dir(root / "data" / "split") as directory:
        (directory / "after").write_text("after")
        text = (root / "params.yaml").read_text()
        (root / "params.yaml").write_text(text.replace("other: 1", "other: 2") + "# a remark\n")
    assert [entry.name for entry in (root / "data" / "split").iterdir()] == ["after"]


def test_of_two_folders_neither_is_written_when_something_changed(root: Path) -> None:
    folders = [root / "data" / "split", root / "metrics" / "split"]

    def split(change: str) -> None:
        with running("split") as stage, stage.replaced_dirs(*folders) as directories:
            for directory in directories:
                (directory / "after").write_text("after")
            (root / "src/split.py").write_text(change)

    with pytest.raises(RunError, match="changed while split ran"):
        split("other")
    assert not any(folder.exists() for folder in folders)
    split("other")
    assert all([entry.name for entry in folder.iterdir()] == ["after"] for folder in folders)


def test_what_a_killed_stage_was_writing_is_swept(root: Path) -> None:
    rest = root / "data" / ".writing-split.abc"
    rest.mkdir()
    with running("split"):
        assert not rest.exists()


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
    assert "which was left behind, to save its state and end" in capsys.readouterr().err


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


def test_a_stage_ends_when_its_dvc_is_killed(tmp_path: Path) -> None:
    code = (
        f"import os, sys, time; sys.path.insert(0, {str(SRC)!r})\nfrom darkroom.stage.orphans import die_with_parent\n"
        "die_with_parent(); print(os.getpid(), flush=True); time.sleep(60)"
    )
    script = tmp_path / "stage.py"
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run([{sys.executable!r}, {str(script)!r}])"],
        env=os.environ | {"DVC_STAGE": "train"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_stage_that_runs_alone_checks_itself(root: Path) -> None:
    stage = Stage("split", read_inputs("split"))
    stage.check()
    (root / "src" / "split.py").unlink()
    with pytest.raises(RunError, match=r"src/split\.py: changed while split ran"):
        stage.check()


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
