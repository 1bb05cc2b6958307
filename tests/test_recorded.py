"""An experiment that was recorded before the modules moved can be shown, applied, started from, compared and predicted with."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clones import Clone, outs
from recorded import BASELINE, EXPERIMENT, make_recorded_clone

from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.renamed import with_current_targets
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.repository import find_experiment, params_of
from darkroom.search.study import with_start
from darkroom.versions.datasets import read_dataset
from darkroom.versions.differences import KINDS, compare
from darkroom.versions.models import read_model
from darkroom.versions.revisions import open_revision

pytestmark = pytest.mark.slow
# Where the experiment has them, and where they are today.
METRICS, TODAYS = "metrics/evaluate/metrics.json", "metrics/evaluate.json"
TEACHER = f"{{model: {BASELINE}, weight: 0.5, temperature: 2.0}}"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return make_recorded_clone(tmp_path_factory.mktemp("recorded") / "darkroom")


@pytest.fixture
def today(clone: Clone) -> Clone:
    """The clone as it is at today's commit."""
    clone.run("git reset -q --hard main && git clean -fdq")
    return clone


def recorded(clone: Clone, path: str) -> str:
    """Return a file of the experiment that Git has."""
    return clone.run(f"git show $(git for-each-ref --format='%(objectname)' 'refs/exps/*/*/{EXPERIMENT}'):{path}").stdout


def predictions(clone: Clone) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((clone.path / "data/predictions/predictions.csv").read_text())))


@pytest.mark.thorough
def test_it_is_shown(today: Clone) -> None:
    rows = list(csv.DictReader(io.StringIO(today.run("dvc exp show -A --csv").stdout)))
    (row,) = [row for row in rows if row["Experiment"] == EXPERIMENT]
    metrics = json.loads(recorded(today, METRICS))
    assert float(row["test.accuracy"]) == metrics["test"]["accuracy"]
    (base,) = [row for row in rows if row["rev"] == BASELINE]
    assert (float(base["train.lr"]), float(row["train.lr"])) == (0.01, 0.02)


def test_it_is_applied_with_its_code_and_parameters(today: Clone) -> None:
    today.run(f"dvc exp apply {EXPERIMENT}")
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "src/train.py", METRICS):
        assert (today.path / name).read_text() == recorded(today, name)
    assert (today.path / "models" / "model.json").read_bytes() == read_model(today.path, today.path, EXPERIMENT)[1]["model.json"]
    assert [name for name in outs(today.path / "dvc.lock") if not (today.path / name).exists()] == []
    today.run("git stash -q --include-untracked")
    assert today.run("git status --short").stdout == ""


@pytest.mark.thorough
def test_its_model_predicts_under_today_s_code(today: Clone) -> None:
    today.run(f"dvc exp apply {EXPERIMENT}")
    before = predictions(today)
    today.run("git restore --source=HEAD -- . ':!params.yaml' && git clean -fdq src")
    done = today.run("python src/predict.py", status=2)
    assert done.stderr == (
        "error: params.yaml: evaluate.engine, evaluate.num_pictures, hardware.hold_pictures, predict.engine: are now called "
        "evaluate.backend, evaluate.num_images, hardware.cache_images, predict.backend; rename them\n"
    )
    today.run("git restore params.yaml && python src/predict.py && python src/evaluate.py")
    after = predictions(today)
    assert [(row["path"], row["class"], row["actual"]) for row in before] == [
        (row["path"], row["class"], row["actual"]) for row in after
    ]
    assert [float(row["probability"]) for row in after] == pytest.approx([float(row["probability"]) for row in before], abs=1e-3)
    metrics, theirs = json.loads((today.path / TODAYS).read_text()), json.loads(recorded(today, METRICS))
    assert {name: metrics["test"][name] for name in theirs["test"]} == pytest.approx(theirs["test"], abs=1e-3)


def test_training_starts_from_it_with_it_as_teacher_on_the_same_images(today: Clone) -> None:
    commit = today.run(f"./darkroom commit {EXPERIMENT}").stdout.strip()
    teacher = TEACHER.replace(BASELINE, today.run(f"./darkroom commit {BASELINE}").stdout.strip())
    today.edit({"init_from: null": f"init_from: {commit}", "teacher: null": f"teacher: {teacher}"})
    done = today.run("dvc repro train")
    assert f"train: loaded 20 of 20 tensors from {commit}" in done.stdout
    card = json.loads((today.path / "models" / "model.json").read_text())
    weights = json.loads(read_model(today.path, today.path, EXPERIMENT)[1]["model.json"])["weights_sha256"]
    assert card["origin"]["sha256"] == {"model.safetensors": weights}
    assert card["teacher"]["source"].startswith("teacher: ")
    check_same_images(today, EXPERIMENT, "workspace")


def check_same_images(clone: Clone, before: str, after: str) -> None:
    """Check that two revisions have the same images in the same splits."""
    sets = [read_dataset(open_revision(clone.path, name, ("data/raw", "data/split"))) for name in (before, after)]
    assert [found.without_split for found in sets] == [None, None]
    differences = compare(*sets)
    assert len(sets[0]) == 80
    assert {kind: len(differences.rows[kind]) for kind in KINDS} == dict.fromkeys(KINDS, 0)


def test_a_search_starts_from_its_parameters(
    today: Clone, content: dict[str, Any], make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    found = with_start(content, make_params({"tune.start": EXPERIMENT}), today.path)
    assert capsys.readouterr().err == ""
    params = check_params(found)
    assert (params.train.lr, params.train.batch_size) == (0.02, 16)
    assert found["train"]["scheduler"]["_target_"] == "darkroom.objective.schedules.WarmupCosine"
    assert capsys.readouterr().err == ""  # no old name is left


def test_its_parameters_are_read_with_today_s_names(today: Clone) -> None:
    """`repeat` and `tune` compare them with those of today."""
    commit = find_experiment(today.path, EXPERIMENT)
    assert commit is not None
    found = params_of(today.path, commit)
    check_params(found)
    assert {"backend", "num_images"} <= found["evaluate"].keys()
    assert with_current_targets({"loss": "darkroom.training.losses.FocalLoss"}) == {"loss": "darkroom.objective.losses.FocalLoss"}


def test_the_recorded_commit_has_the_old_names(today: Clone) -> None:
    """Otherwise the tests above would show nothing."""
    old = subprocess.run(["git", "show", f"{BASELINE}:params.yaml"], cwd=today.path, capture_output=True, text=True, check=True)
    path = Path(today.path.parent, "old.yaml")
    path.write_text(old.stdout)
    parameters = read_yaml(path)
    assert parameters["train"]["scheduler"]["_target_"] == "darkroom.training.schedules.WarmupCosine"
    assert {"engine", "num_pictures"} <= parameters["evaluate"].keys()
