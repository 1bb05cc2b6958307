"""The stage check: a mistake in params.yaml, or a smoke test, takes nothing away from what was there before."""

import hashlib
import re
from pathlib import Path

import pytest
from clones import Clone, Finished

from darkroom.repository.way_back import RESTORE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `dvc repro` ran and was committed."""
    return finished.copy(tmp_path_factory.mktemp("clone") / "darkroom")


def contents(clone: Clone) -> dict[str, str]:
    """Return the hash of every file that is not of Git, DVC or Python."""
    left_out = {".git", ".dvc", ".resume", "logs", "__pycache__"}
    paths = [path for path in clone.path.rglob("*") if path.is_file() and not left_out & set(path.parts)]
    return {path.relative_to(clone.path).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in paths}


DEBUG = "train.debug: only tries the code, and here its result would replace the model and its metrics; run 'dvc exp run --temp "


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("-S +trian.lr=0.1", "params.yaml: trian: unknown key; did you mean 'train'?"),
        ("$(./darkroom preset debug)", f"params.yaml: {DEBUG}$(./darkroom preset debug)'"),
        *(
            pytest.param(settings, f"params.yaml: {message}", marks=pytest.mark.thorough)
            for settings, message in (
                ("-S hardware.accelerator=tpux", "hardware.accelerator: is \"tpux\", but should be 'auto', 'cpu', "),
                ("-S train.optimizer=Adamw", "train.optimizer._target_: there is no Adamw in torch.optim, timm.optim; did you"),
                ("-S download.folder=data/phtos", "download.folder: data/phtos does not exist; did you mean 'data/photos'?"),
                ("-S ++train.trainer.fast_dev_run=true", "train.trainer.fast_dev_run: only tries the code"),
                ("-S ++train.trainer.max_epochs=3", "train.trainer.max_epochs: cannot be set here; set train.epochs"),
            )
        ),
    ],
)
def test_what_is_refused_takes_nothing_away(clone: Clone, settings: str, message: str) -> None:
    before = contents(clone)
    done = clone.run(f"dvc exp run {settings}", status=None)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {message}")
    assert f"('{RESTORE}' brings back the committed one" in line
    after = contents(clone)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"params.yaml"}
    clone.run(RESTORE)
    assert contents(clone) == before
    assert clone.run("git status --porcelain && dvc status").stdout == "Data and pipelines are up to date.\n"


@pytest.mark.thorough
def test_a_smoke_test_runs_elsewhere_and_is_then_still_refused_here(clone: Clone) -> None:
    """The answer of check depends on where it runs, so DVC must not take it from the run cache."""
    before = contents(clone)
    clone.run("dvc exp run --temp -n aside $(./darkroom preset debug) -S base.seed=3")
    assert clone.run("git status --porcelain").stdout == ""
    assert "aside" in clone.run("dvc exp list").stdout
    assert clone.run("git show $(git for-each-ref --format='%(objectname)' 'refs/exps/*/*/aside'):models/.gitignore").stdout
    assert contents(clone) == before
    try:
        clone.edit({"debug: false": "debug: true", "epochs: 3": "epochs: 2"})
        assert DEBUG in clone.run("dvc repro", status=None).stderr
        assert DEBUG in clone.run("python src/train.py", status=2).stderr
    finally:
        clone.run("git restore params.yaml")
    assert contents(clone) == before


def test_an_edit_of_hardware_runs_check_alone(clone: Clone) -> None:
    before = (clone.path / "dvc.lock").read_text()
    try:
        clone.edit({"devices: 1": "devices: auto"})
        assert re.findall(r"Running stage '(\w+)'", clone.run("dvc repro").stdout) == ["check"]
        assert clone.run("dvc status").stdout == "Data and pipelines are up to date.\n"
        assert "Running" not in clone.run("dvc repro").stdout
        assert Path(clone.path / "dvc.lock").read_text() != before
    finally:
        clone.run("git reset -q --hard")
