"""Compare the preset cifar10_fast with airbench94 on one GPU: python benchmarks/airbench.py ARCHIVE --airbench DIR.

ARCHIVE has train/ and test/ with a folder per class. DIR is a clone of KellerJordan/cifar10-airbench; its legacy/airbench94.py
runs unchanged on the same pixels. The two alternate. Seconds include training and validation and, for Darkroom, logging and
checkpoints; they exclude start-up, a first warm-up run of each, and the packing of the images. Accuracy is measured on the test
images with six views of each; only airbench94's seconds include this test.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
import torch

from darkroom.base import files
from darkroom.base.params import Params
from darkroom.base.params_file import check_params, read_yaml
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
from darkroom.training.auto import resolve_auto
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

# Trains once to warm up and then `runs` times. Prints accuracy and seconds of each; airbench94 prints its seconds last.
AIRBENCH = """
import contextlib, importlib.util, io, sys
spec = importlib.util.spec_from_file_location("airbench94", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for run in ["warmup", *range(int(sys.argv[2]))]:
    if run != "warmup":
        sys.stdin.readline()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        accuracy = module.main(run)
    seconds = float(printed.getvalue().rstrip("-|\\n ").split("|")[-1])
    print(float(accuracy), seconds, flush=True)
"""


class Airbench:
    """airbench94 in its own process, which waits between runs."""

    def __init__(self, script: Path, folder: Path, runs: int):
        self.process = subprocess.Popen(
            [sys.executable, "-c", AIRBENCH, str(script), str(runs)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def next(self) -> tuple[float, float]:
        """Run once more and return accuracy and seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> tuple[float, float]:
        assert self.process.stdout is not None
        accuracy, seconds = map(float, self.process.stdout.readline().split())
        return accuracy, seconds


def prepare(params: Params, folder: Path) -> tuple[Pack, Split]:
    """Pack and split the images, as the stages do."""
    raw, split = folder / "raw", folder / "split"
    for made in (raw, split):
        made.mkdir()
    with read_source(params.download, folder) as listing:
        write_pack(listing, raw, params.download)
    pack = Pack.open(raw)
    write_split(split, pack, assign_splits(pack, params.split, params.base.seed), params.split, params.base.seed)
    return pack, Split.open(split, pack)


def write_images(pack: Pack, split: Split, folder: Path) -> None:
    """Write the images in airbench94's format; it has no validation split and trains on those images too."""
    folder.mkdir(parents=True)
    of_file = {"train": np.concatenate([split.rows["train"], split.rows["val"]]), "test": split.rows["test"]}
    for name, rows in of_file.items():
        content = {"images": torch.from_numpy(pack.batch(rows)), "labels": torch.from_numpy(pack.labels[rows])}
        torch.save(content | {"classes": pack.classes}, folder / f"{name}.pt")


def ours(params: Params, pack: Pack, split: Split, folder: Path) -> tuple[float, float]:
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
    content = overlaid(read_yaml(ROOT / "params.yaml"), read_preset(ROOT / "conf", "cifar10_fast"))
    archive = given.archive.resolve()
    content["download"] |= {"source": "archive", "dataset": None, "archive": str(archive), "sha256": files.sha256(archive)}
    content["hardware"] |= {"accelerator": given.accelerator, "watch": False}
    content["train"] |= {"epochs": given.epochs or content["train"]["epochs"]}
    found: dict[str, list[tuple[float, float]]] = {"Darkroom, preset cifar10_fast": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder, other = Path(temporary), None
        pack, split = prepare(check_params(content), folder)
        if given.airbench:
            write_images(pack, split, folder / "cifar10")
            other = Airbench(given.airbench.resolve() / "legacy" / "airbench94.py", folder, given.runs)
            found["airbench94"] = []
        for run in range(-1, given.runs):
            content["base"] |= {"seed": max(run, 0)}
            each = ours(check_params(content), pack, split, folder / f"run{run}")
            if run < 0:
                continue
            found["Darkroom, preset cifar10_fast"].append(each)
            if other:
                found["airbench94"].append(other.next())
    device = torch.cuda.get_device_name() if given.accelerator == "cuda" else platform.processor() or platform.machine()
    print(f"{device}, " + ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning")) + "\n")
    print("| trainer | test accuracy: mean (all) | seconds: median (all) |\n|---|---|---|")
    for name, runs in found.items():
        accuracies, seconds = zip(*runs, strict=True)
        every = ", ".join(f"{value:.4f}" for value in accuracies), ", ".join(f"{value:.2f}" for value in seconds)
        print(f"| {name} | {statistics.mean(accuracies):.4f} ({every[0]}) | {statistics.median(seconds):.2f} ({every[1]}) |")


if __name__ == "__main__":
    main()
