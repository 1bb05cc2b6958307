"""The whole pipeline as a person runs it: a clone of this repository, `dvc repro`, experiments, predictions."""

import csv
import fcntl
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from browser import BROWSER, look
from clones import Clone, Finished, make_clone, outs, wait_for
from dvc.utils.hydra import apply_overrides
from forked_stages import STAGES, ForkedStages
from PIL import Image

from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.presets import read_preset, set_arguments

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `dvc repro` ran and was committed."""
    return finished.copy(tmp_path_factory.mktemp("clone") / "darkroom")


@pytest.fixture(scope="module")
def forked(clone: Clone) -> Iterator[ForkedStages]:
    """Stages of the clone without the start of Python and torch; their tests share a process that forks."""
    stages = ForkedStages(clone)
    yield stages
    stages.close()


share_forks = pytest.mark.xdist_group("forked stages")


def test_a_second_repro_runs_nothing_and_git_is_clean(clone: Clone) -> None:
    assert clone.run("dvc status").stdout == "Data and pipelines are up to date.\n"
    again = clone.run("dvc repro").stdout
    assert "Running stage" not in again
    assert all(f"Stage '{stage}' didn't change" in again for stage in STAGES)
    assert clone.run("git status --porcelain").stdout == ""


@pytest.mark.thorough
def test_two_clones_give_equal_results(clone: Clone, tmp_path: Path) -> None:
    """In the finished one every command was a Python of its own, in the other one they fork."""
    other = make_clone(tmp_path / "elsewhere" / "other name")
    other.run("dvc repro")
    assert outs(other.path / "dvc.lock") == outs(clone.path / "dvc.lock")


# As docs/experiments.md says.
GOING_BACK = "git add -A . && git stash push . && dvc checkout"
EVERY_OTHER = {
    "top_k: 3": "top_k: 4",
    "ece_bins: 15": "ece_bins: 10",
    "val_fraction: 0.1": "val_fraction: 0.2",
    "max_bad: 0": "max_bad: 1",
}


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"lr: 0.01": "lr: 0.02"}, ["train"]),
        ({"devices: 1": "devices: auto", "num_workers: auto": "num_workers: 1"}, []),
        (EVERY_OTHER, ["download", "split", "evaluate", "predict"]),
        *(
            pytest.param({old: new}, [stage], marks=pytest.mark.thorough)
            for (old, new), stage in zip(EVERY_OTHER.items(), ("predict", "evaluate", "split", "download"), strict=True)
        ),
    ],
)
def test_a_change_runs_what_it_reaches(clone: Clone, change: dict[str, str], stages: list[str]) -> None:
    try:
        clone.edit(change)
        # A dry run names the stages whose own inputs changed; those behind them run if what they read comes out different.
        assert clone.stages_that_would_run() == stages
    finally:
        clone.run("git checkout -q params.yaml")


def test_find_proposes_a_line_to_run_and_changes_nothing(clone: Clone) -> None:
    told = clone.run("./darkroom find lr --steps 60").stdout
    assert re.search(r"^dvc exp run -S train\.lr=[0-9.e-]+ ", told, re.MULTILINE)
    with Image.open(clone.path / "logs" / "lr.png") as image:
        image.verify()
    assert clone.run("./darkroom find lr --steps 3", status=2).stderr.startswith("error: --steps: is 3, which is too few")
    assert clone.run("git status --porcelain").stdout == ""
    assert clone.stages_that_would_run() == []


@pytest.mark.thorough
def test_a_profile_says_where_the_time_went_and_changes_nothing(clone: Clone) -> None:
    told = clone.run("python tools/profile_training.py --seconds 1").stdout
    assert "Where the time went" in told
    assert re.search(r"^forward, loss +\d", told, re.MULTILINE)
    assert clone.run("git status --porcelain").stdout == ""
    assert clone.stages_that_would_run() == []


def test_what_looked_on_is_kept_beside_and_what_it_depends_on_by_dvc(clone: Clone) -> None:
    folder = min(path for path in (clone.path / "logs").iterdir() if path.is_dir())  # of the first training here
    assert {"machine.csv", "machine.png", "run.json"} <= {path.name for path in folder.iterdir()}
    record = json.loads((clone.path / "models/run.json").read_text())
    assert "src/darkroom/training/fit.py" in record["code"]
    assert record["params"]["train"]["lr"] == json.loads((folder / "run.json").read_text())["params"]["train"]["lr"]


def test_metrics_and_tables_are_complete(clone: Clone) -> None:
    names = {"loss", "accuracy", "balanced_accuracy", "f1_macro", "ece", "top5_accuracy"}
    metrics = clone.metrics()
    assert set(metrics) == {"val", "test"}
    assert all(set(values) == names for values in metrics.values())
    assert metrics["test"]["accuracy"] > 0.5
    folder = clone.path / "metrics" / "evaluate"
    with (folder / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [str(label) for label in range(10)]
    assert sum(int(row["support"]) for row in rows) == 359
    for name in ("mistakes", "samples"):
        Image.open(folder / "images" / f"{name}.png").verify()
    backend = {"backend": "torch", "precision": "32-true"}
    assert json.loads((folder / "backend.json").read_text()) == backend
    temperature = json.loads((clone.path / "models" / "calibration.json").read_text())["temperature"]
    predicted = json.loads((clone.path / "data" / "predictions" / "backend.json").read_text())
    assert predicted == backend | {"temperature": temperature}
    intervals = json.loads((folder / "intervals.json").read_text())
    for split, values in metrics.items():
        assert {name: intervals[split][name]["value"] for name in values} == pytest.approx(values)
        assert intervals[split]["loss_calibrated"]["value"] < values["loss"]
    assert len((folder / "mistakes.csv").read_text().splitlines()) == 1 + round(359 * (1 - metrics["test"]["accuracy"]))
    published = json.loads((clone.path / "metrics/train.json").read_text())["published"]
    assert "loss" not in published
    assert published["criterion"] > metrics["val"]["loss"]  # with label smoothing


def test_the_data_is_explained(clone: Clone) -> None:
    folder = clone.path / "metrics" / "split"
    with (folder / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [str(label) for label in range(10)]
    assert [sum(int(row[split]) for row in rows) for split in ("train", "val", "test", "left_out")] == [1258, 180, 359, 0]
    card = (folder / "card.md").read_text(encoding="utf-8")
    preprocessing = json.loads((clone.path / "models/model.json").read_text())["preprocessing"]
    assert f"| grey | {preprocessing['mean'][0]:.4f} | {preprocessing['std'][0]:.4f} |" in card
    assert str(clone.path) not in card
    for name in ("split/images/samples.png", "train/augmented.png"):
        Image.open(clone.path / "metrics" / name).verify()
    assert not (folder / "images" / "duplicates.png").exists()  # there are none
    assert "images.train" in clone.run("dvc metrics diff HEAD~1 --all --targets metrics/split/numbers.json").stdout


def test_the_published_epoch_is_the_one_that_was_measured(clone: Clone) -> None:
    card = json.loads((clone.path / "models/model.json").read_text())
    with (clone.path / "metrics/train/plots/metrics/val/accuracy.tsv").open() as file:
        history = {int(row["step"]): float(row["accuracy"]) for row in csv.DictReader(file, delimiter="\t")}
    assert card["score"] == max(history.values()) == history[card["epoch"]]
    assert clone.metrics()["val"]["accuracy"] == card["score"]


def test_predictions_agree_in_three_formats(clone: Clone) -> None:
    folder = clone.path / "data" / "predictions"
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    columns = pq.read_table(folder / "predictions.parquet").to_pydict()
    assert len(table) == len(lines) == len(columns["path"]) == 359
    assert [row["class"] for row in table] == [line["class"] for line in lines] == columns["class"]
    every = np.array([columns[f"p_{label}"] for label in range(10)])
    assert np.allclose(every.sum(axis=0), 1)
    assert np.allclose(every.max(axis=0), [line["probability"] for line in lines])
    right = np.mean([row["class"] == row["actual"] for row in table])
    assert right == pytest.approx(clone.metrics()["test"]["accuracy"])


@pytest.mark.thorough
def test_experiments_are_compared_in_readable_columns(clone: Clone) -> None:
    try:
        clone.run("dvc exp run -n fast -S train.lr=0.02 evaluate")
        header = clone.run("dvc exp show --csv").stdout.splitlines()[0].split(",")
        assert len(header) == len(set(header))
        assert {"val.accuracy", "test.accuracy", "test.ece", "train.lr"} <= set(header)
        assert not any("metrics.json" in column for column in header)
        assert "train.lr" in clone.run("dvc params diff").stdout
        assert "test.accuracy" in clone.run("dvc metrics diff --all").stdout
        clone.run("dvc plots diff HEAD fast -o plots")
        page = (clone.path / "plots" / "index.html").read_text(encoding="utf-8")
        assert not re.search(r"""<(script|link|img)[^>]*(src|href)=["']https?:""", page)
        assert all(f'"{revision}"' in page for revision in ("HEAD", "fast"))
        assert all(title in page for title in ("Loss", "Validation accuracy", "Confusion", "F1 of every class", "Reliability"))
        assert all(title in page for title in ("Images of every class", "Sizes of the images", "Shapes of the images"))
        if BROWSER:
            seen = look(clone.path / "plots" / "index.html", width=390)
            lines = seen.text.splitlines()
            assert (seen.errors, seen.width, lines[0]) == ([], 390, "Plots of HEAD, fast")
            assert seen.text.count("test accuracy, 359 images") == 2
            assert "Images of every class" in lines
            assert "Sizes of the images" not in lines  # all are in one bar
    finally:
        clone.run("git reset -q --hard && rm -rf plots && dvc checkout -q")


