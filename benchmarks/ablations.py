"""Train a preset with settings changed one by one, and print what each gives: accuracy, epochs, processor seconds.

    python benchmarks/ablations.py ARCHIVE --keep DIR "" "train.epochs=7" "train.lr=0.7 train.batch_size=256"

ARCHIVE has train/ and test/ with a folder per class. Each further argument is a row: settings with `=`, between spaces, as after
`-S`, in quotes where a value has spaces; an empty one is the preset as it is. `without=whitening` leaves the first layer of
whitened_cnn with the pixels of a patch for filters, `without=identity` initialises its convolutions as torch does. Rows are
trained one after the other in a process of their own, and written to DIR/rows.jsonl, so that a run that was interrupted goes on
with the missing ones. Seconds are those of all threads together, of the training with its validations. On a busy machine add
`train.threads=1`: two threads that share a core wait for each other by spinning, which is counted. Accuracy is measured on the
test images.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import yaml

from darkroom.base import files
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.experiments.presets import overlaid, read_preset
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import write_split

VIEWS = ("none", "flip", "flip_shift")


def main() -> None:
    """Run the benchmark, or with `--one` a single training, which prints its row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("archive", type=Path)
    parser.add_argument("settings", nargs="*", default=[""], help="a row each: KEY=VALUE, between spaces")
    parser.add_argument("--preset", default="cifar10_small")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder of the packed images and the rows (a temporary one)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as temporary:
        keep = given.keep or Path(temporary)
        if given.one is not None:
            leave_out(given.settings[0])
            print(json.dumps(train(changed(given.archive, given.preset, given.settings[0], given.one), keep)))
            return
        keep.mkdir(parents=True, exist_ok=True)
        rows = [[row_of(given, settings, seed, keep) for seed in range(given.seeds)] for settings in given.settings]
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}\n")
    print(table(given.preset, given.settings, rows))


def row_of(given: argparse.Namespace, settings: str, seed: int, keep: Path) -> dict[str, Any]:
    """Return a row, trained now unless it is known."""
    known, key = keep / "rows.jsonl", [given.preset, settings, seed]
    for line in known.read_text().splitlines() if known.exists() else []:
        if (row := json.loads(line))["key"] == key:
            return dict(row)
    command = [
        sys.executable,
        __file__,
        str(given.archive),
        settings,
        "--preset",
        given.preset,
        "--keep",
        str(keep),
        "--one",
        str(seed),
    ]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    row = {"key": key, **json.loads(printed[-1])}
    with known.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    return row


def leave_out(settings: str) -> None:
    """Leave out, of the networks that this process builds, the parts that settings name with `without=`.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    for part in [value for name, _, value in (word.partition("=") for word in shlex.split(settings)) if name == "without"]:
        if part not in ("whitening", "identity"):
            raise ValueError(f"without={part}: must be whitening or identity")
        from darkroom.models.builtin import whitened_cnn

        if part == "whitening":
            whitened_cnn.WhitenedCNN.fit_to = lambda *_: None  # type: ignore[method-assign]
        else:
            whitened_cnn._convolution = lambda inputs, outputs: whitened_cnn.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def changed(archive: Path, preset: str, settings: str, seed: int) -> Params:
    """Return params.yaml with a preset, settings and a seed, for the images of an archive."""
    content = overlaid(read_yaml(ROOT / "params.yaml"), read_preset(ROOT / "conf", preset))
    archive = archive.resolve()
    content["download"] |= {"source": "archive", "dataset": None, "archive": str(archive), "sha256": files.sha256(archive)}
    content["hardware"] |= {"watch": False}
    content["base"] |= {"seed": seed}
    for setting in shlex.split(settings):
        name, _, value = setting.partition("=")
        if name == "without":
            continue
        *path, last = name.split(".")
        section = content
        for part in path:
            section = section[part]
        section[last] = yaml.safe_load(value)
    return check_params(content)


def prepare(params: Params, keep: Path) -> tuple[Pack, Split]:
    """Pack the images, once for all rows, and split them, as the stages do."""
    raw, split = keep / "raw", keep / "split"
    if not (raw / "dataset.json").exists():
        shutil.rmtree(raw, ignore_errors=True)
        raw.mkdir(parents=True)
        with read_source(params.download, keep) as listing:
            write_pack(listing, raw, params.download)
    shutil.rmtree(split, ignore_errors=True)
    split.mkdir()
    pack = Pack.open(raw)
    write_split(split, pack, assign_splits(pack, params.split, params.base.seed), params.split, params.base.seed)
    return pack, Split.open(split, pack)


def train(params: Params, keep: Path) -> dict[str, Any]:
    """Train as the stage does; return accuracies on validation and test images, epochs and processor seconds."""
    from darkroom.hardware import startup

    startup.prepare()
    from darkroom.inference.predict import predict_rows
    from darkroom.inference.predictor import Predictor
    from darkroom.models.model_json import Card
    from darkroom.models.saving import Published
    from darkroom.training.auto_precision import resolve_auto
    from darkroom.training.checkpoints.saved_states import StateStore
    from darkroom.training.fit import fit
    from darkroom.training.plan import make_plan

    pack, split = prepare(params, keep)
    with tempfile.TemporaryDirectory(dir=keep) as states:
        store = StateStore(Path(states), {})
        with store.held():
            plan = resolve_auto(make_plan(params, pack, split.rows["train"]))
            start, wall = time.process_time(), time.perf_counter()
            best = fit(plan, split, store)
            seconds, on_wall = time.process_time() - start, time.perf_counter() - wall
            network = plan.classifier.network
            network.load_state_dict(best.weights)
    predictor = Predictor(
        Published(network, Card.model_construct(task=split.task, preprocessing=plan.preprocessing)), params.hardware
    )
    rows = split.rows["test"]
    accuracies = {}
    for views in VIEWS:
        predicted = predict_rows(predictor, pack, rows, batch_size=params.evaluate.batch_size, tta=views)
        accuracies[views] = float((predicted.argmax(axis=1) == pack.labels[rows]).mean())
    about = {"val": best.score, "epochs": params.train.epochs, **plan.computes}
    return {**about, "test": accuracies, "tta": params.evaluate.tta, "processor": seconds, "wall": on_wall}


def table(preset: str, settings: list[str], rows: list[list[dict[str, Any]]]) -> str:
    """Return a table in Markdown, a line for each of the settings, over all seeds."""
    lines = [
        "| settings | epochs | precision | test accuracy: mean (all) | without views | processor s |",
        "|---|---|---|---|---|---|",
    ]
    for setting, seeds in zip(settings, rows, strict=True):
        found = [row["test"][row["tta"]] for row in seeds]
        plain = statistics.mean(row["test"]["none"] for row in seeds)
        each = ", ".join(f"{value:.4f}" for value in found)
        spent = statistics.median(row["processor"] for row in seeds)
        lines.append(
            f"| {preset} {setting} | {seeds[0]['epochs']} | {seeds[0]['precision']} | {statistics.mean(found):.4f} ({each}) "
            f"| {plain:.4f} | {spent:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
