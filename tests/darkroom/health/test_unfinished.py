"""The doctor lists every training that can be resumed, with what resumes and what removes it."""

import json
import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from findings_of import HOLD_STAGE, ROOT, held, lines
from repositories import shell

from darkroom.base import files
from darkroom.base.params_file import load_params
from darkroom.health.unfinished import check_unfinished


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with params.yaml, code and data."""
    for name in ("params.yaml", "src/train.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("data/raw/dataset.json", "data/split/manifest.csv"):
        files.write_text(tmp_path / name, name)
    shell("git init -q && git add -A && git -c user.name=t -c user.email=t@e.org commit -qm start", tmp_path)
    return tmp_path


def interrupt(root: Path, name: str, changes: dict[str, Any], command: str = "dvc repro", phase: int = 0) -> Path:
    """Leave a training behind, whose parameters have other values than params.yaml."""
    params = load_params(root / "params.yaml").model_dump(by_alias=True, include={"base", "train"})
    for key in ("checkpoint", "loggers", "inspect"):
        del params["train"][key]
    params["train"] |= changes
    code = {"src/train.py": files.sha256(root / "src/train.py")}
    data = {
        part: files.sha256(root / "data" / part / file) for part, file in (("raw", "dataset.json"), ("split", "manifest.csv"))
    }
    folder = root / ".resume" / name
    about = {"params": params, "data": data, "code": code, "packages": {"torch": version("torch")}}
    files.write_json(folder / "about.json", about)
    files.write_json(folder / "started.json", {"command": command, "folder": str(root), "commit": "c0ffee" * 7})
    files.write_hash_named(folder, f"000000000120-{phase}-000003", ".ckpt", lambda path: path.write_bytes(b"x" * 3_000_000))
    return folder


def found(root: Path) -> list[str]:
    return lines(check_unfinished(root, root / ".resume"))


def test_nothing_to_resume(root: Path) -> None:
    assert found(root) == ["ok unfinished no training to resume"]


def test_a_training_of_the_committed_parameters(root: Path) -> None:
    interrupt(root, "a1", {})
    assert found(root) == [
        "ok unfinished .resume/a1: epoch 3 of 20 done, just used, 3.0 MB, started by 'dvc repro', with the committed parameters; "
        "to go on: dvc repro; to remove it: rm -rf .resume/a1"
    ]


def test_those_of_others_by_what_differs(root: Path) -> None:
    interrupt(root, "a1", {"epochs": 40, "lr": 0.011}, "dvc exp run --temp -S train.epochs=40 -S train.lr=0.011")
    (text,) = found(root)
    assert ": epoch 3 of 40 done, " in text
    assert ", with train.epochs=40 train.lr=0.011; to go on: dvc exp run --temp -S train.epochs=40 -S train.lr=0.011; to" in text
    interrupt(root, "a1", {"loss": {"_target_": "plugins.mine.Loss"}, "lr": 0.011})
    (text,) = found(root)
    assert (
        "; to go on: dvc repro, with params.yaml as it was (train.loss._target_, train.loss.label_smoothing, train.lr); " in text
    )
    interrupt(root, "a1", {"lr": 0.011}, "./darkroom tune --jobs 8")
    assert "; to go on: ./darkroom tune --jobs 8; to remove it: " in found(root)[0]


def test_what_has_to_be_put_back_first(root: Path) -> None:
    folder = interrupt(root, "a1", {})
    (root / "src/train.py").write_text("# edited")
    (root / "data/split/manifest.csv").unlink()
    about = json.loads((folder / "about.json").read_text())
    files.write_json(folder / "about.json", about | {"packages": {"torch": "1.0", "nowhere": "2.0"}})
    assert (
        "; to go on: put back src/train.py (the commit then was c0ffeec0ff) and bring back data/split and "
        "'pip install torch==1.0 nowhere==2.0' and run 'dvc repro'; to remove it: "
    ) in found(root)[0]


def test_finished_running_old_and_nearly_unreadable_ones(root: Path) -> None:
    done = interrupt(root, "a1", {}, phase=2)
    old = interrupt(root, "b2", {})
    bare = files.write_hash_named(root / ".resume" / "c3", "000000000120-0", ".ckpt", lambda path: path.write_bytes(b"x")).parent
    for folder, days in ((done, 1), (old, 28), (bare, 2)):
        os.utime(folder, (time.time() - days * 86400,) * 2)
    first, second, third = found(root)
    assert first.startswith("ok unfinished .resume/a1: finished, but not published, 24 hours old, ")
    assert second.startswith(
        "ok unfinished .resume/c3: step 120, 2 days old, 0.0 kB; to go on: the command that it was started with; to remove it: "
    )
    assert third.startswith("warn unfinished .resume/b2: epoch 3 of 20 done, 28 days old, ")
    assert "; a training removes it after 30 days (hardware.states_max_days, null keeps it); to go on: dvc repro; " in third
    with held(f"exec({HOLD_STAGE!r})", done / "lock"):
        assert [text for text in found(root) if text.endswith("; it is running")][0].startswith("ok unfinished .resume/a1: ")  # noqa: RUF015
    (root / "params.yaml").write_text("- no mapping")  # which another line is about
    assert len(found(root)) == 3
    shutil.rmtree(root / ".git")
    assert len(found(root)) == 3