@pytest.mark.thorough
def test_images_that_a_temporary_folder_has_not(clone: Clone) -> None:
    done = clone.run("dvc exp run --temp -S download.source=folder", status=None)
    assert done.returncode != 0
    assert "download.folder: data/photos is empty in the temporary folder of this experiment" in done.stderr
    assert "use an absolute path" in done.stderr


def test_a_preset_with_a_typo_runs_nothing(clone: Clone) -> None:
    done = clone.run("dvc exp run $(./darkroom preset mnits) -S train.lr=0.5", status=None)
    assert done.returncode != 0
    assert "there is no such preset; did you mean 'mnist'?" in done.stderr
    assert clone.run("git status --porcelain").stdout == ""


def test_the_way_back_from_a_failed_experiment(clone: Clone) -> None:
    done = clone.run("dvc exp run -S train.lr=-1", status=None)
    assert "error: params.yaml: train.lr: is -1, but should be greater than 0" in done.stderr
    clone.run(GOING_BACK)
    assert clone.run("git status --porcelain").stdout == ""
    assert clone.stages_that_would_run() == []


@pytest.mark.thorough
def test_an_experiment_with_a_new_file_is_left_and_adopted(finished: Finished, tmp_path: Path) -> None:
    clone = finished.copy(tmp_path / "darkroom")
    before = outs(clone.path / "dvc.lock")
    clone.run("dvc exp run -n with-auroc -S '++train.metrics={auroc: AUROC}'")
    added = "metrics/train/plots/metrics/val/auroc.tsv"
    assert (clone.path / added).exists()
    clone.run(GOING_BACK)
    assert not (clone.path / added).exists()
    assert clone.run("git status --porcelain && dvc status && ./darkroom verify").stdout.endswith("everything is as recorded\n")
    assert outs(clone.path / "dvc.lock") == before
    clone.run("dvc exp apply with-auroc && git add -A && git commit -m 'Adopt it'")
    clone.run(f"git clone -q . {tmp_path}/other")
    other = Clone(tmp_path / "other")
    other.run(f"dvc cache dir --local {clone.path}/.dvc/cache && dvc checkout")
    assert (other.path / added).exists()
    assert other.stages_that_would_run() == []
    assert other.run("dvc status && ./darkroom verify").stdout.endswith("everything is as recorded\n")


