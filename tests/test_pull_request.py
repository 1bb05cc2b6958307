"""A pull request from push to comment, on a bare repository and a folder as DVC remote: the steps of the workflows as they stand."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clones import Clone, Finished
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github" / "workflows" / "experiment.yml"
GITLAB = ROOT / ".gitlab-ci.yml"
# In place of GitHub's and GitLab's commands that post a comment: it is written to a file.
COMMANDS = {
    "gh": '#!/bin/sh\necho "gh $*" >&2\nwhile [ "$1" != --body-file ]; do shift; done\ncp "$2" "$POSTED"\n',
    "curl": '#!/bin/sh\necho "curl $*" >&2\nfor each; do case $each in body@*) cp "${each#body@}" "$POSTED";; esac; done\n',
}
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pull_request")]


class Outcome(NamedTuple):
    status: int
    printed: str
    comment: str
    """As a reader sees it: compare writes signs of names as entities."""


class Project(NamedTuple):
    """A bare repository `origin.git`, a folder `remote` of DVC, and the clone of somebody who works on it."""

    folder: Path
    author: Clone

    def push(self, branch: str, command: str) -> None:
        """Open a pull request: change something on a new branch of main, and push that."""
        self.author.run(
            f"git checkout -q -f -B {branch} main && {command} && git commit -qam Change && git push -q origin {branch}"
        )

    def checkout(self, branch: str, folder: str) -> Clone:
        """Clone a branch as a runner does, where nothing is left of other runs."""
        self.author.run(f"rm -rf ../{folder} && git clone -q -b {branch} {self.folder}/origin.git ../{folder}")
        clone = Clone(self.folder / folder)
        (self.folder / "bin").mkdir(exist_ok=True)
        for name, text in COMMANDS.items():
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)
        clone.env |= {"PATH": f"{self.folder / 'bin'}:{clone.env['PATH']}", "POSTED": str(self.folder / "posted.md")}
        (self.folder / "posted.md").unlink(missing_ok=True)
        return clone

    def outcome(self, clone: Clone, steps: Iterator[tuple[str, dict[str, str], bool]]) -> Outcome:
        """Run steps of a workflow: a command, its environment, and whether it runs after a failure as well."""
        status, printed = 0, ""
        for command, env, always in steps:
            if status == 0 or always:
                runner = Clone(clone.path)
                runner.env = clone.env | env
                done = runner.run(command, status=None)
                status = status or done.returncode
                printed += done.stdout + done.stderr
        posted = self.folder / "posted.md"
        return Outcome(status, printed, html.unescape(posted.read_text(encoding="utf-8")) if posted.exists() else "")


@pytest.fixture(scope="module")
def project(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("pull_request")
    author = finished.copy(folder / "author")
    author.run("git branch -M main")
    author.run(f"dvc remote add -q -d storage {folder}/remote && git commit -qam Storage")
    author.run(f"git clone -q --bare . ../origin.git && git remote add origin {folder}/origin.git && dvc push -q --run-cache")
    return Project(folder, author)


def github_steps(branch: str) -> Iterator[tuple[str, dict[str, str], bool]]:
    values = {"github.base_ref": "main", "github.head_ref": branch, "github.token": "t", "github.event.pull_request.number": "7"}
    (job,) = read(GITHUB)["jobs"].values()
    for step in job["steps"]:
        if "run" in step and not step["run"].startswith("make setup"):
            env = {
                name: re.sub(r"\$\{\{ (.*?) \}\}", lambda match: values[match[1]], text)
                for name, text in step.get("env", {}).items()
            }
            yield step["run"], env, "always()" in step.get("if", "")


def gitlab_steps(branch: str) -> Iterator[tuple[str, dict[str, str], bool]]:
    (job,) = read(GITLAB).values()
    given = {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": branch, "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    given |= {
        "CI_API_V4_URL": "https://git.example/api/v4",
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "7",
        "EXPERIMENT_TOKEN": "t",
    }
    env = given | {name: given.get(text.removeprefix("$"), text) for name, text in job["variables"].items()}
    for command in job["script"]:
        yield command, env, False
    for command in job["after_script"]:
        yield command, env, True


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(path)
    return content


def test_a_pull_request_that_makes_it_worse_is_trained_commented_and_refused(project: Project) -> None:
    project.push("slow", "sed -i 's/  lr: 0.01/  lr: 0.00001/' params.yaml")
    runner = project.checkout("slow", "ci")
    assert not (runner.path / "models" / "model.json").exists()
    status, printed, comment = project.outcome(runner, github_steps("slow"))
    assert status == 1, printed
    assert "Running stage 'train'" in printed
    assert "FAIL  params.yaml: train.lr has changed since train ran" in printed
    assert "gh pr comment 7 --edit-last --create-if-none --body-file comment.md" in printed
    for text in ("accuracy", "train.lr", "test.accuracy >= main - 0.005", "They are committed to this branch"):
        assert text in comment, comment
    # The author takes over what was made: nothing runs here, and nothing is stale.
    author = project.author
    author.run("git pull -q origin slow && dvc pull -q")
    assert author.run("git log -1 --format=%s").stdout.startswith("Results of ")
    assert author.stages_that_would_run() == []
    assert "0 mismatches" in author.run("./darkroom verify --lock").stdout


@pytest.mark.thorough  # tests/test_run_cache.py has another clone in every run
def test_another_pull_request_that_changes_the_same_does_not_train(project: Project) -> None:
    project.push("first", "sed -i 's/  lr: 0.01/  lr: 0.00001/' params.yaml")
    project.outcome(project.checkout("first", "ci"), github_steps("first"))
    project.push("again", "sed -i 's/  lr: 0.01/  lr: 0.00001/' params.yaml")
    other = project.checkout("again", "other")
    done = other.run("tools/pull_request.sh main comment.md", status=None)
    assert "Stage 'train' is cached" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    assert "dvc.lock is to be committed" in (other.path / "comment.md").read_text(encoding="utf-8")
    assert other.run("git ls-remote origin again").stdout.split()[0] == other.run("git rev-parse HEAD~1").stdout.strip()


@pytest.mark.thorough
def test_a_merge_request_that_changes_no_result_runs_nothing(project: Project) -> None:
    project.push("words", "echo more >> README.md")
    status, printed, comment = project.outcome(project.checkout("words", "ci"), gitlab_steps("words"))
    assert status == 0, printed
    assert "Running stage" not in printed
    assert "curl --fail" in printed
    assert "merge_requests/7/notes" in printed
    assert "test.accuracy >= main - 0.005" in comment
    assert "results were made here" not in comment
    assert (
        project.author.run("git rev-parse words").stdout
        == project.author.run(f"git -C {project.folder}/origin.git rev-parse words").stdout
    )


@pytest.mark.thorough
def test_a_pull_request_that_cannot_run_is_told_so_without_markup(project: Project) -> None:
    project.push("broken", "sed -i 's/  lr: 0.01/  lr: \"<img src=x>\"/' params.yaml")
    status, printed, comment = project.outcome(project.checkout("broken", "ci"), github_steps("broken"))
    assert status == 1, printed
    heading, _, log = comment.partition("\n\n")
    assert heading == "### The pipeline failed"
    assert "error: params.yaml: train.lr" in log
    assert all(line.startswith("    ") for line in log.splitlines())
    tip = project.author.run(f"git -C {project.folder}/origin.git log -1 --format=%s broken").stdout
    assert tip == "Change\n"  # nothing was committed


def test_other_pull_requests_run_nothing() -> None:
    """Pull requests of others would run their code with the secrets of this repository."""
    workflow = read(GITHUB)
    assert list(workflow["on"]) == ["pull_request"]
    (job,) = workflow["jobs"].values()
    assert job["if"].split() == [
        *("contains(github.event.pull_request.labels.*.name,", "'experiment')", "&&"),
        *("github.event.pull_request.head.repo.full_name", "==", "github.repository"),
    ]
    assert not any("${{" in step["run"] for step in job["steps"] if "run" in step)  # names of branches are not code
    (rule,) = read(GITLAB)["experiment"]["rules"]
    assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in rule["if"]
