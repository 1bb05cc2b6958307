"""What is read of a revision: also of older ones, of damaged ones, and of a workspace that was edited."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from compared import PARAMS, PREDICTIONS, Repository, make_repository, sure
from repositories import write

from darkroom.base.errors import InputError
from darkroom.comparison.comparison import Comparer
from darkroom.comparison.cost import training_seconds
from darkroom.comparison.evaluated import open_evaluated
from darkroom.comparison.text import lines

LABELS = np.arange(40) % 4


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = make_repository(tmp_path / "repository")
    made.evaluate(sure(LABELS, 4), LABELS, metrics={"accuracy": 1.0, "own": 2.5})
    made.commit("main")
    return made


def older(repository: Repository, *, pipeline: str) -> str:
    """Commit a revision without predictions, whose metrics have the names of before."""
    repository.git("checkout", "-qB", "older")
    lock = repository.root / "dvc.lock"
    lock.write_text(lock.read_text().partition("    outs:")[0])
    (repository.root / "metrics/evaluate.json").unlink()
    published = {"epoch": 2, "accuracy": 0.5, "parameters": 1234567, "multiply_adds": 8}
    files = {"metrics/evaluate/metrics.json": '{"test": {"accuracy": 0.75, "ece": 0.5}}'}
    repository.write(files | {"metrics/train/published.json": json.dumps(published), "dvc.yaml": pipeline})
    return repository.commit("older")


def test_a_revision_without_predictions_has_metrics_alone_and_the_line_that_makes_them(repository: Repository) -> None:
    now = repository.git("rev-parse", "HEAD")
    commit = older(repository, pipeline="stages:\n  evaluate:\n    cmd: 'true'\n")
    repository.git("checkout", "-q", "main")
    found = open_evaluated(repository.root, "older")
    assert found.metrics == {"test": {"accuracy": 0.75, "ece": 0.5}}
    assert found.published["parameters"] == 1234567
    assert found.without == f"older has no {PREDICTIONS}"
    assert found.command == (
        f"git switch -c again-{commit[:10]} {commit[:10]} && "
        f"git checkout {now[:10]} -- src dvc.yaml && git rm -rq --cached --ignore-unmatch metrics/split metrics/train "
        "metrics/evaluate && dvc repro && git add -A && git commit -m again"
    )
    shown = list(lines(Comparer(repository.root, repository.root / "logs").compare("older", "main", "test"), 20))
    assert f"note: metrics alone, since images cannot be compared: older has no {PREDICTIONS}" in shown
    assert f"  run: {found.command}" in shown
    cells = {line.split()[0]: line.split()[1:] for line in shown if line.startswith("  ")}
    assert cells["accuracy"] == ["0.7500", "1.0000", "+0.2500"]
    assert cells["own"] == ["none", "2.5000"]
    assert cells["ece"] == ["0.5000", "none"]
    assert cells["parameters"] == ["1", "234", "567", "->", "not", "recorded"]


def test_a_commit_whose_code_writes_predictions_is_evaluated_again(repository: Repository) -> None:
    commit = older(repository, pipeline=(repository.root / "dvc.yaml").read_text())
    expected = f"git switch --detach {commit[:10]} && dvc checkout && dvc repro evaluate"
    assert open_evaluated(repository.root, "older").command == expected


def test_predictions_that_are_neither_in_the_cache_nor_on_a_remote(repository: Repository) -> None:
    shutil.rmtree(repository.root / ".dvc/cache")
    found = open_evaluated(repository.root, "main")
    assert found.without.startswith(f"{PREDICTIONS}: the version of main is neither in DVC's cache nor on the default remote")
    assert found.metrics["test"]["own"] == 2.5


def test_an_edited_workspace_is_told_from_what_was_evaluated(repository: Repository) -> None:
    assert open_evaluated(repository.root, "workspace").notes == []
    params = repository.root / "params.yaml"
    params.write_text(params.read_text().replace('"lr": 0.01', '"lr": 0.5'))
    found = open_evaluated(repository.root, "workspace")
    assert found.params["train.lr"] == 0.01
    assert found.notes == ["workspace: params.yaml has train.lr = 0.5, but the results were made with 0.01; run 'dvc repro'"]
    shown = list(lines(Comparer(repository.root, repository.root / "logs").compare("main", "workspace", "test"), 20))
    assert f"note: {found.notes[0]}" in " ".join(line.strip() for line in shown)
    assert "parameters: the same" in shown
    content = (repository.root / PREDICTIONS).read_bytes()
    repository.evaluate(sure(LABELS, 4, 0.8), LABELS)
    (repository.root / PREDICTIONS).write_bytes(content)
    assert open_evaluated(repository.root, "workspace").notes == [
        f"workspace: {PREDICTIONS} is not the file that dvc.lock records; run 'dvc repro'"
    ]


def test_what_was_never_evaluated(repository: Repository) -> None:
    lock = repository.root / "dvc.lock"
    lock.write_text(lock.read_text().partition("    outs:")[0])
    (repository.root / "metrics/evaluate.json").write_text("[1]")
    repository.commit("never")
    (repository.root / PREDICTIONS).unlink()
    for name, way_out in (("never", "name another one"), ("workspace", "run 'dvc repro evaluate'")):
        with pytest.raises(InputError) as error:
            open_evaluated(repository.root, name)
        assert str(error.value) == (
            f"{name}: was never evaluated: it has neither metrics/evaluate.json nor {PREDICTIONS}; {way_out}"
        )


def test_other_splits(repository: Repository) -> None:
    repository.evaluate(sure(LABELS, 4), LABELS, splits=("val",))
    repository.commit("trial")
    comparer = Comparer(repository.root, repository.root / "logs")
    message = "^--split: trial was not evaluated on test; write --split val$"
    with pytest.raises(InputError, match=message):
        comparer.compare("main", "trial", "test")
    assert comparer.compare("trial", "trial", "val").measured


def test_tasks_that_cannot_be_compared(repository: Repository) -> None:
    several = np.eye(4, dtype=np.uint8)[LABELS]
    repository.evaluate(np.where(several, 0.9, 0.1), several)
    repository.commit("several")
    found = Comparer(repository.root, repository.root / "logs").compare("main", "several", "test")
    assert (found.measured, found.why_not) == (None, "main is multiclass and several is multilabel")


def test_what_was_changed_and_what_it_cost(repository: Repository) -> None:
    params = PARAMS | {"train": {"lr": 0.1, "epochs": 3, "aug": None, "flag": True}, "hardware": {"threads": 9}}
    repository.evaluate(sure(LABELS, 4), LABELS, params=params)
    repository.write({"src/train.py": "2\n3\n", "src/plugins/new.py": "", "docs/x.md": "not code"})
    found = Comparer(repository.root, repository.root / "logs").compare("main", "workspace", "test")
    assert [(each.key, each.first, each.second) for each in found.params] == [
        ("train.lr", "0.01", "0.1"),
        ("train.aug", "not set", "null"),
        ("train.flag", "not set", "true"),
    ]
    assert [(each.path, each.counts) for each in found.code] == [("src/train.py", "+2 -1"), ("src/plugins/new.py", "")]
    assert found.data.state == "unknown"
    turned = Comparer(repository.root, repository.root / "logs").compare("workspace", "main", "test")
    assert (turned.code[0].path, turned.code[0].counts) == ("src/train.py", "+1 -2")
    repository.git("add", "src")
    repository.git("commit", "-qm", "code")
    between = Comparer(repository.root, repository.root / "logs").compare("HEAD~1", "HEAD", "test")
    assert [(each.path, each.counts) for each in between.code] == [("src/plugins/new.py", "+0 -0"), ("src/train.py", "+2 -1")]


def test_the_training_with_the_same_parameters_is_found(tmp_path: Path) -> None:
    """Among logs that are torn, or of another version."""
    ran = {"params": {"train": {"lr": 0.1}, "hardware": {"x": 1}}}
    for name, run in (("01-01_10-00-00_x", json.dumps(ran)), ("01-02_10-00-00_y", "torn"), ("01-03_10-00-00_z", '{"params": 1}')):
        write(tmp_path, {f"2026-{name}/run.json": run, f"2026-{name}/machine.csv": "time,step\n2026-01-01 10:00:03,1\n"})
    assert training_seconds({"train.lr": 0.1, "hardware.x": 2}, tmp_path) == 3
    for params, logs in (({"train.lr": 0.2}, tmp_path), ({}, tmp_path), ({"train.lr": 0.1}, tmp_path / "none")):
        assert training_seconds(params, logs) is None
