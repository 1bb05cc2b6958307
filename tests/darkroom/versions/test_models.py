"""The published model of a commit is read from the commit, whatever is in the workspace."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from clones import Finished, make_clone

from darkroom.base.errors import InputError
from darkroom.versions.models import read_model


def test_a_folder_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with pytest.raises(InputError, match=r"^kept: has no model\.json; name the folder of a published model, or a revision$"):
        read_model(tmp_path, tmp_path, "kept")
    (folder / "model.json").write_bytes(b"card")
    (folder / "model.safetensors").write_bytes(b"weights")
    assert read_model(tmp_path, tmp_path, "kept") == ("kept", {"model.json": b"card", "model.safetensors": b"weights"})


def test_what_is_neither(tmp_path: Path) -> None:
    as_somebody = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], [*as_somebody, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    with pytest.raises(InputError, match=r"^gone: is not a commit, branch, tag or experiment"):
        read_model(tmp_path, tmp_path, "gone")


@pytest.mark.thorough
@pytest.mark.slow
def test_training_starts_from_a_commit_also_elsewhere(finished: Finished, tmp_path: Path) -> None:
    """Of a branch in the workspace, and of an experiment in a folder of its own, where Git knows no branch."""
    clone = finished.copy(tmp_path / "clone")
    clone.run("git branch first")
    commit = clone.run("git rev-parse HEAD").stdout.strip()
    weights = json.loads((clone.path / "models/model.json").read_text())["weights_sha256"]
    lr = "-S train.lr=0.001 train"
    refused = clone.run(f"dvc exp run --temp -n further -S train.init_from=first {lr}", status=None).stderr
    assert f"name the commit that it is now: -S train.init_from={commit} (the workspace is untouched)" in refused
    told = clone.run(f"dvc exp run --temp -n further -S train.init_from=$(./darkroom commit first) {lr}").stdout
    assert f"tensors from {commit}" in told
    told = clone.run("dvc repro train", status=None).stdout
    assert "didn't change" in told
    further = clone.run("./darkroom commit further").stdout.strip()
    clone.edit({"init_from: null": f"init_from: {further}"})
    assert "further" in clone.run("dvc exp show --csv").stdout
    told = clone.run("dvc repro train").stdout
    assert f"tensors from {further}" in told
    assert "M multiply-adds per image" in told
    card = json.loads((clone.path / "models/model.json").read_text())
    assert card["origin"]["source"] == f"init_from: {further}"
    assert card["origin"]["sha256"]["model.safetensors"] != weights
    assert card["size"]["parameters"] == card["size"]["trained"] > 0
    shutil.rmtree(clone.path / ".dvc/cache")
    assert "neither in DVC's cache nor on the default remote" in clone.run("dvc repro -f train", status=None).stderr


@pytest.mark.thorough  # as test_resume_from has it within one process
def test_an_experiment_is_made_longer_and_the_commit_is_recorded(tmp_path: Path) -> None:
    """With states the result is that of one long training; run.json and model.json have the whole commit."""
    clone = make_clone(tmp_path / "clone")
    constant = "-S train.keep_states=true -S train.scheduler=null train"
    clone.run(f"dvc exp run -n short -S train.epochs=2 {constant} && git add -A && git commit -qm short")
    commit = clone.run("git rev-parse HEAD").stdout.strip()
    told = clone.run(f"dvc exp run -n long -S train.epochs=4 -S train.resume_from={commit} {constant}").stdout
    assert f"train: resuming after epoch 2 of {commit} (commit {commit}): all of its state; the optimizer is resumed" in told
    weights = (clone.path / "models/model.safetensors").read_bytes()
    for name in ("model.json", "run.json"):
        assert json.loads((clone.path / "models" / name).read_text())["resumed"]["commit"] == commit
    assert "Running stage" not in clone.run("dvc repro train").stdout
    assert " 0 mismatches" in clone.run("./darkroom verify", status=None).stdout
    clone.run(f"dvc exp run --temp -n whole -S train.epochs=4 -S train.resume_from=null {constant}")
    assert read_model(clone.path, clone.path, "whole")[1]["model.safetensors"] == weights
