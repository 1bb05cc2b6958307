"""Compare test accuracy after equal time: Darkroom, timm's train.py and torchvision's reference, in turns.

    git clone --depth 1 https://github.com/huggingface/pytorch-image-models timm && git clone --depth 1 https://github.com/pytorch/vision
    python benchmarks/equal_time.py ARCHIVE --timm timm --vision vision      # as long as the preset takes
    python benchmarks/equal_time.py ARCHIVE --timm timm --vision vision --minutes 1 2 5 10 20 --chart docs/images/equal_time.svg

ARCHIVE is a tar file of train/ and test/ with a folder per class. Seconds are those of the whole command, start-up and evaluation
included; Darkroom's are those of all five stages. Darkroom trains on fewer images: its validation split selects the epoch. The
others measure the test images after every epoch; their last epoch counts.

Without --minutes the others run for as many epochs as fit into Darkroom's time, rounded up. With it every trainer first runs for
one and two epochs, which tells what an epoch takes, then for each time with a schedule of as many epochs as fit into it, rounded
down. Where none fits there is no point. `--preset cifar10_small --preset cifar10_fast` draws a line for each.
"""

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from peers import ENVIRONMENT, ROOT, Result, from_archive, run, timm, torchvision

Train = Callable[[int | None], Result]
"""Trains for so many epochs; Darkroom for those of its preset, if none are given."""


def darkroom(archive: Path, preset: list[str], work: Path, epochs: int | None = None) -> Result:
    """Run the whole pipeline of a clone, download to predict, with presets and, unless it is theirs, a number of epochs."""
    clone = work / f"darkroom-{'-'.join(preset)}-{epochs}"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    words = subprocess.run(
        [sys.executable, "darkroom", "preset", *preset], cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout.split()
    command = ["dvc", "exp", "run", *words, *from_archive(archive)]
    command += [] if epochs is None else ["-S", f"train.epochs={epochs}"]
    log = work / f"{clone.name}.log"
    seconds = run(command, clone, log)
    metrics = json.loads((clone / "metrics/evaluate.json").read_text())
    done = int(re.findall(r"epoch (\d+)/", log.read_text())[-1])
    return Result(f"Darkroom, preset {' '.join(preset)}", done, seconds, metrics["test"]["accuracy"])


def fitting(one: Result, two: Result, seconds: float) -> int:
    """Return how many epochs fit into some seconds, from the trainings of one and of two epochs."""
    epoch = max(two.seconds - one.seconds, 1e-3)
    return max(0, math.floor((seconds - (one.seconds - epoch)) / epoch))


def curves(trainers: Sequence[Train], minutes: Sequence[float]) -> list[dict[float, Result]]:
    """Return the result of each trainer by minutes, trained in turns; times into which no epoch fits are left out."""
    known = [{epochs: train(epochs) for epochs in (1, 2)} for train in trainers]
    found: list[dict[float, Result]] = [{} for _ in trainers]
    for each in sorted(minutes):
        for train, results, points in zip(trainers, known, found, strict=True):
            epochs = fitting(results[1], results[2], 60 * each)
            if epochs:
                results[epochs] = points[each] = results.get(epochs) or train(epochs)
                print(
                    f"{points[each].name}: {each:g} min: {epochs} epoch(s), {points[each].accuracy:.4f}",
                    file=sys.stderr,
                    flush=True,
                )
    return found


def draw(found: list[dict[float, Result]], path: Path) -> None:
    """Draw accuracy by the minutes that were really taken, a line for each trainer, as .svg or .png."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    matplotlib.rcParams["svg.hashsalt"] = "equal_time"  # the same figures give the same file
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for points in found:
        if results := list(points.values()):
            axes.plot([each.seconds / 60 for each in results], [each.accuracy for each in results], "o-", label=results[0].name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    ticks = sorted({minutes for points in found for minutes in points})
    axes.set_xticks(ticks, [f"{each:g}" for each in ticks])
    axes.minorticks_off()
    axes.set(xlabel="minutes of the whole command", ylabel="test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def rows_of(found: list[dict[float, Result]]) -> list[str]:
    """Return the lines of a table, each a trainer at one time."""
    return [
        f"| {minutes:g} | {result.name} | {result.epochs} | {result.seconds:.0f} | {result.accuracy:.4f} |"
        for minutes in sorted({minutes for points in found for minutes in points})
        for points in found
        if (result := points.get(minutes))
    ]


def peers_of(given: argparse.Namespace, images: Path, work: Path) -> list[Train]:
    """Return the other trainers whose clones were named."""
    trainers: list[Train] = []
    for trainer, script, model, flags in (
        (timm, given.timm and given.timm / "train.py", given.timm_model, given.timm_flags),
        (
            torchvision,
            given.vision and given.vision / "references/classification/train.py",
            given.vision_model,
            given.vision_flags,
        ),
    ):
        if script:

            def train(
                epochs: int | None,
                trainer: Callable[..., Result] = trainer,
                model: str = model,
                flags: str = flags,
                script: Path = script,
            ) -> Result:
                size, batch_size = given.size, given.batch_size
                return trainer(script.resolve(), images, model, size, epochs or 1, work, batch_size, flags.split())

            trainers.append(train)
    return trainers


def options() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("archive", type=Path)
    parser.add_argument(
        "--preset", nargs="+", action="append", help="with --minutes several times, for a line each (cifar10_small)"
    )
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128, help="batch size of the other trainers (128)")
    parser.add_argument("--timm", type=Path, help="a clone of pytorch-image-models")
    parser.add_argument("--timm-model", default="resnet18")
    has_bf16 = any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    half = "--amp --amp-dtype bfloat16" if has_bf16 else ""
    parser.add_argument("--timm-flags", default=half, help=f"further ones, such as a tuned --lr-base; here '{half}'")
    parser.add_argument("--vision", type=Path, help="a clone of pytorch/vision")
    parser.add_argument("--vision-model", default="resnet18")
    parser.add_argument("--vision-flags", default="", help="further ones; on a CPU it offers neither bfloat16 nor channels last")
    parser.add_argument("--minutes", type=float, nargs="+", help="times to compare at, such as 1 2 5 10 20")
    parser.add_argument("--chart", type=Path, help="also draw the curves: a .svg or .png file")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options()
    given = parser.parse_args(arguments)
    presets = given.preset or [["cifar10_small"]]
    if not given.minutes and (given.chart or len(presets) > 1):
        parser.error("--chart and several --preset need --minutes")
    archive = given.archive.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        with tarfile.open(archive) as tar:
            tar.extractall(work / "images", filter="data")
        peers = peers_of(given, work / "images", work)
        if given.minutes:
            ours: list[Train] = [lambda epochs, preset=preset: darkroom(archive, preset, work, epochs) for preset in presets]  # type: ignore[misc]
            found = curves([*ours, *peers], given.minutes)
        else:
            results = [darkroom(archive, presets[0], work)]
            for train in peers:
                # The time of one epoch includes start-up, which favours the others.
                results.append(train(math.ceil(results[0].seconds / train(1).seconds)))
            found = [{results[0].seconds / 60: results[0]}] + [{results[0].seconds / 60: each} for each in results[1:]]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {packages}\n")
    print("| minutes | trainer | epochs | seconds | test accuracy |\n|---|---|---|---|---|", *rows_of(found), sep="\n")
    if given.chart:
        draw(found, given.chart)


if __name__ == "__main__":
    main()
