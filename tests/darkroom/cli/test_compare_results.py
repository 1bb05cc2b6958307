"""`./darkroom compare REV …` and its gates, in a repository whose revisions have predictions."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compared import PARAMS, Repository, make_repository, sure

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.cli.compare import main

LABELS = np.arange(300) % 3
Run = Callable[..., tuple[str, int]]


def predicted(mistakes: int) -> np.ndarray:
    wrong = LABELS.copy()
    wrong[:mistakes] = (wrong[:mistakes] + 1) % 3
    return sure(wrong, 3)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Branches `bad`, `good` and `main` with 40, 8 and 10 mistakes; the workspace is as main."""
    made = make_repository(tmp_path_factory.mktemp("results"))
    for branch, mistakes, lr in (("bad", 40, 0.5), ("good", 8, 0.02), ("main", 10, 0.01)):
        made.evaluate(predicted(mistakes), LABELS, params=PARAMS | {"train": {"lr": lr}}, splits=("val", "test"))
        made.commit(branch)
    return made


@pytest.fixture
def run(repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in the repository, and return what it prints and its exit status."""
    monkeypatch.setattr(paths, "ROOT", repository.root)
    monkeypatch.setattr(paths, "RAW", repository.root / "data/raw")

    def run(*arguments: str) -> tuple[str, int]:
        try:
            main(list(arguments))
        except SystemExit as left:
            return capsys.readouterr().out, int(left.code or 0)
        return capsys.readouterr().out, 0

    return run


def test_one_revision_is_compared_with_the_workspace(run: Run) -> None:
    out, status = run("good")
    assert status == 0
    assert re.match(r"compare: good \([0-9a-f]{7}\) -> workspace, test\nmetrics, 300 images of both:\n", out)
    assert re.search(r"^  accuracy +0\.9733 +0\.9667 +-0\.0067 ", out, re.MULTILINE)
    assert "fixed: 0\nbroken: 2\n" in out
    assert "  train.lr: 0.02 -> 0.01\n" in out
    assert "Another seed alone changes metrics, too" in out
    assert run("good", "workspace") == (out, 0)


def test_several_are_compared_with_the_first(run: Run) -> None:
    out, _ = run("main", "good", "bad", "--split", "val")
    found = re.findall(r"^compare: (\S+) \(.{7}\) -> (\S+) \(.{7}\), val$", out, re.MULTILINE)
    assert found == [("main", "good"), ("main", "bad")]


@pytest.mark.parametrize(
    ("arguments", "status", "verdicts"),
    [
        (["main", "good", "--gate", "test.accuracy >= main - 0.005"], 0, ["pass good"]),
        (["main", "bad", "--gate", "test.accuracy >= main - 0.005"], 1, ["FAIL bad"]),
        (["main", "good", "bad", "--gate", "test.accuracy >= main"], 1, ["pass good", "FAIL bad"]),
        (["main", "bad", "--gate", "test.accuracy >= 0.8", "--gate", "test.loss <= main"], 1, ["pass bad", "FAIL bad"]),
        (["bad", "main", "--gate", "val.accuracy >= bad"], 0, ["pass main"]),
        (["--gate", "test.accuracy >= good"], 0, ["pass workspace"]),
        (["--gate", "test.accuracy >= 0.99"], 1, ["FAIL workspace"]),
    ],
)
def test_gates(run: Run, arguments: list[str], status: int, verdicts: list[str]) -> None:
    out, left = run(*arguments)
    assert left == status
    assert re.findall(r"^  (pass|FAIL) (\w+): ", out, re.MULTILINE) == [tuple(each.split()) for each in verdicts]
    assert ("compare: " in out) == (arguments[-1] != "test.accuracy >= 0.99")


def test_files(run: Run, tmp_path: Path) -> None:
    out, status = run("main", "bad", "--md", str(tmp_path / "x.md"), "--html", str(tmp_path / "x.html"))
    assert (status, out[:8]) == (0, "compare:")
    written = (tmp_path / "x.md").read_text()
    assert written.startswith("### <code>bad (")
    assert "<h1>main · bad</h1>" in (tmp_path / "x.html").read_text()
    out, status = run("main", "bad", "--md", "-", "--gate", "test.accuracy >= main")
    assert status == 1
    assert out.startswith("### 1 of 1 gates failed\n")
    assert written.partition("\n")[2] in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mian"], "mian: is not a commit, branch, tag or experiment; did you mean 'main'?"),
        (["main", "godo"], "godo: is not a commit, branch, tag or experiment; did you mean 'good'?"),
        (["dta", "HEAD"], "dta: is not a revision; did you mean './darkroom compare data HEAD'?"),
        (["main", "--gate", "test.acuracy >= main"], "--gate: workspace has no metric 'acuracy' on test; did you mean 'test.accuracy'?"),
        (["main", "--gate", "test.accuracy >= godo"], "--gate: godo: is not a commit, branch, tag or experiment; did you mean 'good'?"),
        (["main", "--gate", "test.accuracy > main"], "--gate: 'test.accuracy > main' has the sign >; write >="),
    ],
)  # fmt: skip
def test_mistakes(run: Run, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        run(*arguments)
    assert str(error.value) == message


@pytest.mark.slow
def test_neither_torch_nor_the_images_are_needed(repository: Repository) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(paths.ROOT / 'src')!r})\n"
        "from pathlib import Path; from darkroom.base import paths; from darkroom.cli.compare import main\n"
        f"paths.ROOT = Path({str(repository.root)!r}); main(['main', 'bad', '--gate', 'test.accuracy >= 0.5'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "pyarrow" in loaded
    assert not {"torch", "pandas", "sklearn", "scipy", "matplotlib", "torchmetrics"} & loaded
