"""Compare the preset cifar10_fast with airbench94 on one GPU: python benchmarks/airbench.py ARCHIVE --airbench DIR.

ARCHIVE has train/ and test/ with a folder per class. DIR is a clone of KellerJordan/cifar10-airbench; its legacy/airbench94.py
runs unchanged on the same pixels. The two alternate. Seconds include training and validation and, for Darkroom, logging and
checkpoints; they exclude start-up, a warm-up of two epochs of each, and the packing of the images. Accuracy is measured on the
test images with six views of each; only airbench94's seconds include this test.
"""

import argparse
import io
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stdout
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
import torch

from darkroom.base import files
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.experiments.presets import overlaid, read_preset
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.models.model_json import Card
from darkroom.models.saving import Published
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import write_split
from darkroom.training.auto_precision import resolve_auto
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

# Trains for two epochs to warm up and then `runs` times. Prints accuracy and seconds of each; they print their seconds last.
AIRBENCH = """
import contextlib, importlib.util, io, sys
spec = importlib.util.spec_from_file_location("airbench", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
chosen = module.hyp["opt"]
epochs = float(sys.argv[3]) or chosen["train_epochs"]
for run in ["warmup", *range(int(sys.argv[2]))]:
    chosen["train_epochs"] = 2 if run == "warmup" else epochs
    if run != "warmup":
        sys.stdin.readline()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        accuracy = module.main(run)
    seconds = float(printed.getvalue().rstrip("-|\\n ").split("|")[-1])
    print(float(accuracy), seconds, flush=True)
"""
WARM_UP_EPOCHS = 2
Run = tuple[float, float]
"""Test accuracy, and seconds."""


class Airbench:
    """A script of airbench in its own process, which waits between runs; `epochs` in place of its own, if there are any."""

    def __init__(self, script: Path, folder: Path, runs: int, epochs: int | None = None):
        self.script = script
        self.process = subprocess.Popen(
            [sys.executable, "-c", AIRBENCH, str(script), str(runs), str(epochs or 0)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def next(self) -> Run:
        """Run once more and return accuracy and seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _read(self) -> Run:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.script}: ended; its error is above")
        accuracy, seconds = map(float, line.split())
        return accuracy, seconds


def prepare(params: Params, folder: Path) -> tuple[Pack, Split]:
    """Pack and split the images, as the stages do, if the folder has none yet."""
    raw, split = folder / "raw", folder / "split"
    if split.exists():
        pack = Pack.open(raw)
        return pack, Split.open(split, pack)
    for made in (raw, split):
        made.mkdir()
    with read_source(params.download, folder) as listing:
        write_pack(listing, raw, params.download)
    pack = Pack.open(raw)
    write_split(split, pack, assign_splits(pack, params.split, params.base.seed), params.split, params.base.seed)
    return pack, Split.open(split, pack)


def write_images(pack: Pack, split: Split, folder: Path) -> None:
    """Write the images in airbench's format; it has no validation split and trains on those images too."""
    folder.mkdir(parents=True, exist_ok=True)
    of_file = {"train": np.concatenate([split.rows["train"], split.rows["val"]]), "test": split.rows["test"]}
    for name, rows in of_file.items():
        content = {"images": torch.from_numpy(pack.batch(rows)), "labels": torch.from_numpy(pack.labels[rows])}
        torch.save(content | {"classes": pack.classes}, folder / f"{name}.pt")


def ours(params: Params, pack: Pack, split: Split, folder: Path) -> Run:
    """Return the test accuracy of a training of the train stage, and its seconds."""
    plan, store = resolve_auto(make_plan(params, pack, split.rows["train"])), StateStore(folder, {})
    with store.held(), redirect_stdout(io.StringIO()):  # its progress lines do not belong in the table
        start = time.perf_counter()
        best = fit(plan, split, store)
        seconds = time.perf_counter() - start  # fit has copied the last weights from the device, so nothing is pending
        network = plan.classifier.network
        network.load_state_dict(best.weights)
    card = Card.model_construct(task="multiclass", preprocessing=plan.preprocessing)
    predictor = Predictor(Published(network, card), params.hardware)
    rows = split.rows["test"]
    predictions = predict_rows(predictor, pack, rows, batch_size=1000, tta=params.evaluate.tta)
    return float((predictions.argmax(axis=1) == pack.labels[rows]).mean()), seconds


def settings(preset: str, archive: Path, accelerator: str) -> dict[str, Any]:
    """Return the content of params.yaml with a preset, for an archive of images."""
    content = overlaid(read_yaml(ROOT / "params.yaml"), read_preset(ROOT / "conf", preset))
    content["download"] |= {"source": "archive", "dataset": None, "archive": str(archive), "sha256": files.sha256(archive)}
    content["hardware"] |= {"accelerator": accelerator, "watch": False}
    return content


def alternate(
    content: dict[str, Any], folder: Path, script: Path | None, runs: int, *, seconds: float = inf, epochs: int | None = None
) -> tuple[list[Run], list[Run]]:
    """Return Darkroom's runs and the script's, in turns; fewer of them where the next ones would end after `seconds`.

    Packed images, and all else, are in `folder`; `epochs` are the script's, if not its own.
    """
    begun, found = time.monotonic(), (list[Run](), list[Run]())
    pack, split = prepare(check_params(content), folder)

    def train(number: int, **changes: Any) -> Run:
        changed = {**content, "base": content["base"] | {"seed": max(number, 0)}, "train": content["train"] | changes}
        with tempfile.TemporaryDirectory() as states:
            return ours(check_params(changed), pack, split, Path(states) / "run")

    train(0, epochs=min(content["train"]["epochs"], WARM_UP_EPOCHS))
    other = None
    if script:
        write_images(pack, split, folder / "cifar10")
        other = Airbench(script, folder, runs, epochs)
    for run in range(runs):
        started = time.monotonic()
        found[0].append(train(run))
        if other:
            found[1].append(other.next())
        if 2 * time.monotonic() - started - begun > seconds:
            break
    if other:
        other.close()
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--airbench", type=Path, help="a clone of KellerJordan/cifar10-airbench; without it Darkroom alone")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="instead of the preset's")
    parser.add_argument("--accelerator", choices=["cpu", "cuda"], default="cuda")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    content = settings("cifar10_fast", given.archive.resolve(), given.accelerator)
    content["train"] |= {"epochs": given.epochs or content["train"]["epochs"]}
    script = given.airbench.resolve() / "legacy" / "airbench94.py" if given.airbench else None
    with tempfile.TemporaryDirectory() as temporary:
        found = alternate(content, Path(temporary), script, given.runs)
    device = torch.cuda.get_device_name() if given.accelerator == "cuda" else platform.processor() or platform.machine()
    print(f"{device}, " + ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning")) + "\n")
    print("| trainer | test accuracy: mean (all) | seconds: median (all) |\n|---|---|---|")
    for name, runs in zip(("Darkroom, preset cifar10_fast", "airbench94"), found, strict=True):
        if runs:
            accuracies, seconds = zip(*runs, strict=True)
            every = ", ".join(f"{value:.4f}" for value in accuracies), ", ".join(f"{value:.2f}" for value in seconds)
            means = statistics.mean(accuracies), statistics.median(seconds)
            print(f"| {name} | {means[0]:.4f} ({every[0]}) | {means[1]:.2f} ({every[1]}) |")


if __name__ == "__main__":
    main()
