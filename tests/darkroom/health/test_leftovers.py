"""Checks of what killed experiments and trainings leave behind."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from findings_of import HOLD_STAGE, held, line, way_out
from repositories import shell

from darkroom.base import files
from darkroom.health import leftovers


def make_experiment(workspace: Path, pid: int | None, status: int = 2) -> tuple[Path, Path]:
    """Create what a killed `dvc exp run --temp` leaves behind with DVC 3.67.1."""
    standalone = workspace / ".dvc" / "tmp" / "exps" / "standalone"
    row, folder = standalone / "run" / ("a1b2c3d" + "0" * 33), standalone / "tmpabc"
    row.mkdir(parents=True)
    (folder / ".dvc" / "tmp").mkdir(parents=True)
    if pid is not None:
        (folder / ".dvc" / "tmp" / "lock").write_text(f" {pid}\n")
    (row / f"{row.name}.run").write_text(json.dumps({"root_dir": str(folder), "name": "ghost", "status": status}))
    return row, folder


def experiments(workspace: Path) -> str:
    return line(leftovers.check_experiments(workspace), "experiments")


def make_old(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - 1e6,) * 2)


def test_running_experiments(workspace: Path) -> None:
    assert experiments(workspace) == "ok experiments none running in temporary folders, none left over"
    make_experiment(workspace, os.getpid())
    assert experiments(workspace) == "ok experiments 1 running in temporary folders, none left over"


def test_an_experiment_that_is_being_prepared(workspace: Path) -> None:
    row, folder = make_experiment(workspace, None, status=1)
    assert experiments(workspace) == "ok experiments 1 running in temporary folders, none left over"
    make_old(row, folder)
    assert experiments(workspace).startswith("warn experiments ghost was killed, but 'dvc exp show' lists it as running; run: ")


def test_a_ghost(workspace: Path, dead: int) -> None:
    row, folder = make_experiment(workspace, dead)
    found = experiments(workspace)
    assert found.startswith(
        "warn experiments ghost was killed, but 'dvc exp show' lists it as running; run: rm -rf .dvc/tmp/exps/standalone/run/a1b2c3d"
    )
    shell(way_out(found), workspace)
    assert not row.exists()
    assert not folder.exists()
    assert experiments(workspace) == "ok experiments none running in temporary folders, none left over"


def test_only_folders_of_dvc_are_removed(workspace: Path, dead: int) -> None:
    row, folder = make_experiment(workspace, dead)
    folder.rename(workspace / "tmpabc")
    note = row / f"{row.name}.run"
    note.write_text(note.read_text().replace(str(folder), str(workspace / "tmpabc")))
    assert way_out(experiments(workspace)) == f"rm -rf {row.relative_to(workspace)}"


def test_a_row_that_stops_dvc(workspace: Path, dead: int) -> None:
    row, _ = make_experiment(workspace, dead)
    (row / f"{row.name}.run").write_text("{")
    found = experiments(workspace)
    assert found.startswith(f"fail experiments {row.relative_to(workspace)} is damaged: 'dvc exp show' fails; run: rm -rf ")
    shell(way_out(found), workspace)
    assert experiments(workspace).startswith("ok")


def test_a_folder_without_a_row(workspace: Path, dead: int) -> None:
    row, folder = make_experiment(workspace, dead)
    shutil.rmtree(row)
    assert (
        experiments(workspace) == f"warn experiments 1 folder of killed experiments; run: rm -rf {folder.relative_to(workspace)}"
    )


def save_state(folder: Path, name: str, suffix: str = ".ckpt") -> Path:
    return files.write_hash_named(folder, name, suffix, lambda path: path.write_bytes(b"x" * 3_000_000))


def resume(workspace: Path) -> str:
    return line(leftovers.check_states(workspace, workspace / ".resume"), "resume")


def test_states(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resume(workspace) == "ok resume no unfinished training"
    first, second = workspace / ".resume" / "a1", workspace / ".resume" / "b2"
    save_state(first, "000000000003-0")
    (first / "000000000002-0-abc.ckpt").symlink_to("gone")  # as one that a training replaces while it is looked at
    assert resume(workspace) == "ok resume 1 unfinished training, 3.0 MB"
    save_state(first, "000000000009-2")
    assert resume(workspace) == "ok resume no unfinished training"
    save_state(second, "000000000003-0")
    damaged = save_state(second, "000000000004-1")
    assert resume(workspace) == "ok resume 1 unfinished training, 12.0 MB"
    monkeypatch.setattr(leftovers, "HASHED_BYTES", 7_000_000)
    assert resume(workspace) == "ok resume 1 unfinished training, 12.0 MB, 2 of 4 files read"
    weights = save_state(second, "000000000001-weights", ".safetensors")
    assert resume(workspace) == "ok resume 1 unfinished training, 15.0 MB, 2 of 5 files read"
    monkeypatch.setattr(leftovers, "HASHED_BYTES", 17_000_000)
    weights.write_bytes(b"rot")
    assert resume(workspace).startswith(f"fail resume {weights.relative_to(workspace)} is damaged; run: ")
    weights.unlink()
    damaged.write_bytes(b"rot")
    found = resume(workspace)
    assert found.startswith(f"fail resume {damaged.relative_to(workspace)} is damaged; run: rm -rf ")
    shell(way_out(found), workspace)
    assert resume(workspace).startswith("ok")


def test_kept_features(workspace: Path) -> None:
    folder = workspace / ".dvc" / "tmp" / "darkroom-features"
    assert line(leftovers.check_features(workspace, folder), "features") == "ok features none kept"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "part-1.npy").write_bytes(b"x" * 1_500_000)
    found = line(leftovers.check_features(workspace, folder), "features")
    assert found == "ok features 3.0 MB of kept features in .dvc/tmp/darkroom-features"


def test_half_written_states(workspace: Path) -> None:
    folder = workspace / ".resume" / "a1"
    save_state(folder, "000000000003-0")
    (folder / f"{files.WRITING}x.ckpt.abc").write_bytes(b"x" * 2_000_000)
    (folder / "lock").touch()
    with held(f"exec({HOLD_STAGE!r})", folder / "lock"):
        assert resume(workspace).startswith("ok resume 1 unfinished training"), "it is being written"
    found = resume(workspace)
    assert found.startswith(
        "warn resume 1 half-written state of killed trainings (5.0 MB in all); run: rm -rf .resume/a1/.writing-"
    )
    shell(way_out(found), workspace)
    assert resume(workspace) == "ok resume 1 unfinished training, 3.0 MB"
