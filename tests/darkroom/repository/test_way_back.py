"""A refused `dvc exp run -S` says how to undo what DVC wrote to params.yaml, and the command does so from any state of the index."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from repositories import shell

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.repository.git import git_output
from darkroom.repository.way_back import RESTORE, with_way_back

COMMITTED = "train:\n  lr: 0.01\n  optimizer: {_target_: torch.optim.Adam}\nevaluate: {tta: false}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a committed params.yaml, in which `dvc exp run` runs."""
    git_output(tmp_path, "init", "--quiet")
    (tmp_path / "params.yaml").write_text(COMMITTED)
    git_output(tmp_path, "add", "--all")
    git_output(tmp_path, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "start")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_EXP_NAME", "mine")
    return tmp_path


def refused(message: str = "params.yaml: train.lr: is wrong") -> str:
    with pytest.raises(InputError) as told, with_way_back():
        raise InputError(message)
    return str(told.value).removeprefix(message)


@pytest.mark.parametrize(
    ("text", "message", "expected"),
    [
        (COMMITTED.replace("0.01", "-1"), "params.yaml: train.lr: is wrong", f" ('{RESTORE}' brings back the committed one)"),
        (
            COMMITTED.replace("torch.optim.Adam", "Adamw"),
            "params.yaml: train.optimizer._target_: is wrong",
            f" ('{RESTORE}' brings back the committed one)",
        ),
        (
            COMMITTED.replace("0.01", "-1").replace("false", "true"),
            "params.yaml: train.lr: is wrong",
            f" ('{RESTORE}' brings back the committed one, also of evaluate.tta)",
        ),
        (
            COMMITTED.replace("0.01", "0.1").replace("false", "true") + "trian: {lr: 1}\n",
            "params.yaml: trian: unknown key",
            f" ('{RESTORE}' brings back the committed one, also of train.lr and 1 more)",
        ),
        ("a: [", "params.yaml:2: is not YAML", f" ('{RESTORE}' brings back the committed one)"),
    ],
)
def test_what_the_way_back_takes_along_is_named(project: Path, text: str, message: str, expected: str) -> None:
    (project / "params.yaml").write_text(text)
    assert refused(message) == expected


def test_the_way_back_is_named_where_dvc_wrote_to_the_workspace(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(project / "elsewhere"))
    assert refused() == " (the workspace is untouched)"
    monkeypatch.delenv("DVC_EXP_NAME")
    assert refused() == ""


def stage_it(project: Path) -> None:
    git_output(project, "add", "params.yaml")


def stage_another(project: Path) -> None:
    wrong = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text("other: 1\n")
    git_output(project, "add", "params.yaml")
    (project / "params.yaml").write_text(wrong)


def remove_from_index(project: Path) -> None:
    git_output(project, "rm", "--quiet", "--cached", "params.yaml")


@pytest.mark.parametrize("prepare", [lambda _: None, stage_it, stage_another, remove_from_index])
def test_the_way_back_works_from_any_state_of_the_index(project: Path, prepare: Callable[[Path], None]) -> None:
    (project / "params.yaml").write_text(COMMITTED.replace("0.01", "-1"))
    prepare(project)
    subprocess.run(["bash", "-c", RESTORE], cwd=project, check=True)
    assert (project / "params.yaml").read_text() == COMMITTED
    assert git_output(project, "status", "--porcelain") == ""


def going_back() -> str:
    """Return the part of the line in docs/experiments.md that is Git's."""
    page = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.endswith("# back to the last commit")]
    return line.partition(" && dvc checkout")[0]


@pytest.mark.parametrize(
    "state",
    [
        "echo new >> dvc.lock && git add dvc.lock",
        "echo new >> dvc.lock && git add dvc.lock && echo newer >> dvc.lock",
        "git rm -q --cached dvc.lock && echo new > dvc.lock",
        "rm -r metrics",
        "git rm -qr metrics",
        "touch metrics/new.tsv src/new.py",
        "touch metrics/new.tsv && git add metrics",
        "touch metrics/new.tsv && git add --intent-to-add metrics",
        "git mv metrics/old.tsv metrics/new.tsv",
        "git checkout -qb other && echo o > dvc.lock && git commit -qam o && git checkout -q - && echo p > dvc.lock"
        " && git commit -qam p && ! git merge -q other",
        "true",
    ],
)
@pytest.mark.parametrize("place", [".", "all/vision"])
def test_going_back_works_from_any_state_and_loses_nothing(tmp_path: Path, place: str, state: str) -> None:
    project = tmp_path / place
    (project / "src").mkdir(parents=True)
    (project / "metrics").mkdir()
    for name in ("params.yaml", "dvc.lock", "metrics/old.tsv"):
        (project / name).write_text(f"{name}\n")
    shell("git init -q && touch another && git add -A && git commit -qm start", tmp_path)
    shell(state, project)
    (tmp_path / "another").write_text("of another project\n")
    was = contents(project)
    shell(going_back(), project)
    assert git_output(project, "status", "--porcelain", ".") == ""
    if place != ".":
        assert (tmp_path / "another").read_text() == "of another project\n"
    if state != "true" and "merge" not in state:
        shell("git stash pop -q", project)
        assert contents(project) == was


def contents(project: Path) -> dict[str, str]:
    files = {path.relative_to(project).as_posix(): path for path in project.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in files.items() if not name.startswith((".git", "another"))}