@pytest.mark.thorough
def test_git_checkout_goes_back_too(finished: Finished, tmp_path: Path) -> None:
    """DVC stages nothing, so that Git's index is that of the last commit."""
    clone = finished.copy(tmp_path / "darkroom")
    clone.edit({"lr: 0.01": "lr: 0.004"})
    clone.run("dvc repro -q train && git diff --cached --quiet && git checkout -q . && dvc checkout -q")
    assert clone.run("git status --porcelain && dvc status && ./darkroom verify").stdout.endswith("everything is as recorded\n")


def test_photos_are_predicted(clone: Clone, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("one photo.jpg", "folder/two.png", "folder/deep/=three.png"):
        Image.fromarray(numbers.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    before = contents(clone.path / "data" / "predictions")
    clone.run(f"cd {tmp_path} && {clone.path}/darkroom predict 'one photo.jpg' folder/ --out result.csv")
    with (tmp_path / "result.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["one photo.jpg", "folder/deep/=three.png", "folder/two.png"]
    assert {"class", "probability", "class_2", "probability_2", "class_3", "probability_3"} <= set(rows[0])

    shown = clone.run(f"cd {tmp_path} && {clone.path}/darkroom predict 'one photo.jpg' folder").stdout.splitlines()
    assert [re.split(" {2,}", line) for line in shown] == [
        ["path", "class", "probability", "class 2", "class 3"],
        *([row[name] for name in COLUMNS] for row in rows),
    ]
    for out in (
        "data/predictions/predictions.csv",
        "data/predictions/mine.jsonl",
        "models/mine.csv",
        "data/split/../raw/x.parquet",
    ):
        done = clone.run(f"./darkroom predict {tmp_path}/folder --out {out}", status=2)
        assert re.fullmatch(r"error: --out: \S+ is in (data|models)\S*, which stages write; name a file elsewhere\n", done.stderr)
    assert contents(clone.path / "data" / "predictions") == before
    assert clone.run("git status --porcelain && dvc status").stdout == "Data and pipelines are up to date.\n"


COLUMNS = ["path", "class", "probability", "class_2", "probability_2", "class_3", "probability_3"]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_command_looks_and_records_nothing(clone: Clone) -> None:
    """Also while a stage is at work: nothing waits for its lock."""
    before = {name: contents(clone.path / name) for name in ("data", "models", "metrics")}
    with (clone.path / ".dvc" / "tmp" / "darkroom.lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        said = clone.cold().run("./darkroom evaluate").stdout.splitlines()
        test = clone.metrics()["test"]
        assert said[1] == "evaluate: test  " + "  ".join(f"{name} {value:.4f}" for name, value in test.items())
        shown = clone.cold().run("./darkroom predict").stdout.splitlines()
    with (clone.path / "data/predictions/predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert shown[0].split()[:3] == ["path", "true", "class"]
    assert shown[1].split()[:4] == [rows[0][name] for name in ("path", "actual", "class", "probability")]
    assert shown[-2].startswith(f"... and {359 - 20} more; ")
    assert shown[-1].startswith(f"accuracy {float(test['accuracy']):.4f} (")
    assert {name: contents(clone.path / name) for name in ("data", "models", "metrics")} == before
    assert clone.run("git status --porcelain && dvc status").stdout == "Data and pipelines are up to date.\n"


def test_a_folder_named_in_params_is_watched(clone: Clone, tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((9, 9), np.uint8))
    image.save(tmp_path / "a.png")
    try:
        clone.edit({"input: data/split ": f"input: {tmp_path} "})
        assert clone.stages_that_would_run() == ["predict"]
        clone.run("dvc repro")
        assert clone.stages_that_would_run() == []
        image.save(tmp_path / "b.png")
        assert clone.stages_that_would_run() == ["predict"]
    finally:
        clone.restore()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("./darkroom predict nothing.jpg", "error: nothing.jpg: does not exist; name an image or a folder"),
        ("./darkroom predict README.md --out r.csv", "error: README.md: is not a JPEG, PNG"),
        ("./darkroom preset mnits", "error: conf/mnits.yaml: there is no such preset; did you mean 'mnist'?"),
        *(
            pytest.param(f"./darkroom predict {arguments}", f"error: {message}", marks=pytest.mark.thorough)
            for arguments, message in (
                ("''", "predict: one of the paths is empty"),
                ("src", "src: holds no image"),
                ("README.md --out r.txt", "--out: r.txt ends with none of .csv, .jsonl, .parquet"),
                ("README.md --out no/r.csv", "--out: the folder no does not exist"),
            )
        ),
    ],
)
def test_mistakes_on_the_command_line(clone: Clone, command: str, message: str) -> None:
    done = clone.run(command, status=2)
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert clone.run("git status --porcelain").stdout == ""


@share_forks
@pytest.mark.thorough  # two clones, one of them with commands that fork, have equal results in every run
def test_forked_stages_make_the_bits_of_their_own_processes(clone: Clone, forked: ForkedStages) -> None:
    clone.run("rm -rf .resume models/model.*")
    assert [forked.run(stage).status for stage in STAGES] == [0] * len(STAGES)
    assert clone.run("dvc status").stdout == "Data and pipelines are up to date.\n"


@share_forks
@pytest.mark.parametrize(
    ("old", "new", "stage", "message"),
    [
        ("lr: 0.01", "lrr: 0.01", "download", "error: params.yaml: train.lrr: unknown key; did you mean 'lr'?"),
        pytest.param(
            "lr: 0.01",
            "lr: -1",
            "train",
            "error: params.yaml: train.lr: is -1, but should be greater than 0",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "name: small_cnn",
            "name: smal_cnn",
            "train",
            "train.model.name: builtin has no network 'smal_cnn'; did you mean 'small_cnn'?",
            marks=pytest.mark.thorough,
        ),
        ("torch.optim.AdamW", "torch.optim.AdamX", "train", "train.optimizer._target_: torch.optim has no AdamX; did you mean"),
        pytest.param(
            "weight_decay: 0.01",
            "wait_decay: 0.01",
            "train",
            "train.optimizer.wait_decay: torch.optim.AdamW takes no such argument",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "torch.nn.CrossEntropyLoss",
            "torch.nn.L1Loss",
            "train",
            "train.loss.label_smoothing: torch.nn.L1Loss takes no such argument",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "image_size: null",
            "image_size: 2",
            "train",
            "train.model: does not take images of 2 pixels",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "accelerator: auto",
            "accelerator: mps",
            "train",
            "hardware.accelerator: is mps, but this machine has none",
            marks=pytest.mark.thorough,
        ),
        ("precision: 32-true", "precision: 16-mixed", "train", "train.precision: is 16-mixed, which cpu does not support here"),
        pytest.param(
            "trainer: {}",
            "trainer: {max_epochs: 3}",
            "train",
            "train.trainer.max_epochs: cannot be set here; set train.epochs",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "trainer: {}",
            "trainer: {limit_val_batch: 3}",
            "train",
            "no such argument; did you mean 'limit_val_batches'?",
            marks=pytest.mark.thorough,
        ),
        ("pixels: 1\n", "pixels: -1\n", "train", "train.augment: darkroom.input.augment.RandomShift refuses its arguments"),
        ("test_fraction: 0.2", "test_fraction: 0.001", "split", "params.yaml: split.test_fraction: gives 2 of 1797 images"),
    ],
)
def test_mistakes_in_params_leave_earlier_results_alone(
    clone: Clone, forked: ForkedStages, old: str, new: str, stage: str, message: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (clone.path / "models").iterdir()}
    text = (clone.path / "params.yaml").read_text(encoding="utf-8")
    try:
        (clone.path / "params.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
        done = forked.run(stage)
    finally:
        clone.run("git checkout -q params.yaml")
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1, done.err
    assert clone.run("git status --porcelain").stdout == ""
    assert {path: path.stat().st_mtime_ns for path in (clone.path / "models").iterdir()} == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("rm models/model.json", "error: models/model.json: does not exist; run 'dvc checkout'"),
        pytest.param(
            "rm models/model.safetensors", "error: models/model.safetensors: does not exist", marks=pytest.mark.thorough
        ),
        (
            "truncate -s 100 models/model.safetensors",
            "error: models/model.safetensors: is not the file that model.json describes",
        ),
        pytest.param("echo '{}' > models/model.json", "error: models/model.json: is damaged", marks=pytest.mark.thorough),
        pytest.param("rm -r data/split", "error: data/split/split.json: does not exist", marks=pytest.mark.thorough),
        (
            "sed -i 2d data/split/manifest.csv",
            "error: data/split: is damaged (the SHA-256 of manifest.csv is not the one in split.json",
        ),
        pytest.param("rm -r data/raw", "error: data/raw", marks=pytest.mark.thorough),
        ("python src/split.py", "was trained on another data/split"),
    ],
)
def test_damaged_results_are_found(finished: Finished, tmp_path: Path, damage: str, message: str) -> None:
    clone = finished.copy(tmp_path / "darkroom")
    clone.edit({"val_fraction: 0.1": "val_fraction: 0.11"})
    done = clone.run(f"chmod -R u+w data models; {damage}; python src/evaluate.py", status=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("true", None),
        pytest.param("sed -i 's/devices: 1/devices: auto/' params.yaml", None, marks=pytest.mark.thorough),
        ("sed -i 's/lr: 0.01/lr: 0.02/' params.yaml", "FAIL  params.yaml: train.lr has changed since train ran; run 'dvc repro'"),
        (
            "echo '# more' >> src/train.py",
            "FAIL  src/train.py: is not the code that train ran with (models/run.json); change it back, or run 'dvc repro'",
        ),
        pytest.param(
            "rm models/model.safetensors",
            "FAIL  models/model.safetensors: is missing; run 'dvc checkout'",
            marks=pytest.mark.thorough,
        ),
        ("sed -i 's/0/1/' metrics/evaluate.json", "FAIL  metrics/evaluate.json: differs from the output of evaluate"),
        pytest.param(
            "cp models/model.json m; flip m; mv m models/model.json",
            "FAIL  models/model.json: its content does not have the SHA-256",
            marks=pytest.mark.thorough,
        ),
        (
            "cp models/model.json m; flip m; mv m models/model.json",
            "differs from the output of train; run 'dvc checkout --force models/model",
        ),
        (
            "flip $(grep -A3 'path: data/raw$' dvc.lock | grep -o '[0-9a-f]*[.]dir' | head -1 | sed 's|^..|.dvc/cache/files/md5/&/|')",
            ".dir: is damaged, and should hold ",
        ),
        pytest.param("sed -i 's/md5: .\\(.*[.]dir\\)/md5: z\\1/' dvc.lock", "run 'dvc", marks=pytest.mark.thorough),
        pytest.param(
            "rm dvc.lock",
            "error: dvc.lock: does not exist, so nothing is recorded here; run 'dvc repro'",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_what_is_not_as_recorded_is_found(finished: Finished, tmp_path: Path, damage: str, told: str | None) -> None:
    clone = finished.copy(tmp_path / "darkroom")
    flip = 'flip() { python -c \'import sys; p = sys.argv[1]; b = bytearray(open(p, "rb").read()); b[9] ^= 4; open(p, "wb").write(b)\' $1; };'
    where = clone.cold() if told is None else clone
    done = where.run(f"{flip} chmod -R u+w .dvc/cache; {damage}; ./darkroom verify", status=None)
    if told is None:
        assert done.returncode == 0, done.stdout
        assert " 0 mismatches: everything is as recorded" in done.stdout
    else:
        assert done.returncode in (1, 2)
        assert told in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_an_interrupted_training_is_not_recorded(clone: Clone) -> None:
    try:
        clone.edit({"epochs: 3": "epochs: 100000", "patience: 10": "patience: 100000"})
        process = subprocess.Popen(
            [sys.executable, "src/train.py"],
            cwd=clone.path,
            env=clone.env | {"PYTHONUNBUFFERED": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell without job control starts what runs in the background deaf to SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_for(process, "epoch 1/100000")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert re.fullmatch(
            r"error: interrupted by SIGINT; the state of epoch \d+, step \d+ is saved; run the same command to resume\n",
            errors,
        )
        assert clone.stages_that_would_run() == ["train"]
    finally:
        clone.restore()


SPY = """
import gc
from pathlib import Path
from torch import nn
from darkroom.data.pack import Pack

class Spy(nn.Module):
    def forward(self, image):
        gc.unfreeze()  # what was there when torch had been imported is hidden from get_objects
        pack = next(each for each in gc.get_objects() if isinstance(each, Pack))
        lines = Path("data/split/manifest.csv").read_text().splitlines()
        pack[next(int(line.split(",")[0]) for line in lines if line.split(",")[1] == "test")]
        return image
"""


@share_forks
def test_training_cannot_read_what_is_tested_on(clone: Clone, forked: ForkedStages) -> None:
    spy = clone.path / "src/plugins/spy.py"
    spy.write_text(SPY)
    try:
        clone.edit({"darkroom.input.augment.RandomShift\n    pixels: 1": "plugins.spy.Spy"})
        told = forked.run("train")
        assert told.status != 0
        assert "is in the test split, which train must not read" in told.err
    finally:
        spy.unlink()
        clone.run("git checkout -q params.yaml")


@pytest.mark.thorough
@share_forks
def test_running_a_stage_by_hand_does_not_write_into_the_cache(clone: Clone, forked: ForkedStages) -> None:
    cache = {path: path.read_bytes() for path in (clone.path / ".dvc/cache/files").rglob("*") if path.is_file()}
    try:
        clone.edit({"lr: 0.01": "lr: 0.03", "seed: 0": "seed: 1"})
        assert [forked.run(stage).status for stage in STAGES] == [0] * len(STAGES)
        assert all(path.read_bytes() == content for path, content in cache.items())
    finally:
        clone.restore()


@pytest.mark.thorough
@share_forks
def test_a_set_of_two_classes_passes_through_all_stages_with_one_output(clone: Clone, forked: ForkedStages) -> None:
    """The threshold and the positive class decide what is written; both columns add up to 1."""
    rng, folder = np.random.default_rng(0), clone.path.parent / "two"
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            pixels = rng.integers(0, 160, (8, 8, 3), np.uint8)
            pixels[..., label] += 60
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    binary = {
        "source: digits": "source: folder",
        "folder: data/photos": f"folder: {folder}",
        "task: auto": "task: binary",
        "positive_class: null": "positive_class: cat",
        "_target_: torch.nn.CrossEntropyLoss\n    label_smoothing: 0.05": "_target_: BCEWithLogitsLoss",
        "pos_weight: null": "pos_weight: balanced",
        "metrics: {}": "metrics: {auroc: AUROC, picky: torchmetrics.functional.classification.binary_accuracy}",
        "monitor: val/accuracy": "monitor: val/auroc",
        "calibrated: true ": "calibrated: false ",
    }
    try:
        clone.edit(binary)
        text = (clone.path / "params.yaml").read_text(encoding="utf-8")
        (clone.path / "params.yaml").write_text(text.replace("threshold: null", "threshold: 0.8"), encoding="utf-8")
        done = [forked.run(stage) for stage in STAGES]
        assert [each.status for each in done] == [0] * len(STAGES), [each.err for each in done]
        card = json.loads((clone.path / "models/model.json").read_text())
        assert (card["classes"], card["task"], card["positive_class"]) == (["cat", "dog"], "binary", "cat")
        table = pq.read_table(clone.path / "data/predictions/predictions.parquet").to_pydict()
        np.testing.assert_allclose(np.add(table["p_cat"], table["p_dog"]), 1)
        assert table["class"] == ["cat" if p > 0.8 else "dog" for p in table["p_cat"]]
        assert table["probability"] == [table[f"p_{name}"][row] for row, name in enumerate(table["class"])]
        test = clone.metrics()["test"]
        right = np.mean([name == actual for name, actual in zip(table["class"], table["actual"], strict=True)])
        assert test["accuracy"] == pytest.approx(right)
        assert test["auroc"] > 0.9
        assert {"average_precision", "f1", "recall", "ece"} <= set(test)
        assert ("precision" in test) == ("cat" in table["class"])  # undefined where nothing is predicted to be one
        published = json.loads((clone.path / "metrics/train.json").read_text())["published"]
        assert published["auroc"] == pytest.approx(clone.metrics()["val"]["auroc"], abs=1e-6)
        assert published["picky"] == pytest.approx(published["accuracy"])
        csv_rows = list(csv.DictReader((clone.path / "data/predictions/predictions.csv").read_text().splitlines()))
        assert [row["class"] for row in csv_rows] == table["class"]
        assert all(float(row["probability"]) + float(row["probability_2"]) == pytest.approx(1, abs=2e-4) for row in csv_rows)
        confusion = list(csv.DictReader((clone.path / "metrics/evaluate/confusion.csv").read_text().splitlines()))
        assert sum(int(row["count"]) for row in confusion if row["predicted"] == "cat") == table["class"].count("cat")
        clone.edit({"_target_: BCEWithLogitsLoss": "_target_: CrossEntropyLoss", "pos_weight: balanced": "pos_weight: null"})
        refused = forked.run("train")
        assert refused.status == 2
        assert "CrossEntropyLoss compares several outputs, but a binary network has one; run with '-S train.loss" in refused.err
        assert refused.err.count("\n") == 1
    finally:
        clone.restore()


def test_split_imports_no_torch_when_it_runs(clone: Clone) -> None:
    """That download imports none, tests/test_download.py shows."""
    code = "import sys; sys.path.insert(0, 'src'); import split; split.main(); print('torch' in sys.modules)"
    assert clone.run(f'python -c "{code}"').stdout.endswith("False\n")


def served(clone: Clone, folder: Path) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=clone.env | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.thorough  # the README's photos pass through all stages in every run, and downloads from servers have tests of their own
def test_an_archive_of_photos_from_a_server(clone: Clone, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    for label, name in enumerate(("daisy", "rose")):
        for split, count in (("train", 12), ("test", 4)):
            folder = tmp_path / "flowers" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = numbers.integers(0, 100, (50 + number, 60, 3), dtype=np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
    clone.run(f"cd {tmp_path} && tar czf flowers.tar.gz flowers")
    sha256 = clone.run(f"sha256sum {tmp_path}/flowers.tar.gz").stdout.split()[0]
    server = served(clone, tmp_path)
    try:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        clone.run(
            "dvc exp run -n photos $(./darkroom preset flowers debug) -S train.debug=false -S train.image_size=32 -S train.batch_size=8 "
            "-S train.image_sizes=null "
            f"-S download.archive=http://127.0.0.1:{port}/flowers.tar.gz -S download.sha256={sha256}"
        )
        assert clone.metrics()["test"]["accuracy"] >= 0
        assert len((clone.path / "data/predictions/predictions.jsonl").read_text().splitlines()) == 8
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
        clone.restore()


def write_several_labels(folder: Path) -> None:
    """Write 240 images with up to three classes each, a colour for every class, and a table of their labels."""
    rows = ["file,label,page,camera"]
    for number in range(240):
        bits = [number >> bit & 1 for bit in range(3)]
        pixels = np.random.default_rng(number).integers(0, 60, (16, 16, 3), np.uint8)
        pixels += np.array(bits, np.uint8) * 180
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{';'.join(c for c, bit in zip(('r', 'g', 'b'), bits, strict=True) if bit)},{number // 3},a")
    (folder / "labels.csv").write_text("\n".join(rows))


def check_several_labels(clone: Clone, image: Path) -> None:
    """Check that all classes of an image were learned, and are written as such."""
    metrics = clone.metrics()["test"]
    assert metrics["accuracy"] > 0.9
    assert metrics["mean_average_precision"] > 0.95
    assert json.loads((clone.path / "models/model.json").read_text())["task"] == "multilabel"
    with (clone.path / "data/predictions/predictions.csv").open() as file:
        predicted = list(csv.DictReader(file))
    assert np.mean([row["actual"] == row["classes"] for row in predicted]) == pytest.approx(metrics["accuracy"])
    assert {row["given_camera"] for row in predicted} == {"a"}
    clone.run(f"./darkroom predict {image} --out one.jsonl")
    assert json.loads((clone.path / "one.jsonl").read_text())["classes"] != []


SEVERAL = ["download.source=manifest", "download.manifest=labels.csv", "download.columns.group=page"]


@share_forks
def test_images_with_several_labels_pass_through_all_stages(clone: Clone, forked: ForkedStages, tmp_path: Path) -> None:
    write_several_labels(tmp_path)
    path = clone.path / "params.yaml"
    preset = set_arguments(read_yaml(path), {"multilabel": read_preset(clone.path / "conf", "multilabel")})[1::2]
    own = [*SEVERAL, f"download.folder={tmp_path}", 'download.columns.separator=";"', "train.augment=[]", "train.epochs=8"]
    try:
        apply_overrides(path, [*preset, *own])
        done = [forked.run(stage) for stage in STAGES]
        assert [each.status for each in done] == [0] * len(STAGES), [each.err for each in done]
        check_several_labels(clone, tmp_path / "7.png")
    finally:
        clone.run("rm -f one.jsonl")
        clone.restore()


@pytest.mark.thorough  # the same as a person runs it, by DVC with the preset
def test_images_with_several_labels_from_a_table(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "darkroom")
    write_several_labels(clone.path / "data" / "photos")
    source = " ".join(f"-S {setting}" for setting in SEVERAL)
    several = """-S 'download.columns.separator=";"'"""
    told = clone.run(f"dvc exp run {source} {several}", status=None)
    assert "train.loss: CrossEntropyLoss is for one class per image" in told.stderr + told.stdout
    clone.run(f"dvc exp run $(./darkroom preset multilabel) {source} {several} -S 'train.augment=[]' -S train.epochs=8")
    check_several_labels(clone, Path("data/photos/7.png"))
    assert "fail" not in clone.run("./darkroom verify").stdout
