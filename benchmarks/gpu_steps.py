"""What gpu.sh measures, a function for each step: python benchmarks/gpu_steps.py STEP --work DIR [--tiny --device cpu].

Every step is a process of its own, which prints its rows of the table as soon as it has them.
"""

import argparse
import copy
import hashlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

from peers import ENVIRONMENT, ROOT, timm, timm_rate

sys.path.insert(0, str(ROOT / "src"))
STAGES = ("download", "split", "train", "evaluate", "predict")
NAMES = {"resnet50": "ResNet-50", "vit_small_patch16_224": "ViT-S"}
TINY = {"resnet50": "test_resnet", "vit_small_patch16_224": "test_vit"}
# What another setting than cifar10_fast's needs for 96 %: the widths, shifts and epochs of airbench96. It was not tuned.
FOR_96 = {
    "model": {
        "provider": "builtin",
        "name": "whitened_cnn",
        "pretrained": False,
        "kwargs": {"widths": [128, 384, 512]},
        "weights": None,
        "weights_sha256": None,
    },
    "epochs": 37,
    "lr": 1.2,
    "augment": [{"_target_": "AlternatingFlip"}, {"_target_": "RandomShift", "pixels": 4}],
}


def row(what: str, ours: str, beside: str = "", ratio: float | None = None, goal: str = "", met: bool | None = None) -> None:
    """Print a row of the table."""
    verdict = "" if met is None else " (met)" if met else " (missed)"
    print(f"| {what} | {ours} | {beside} | {'' if ratio is None else f'{ratio:.3f}'} | {goal}{verdict} |", flush=True)


def listed(values: list[float], digits: int) -> str:
    """Return all values."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


# CIFAR-10 in seconds


def cifar(given: argparse.Namespace, level: int) -> None:
    """Train cifar10_fast and airbench's own script in turns."""
    from airbench import alternate, settings

    is_drawn = given.tiny or not given.cifar
    archive = draw_archive(given.work / "drawn.tar", 24 if given.tiny else 6000) if is_drawn else given.cifar
    content = settings("cifar10_fast", archive.resolve(), given.device)
    content["train"] |= FOR_96 if level == 96 else {}
    if given.tiny:
        content["train"]["model"]["kwargs"] = {"widths": [8, 8, 8]}
        content["train"] |= {"epochs": 2, "batch_size": 64, "precision": "32-true"}
        content["split"]["val_fraction"] = 0.1
    script = given.airbench / "legacy" / f"airbench{level}.py" if given.airbench else None
    folder = given.work / "cifar"
    folder.mkdir(exist_ok=True)
    begun, runs = time.monotonic(), 2 if given.tiny else 5
    with redirect_stdout(sys.stderr):
        epochs = 2 if given.tiny else None
        found = alternate(content, folder, script, runs, seconds=0.9 * given.seconds - (time.monotonic() - begun), epochs=epochs)
    images = ", drawn images" if is_drawn else ""
    ours, theirs = ([[run[place] for run in runs] for place in (0, 1)] if runs else None for runs in found)
    assert ours
    what, name = f"CIFAR-10 to {level} %{images}, {len(ours[0])} runs", f"airbench{level}"
    medians = [statistics.median(each[1]) if each else None for each in (ours, theirs)]
    ratio = medians[0] / medians[1] if medians[1] else None
    mine = f"{medians[0]:.3f} ({listed(ours[1], 3)})"
    other = f"{name}: {medians[1]:.3f} ({listed(theirs[1], 3)})" if theirs else f"{name}: not given"
    row(f"{what}: seconds of the training, median (all)", mine, other, ratio, "≤ 1.0", None if ratio is None else ratio <= 1)
    means = [statistics.mean(each[0]) if each else None for each in (ours, theirs)]
    mine = f"{means[0]:.4f} ({listed(ours[0], 4)})"
    other = f"{name}: {means[1]:.4f} ({listed(theirs[0], 4)})" if theirs else f"{name}: not given"
    row(f"{what}: test accuracy, mean (all)", mine, other, None, f"≥ 0.{level}", means[0] >= level / 100)


def draw_archive(path: Path, each: int) -> Path:
    """Write images of CIFAR-10's shape, noise around a colour of each of ten classes, a sixth of them to test on."""
    import numpy as np
    from PIL import Image

    if path.exists():
        return path
    numbers = np.random.default_rng(0)
    colours = numbers.integers(40, 216, (10, 3))
    with tarfile.open(path, "w") as tar:
        for label, colour in enumerate(colours):
            for number in range(each):
                file = BytesIO()
                Image.fromarray(numbers.normal(colour, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)).save(file, "BMP")
                member = tarfile.TarInfo(f"{'test' if number < each // 6 else 'train'}/class{label}/{number:05d}.bmp")
                member.size = file.tell()
                file.seek(0)
                tar.addfile(member, file)
    return path


# Photos at 224 pixels


def draw_photos(given: argparse.Namespace) -> Path:
    """Fill train/ and test/ of a folder with JPEGs of 500 by 375 pixels in ten classes, if it is not there."""
    from predicting import draw_photos

    folder, each = given.work / "photos", 8 if given.tiny else 1024  # whole batches remain when validation has its share
    for split, count in (("train", each), ("test", max(2, each // 20))):
        for label in range(10):
            if not (folder / split / f"class{label}").exists():
                draw_photos(folder / split / f"class{label}", count, (120, 90) if given.tiny else (500, 375))
    return folder


def photos_content(given: argparse.Namespace, name: str, folder: Path) -> dict[str, Any]:
    """Return the content of params.yaml: bfloat16, compiled, JPEGs that are decoded anew in every epoch.

    One of the tiny networks is not compiled, which takes a minute of a core.
    """
    from darkroom.base.params_file import read_yaml

    content = read_yaml(ROOT / "params.yaml")
    content["download"] |= {"source": "folder", "dataset": None, "folder": str(folder), "resize": 256}
    content["split"] |= {"duplicates": "report", "near_distance": None, "val_fraction": 0.2 if given.tiny else 0.05}
    content["hardware"] |= {"accelerator": given.device, "cache_images": False, "watch": False}
    content["train"] |= {
        "model": {"provider": "timm", "name": TINY[name] if given.tiny else name, "pretrained": False, "kwargs": {}},
        **{"image_size": 160 if given.tiny else 224, "batch_size": given.batch, "epochs": 2 if given.tiny else 4},
        **{
            "precision": "bf16-mixed",
            "compile": compiles(given, name),
            "early_stopping": None,
            "scheduler": {"_target_": "OneCycleLR"},
        },
        "augment": [{"_target_": "RandomCropResize"}, "RandomFlip"],
        **{"lr": 0.001, "optimizer": {"_target_": "AdamW", "weight_decay": 0.05}},
    }
    return content


def compiles(given: argparse.Namespace, name: str) -> str | None:
    """Return the mode in which a network is compiled."""
    return None if given.tiny and name != "resnet50" else "default"


def photos(given: argparse.Namespace, name: str) -> None:
    """Train, evaluate and predict photos in bfloat16, compiled, and train on a batch that lies on the device."""
    import torch
    from airbench import prepare
    from step_overhead import ours

    from darkroom.base.params_file import check_params
    from darkroom.training.plan import make_plan

    folder = draw_photos(given)
    params = check_params(photos_content(given, name, folder))
    packed = given.work / "packed"
    packed.mkdir(exist_ok=True)
    with redirect_stdout(sys.stderr):
        pack, split = prepare(params, packed)
    plan = partial(make_plan, params, pack, split.rows["train"])
    what, batch = f"{NAMES[name]}, {params.train.image_size} px, bf16, compiled", params.train.batch_size
    rates = {}
    for kind in ("pack", "synthetic"):
        torch.compiler.reset()
        with mock.patch("darkroom.training.fit.make_repeating_loader", same_batch) if kind == "synthetic" else nullcontext():
            made = plan()
            rates[kind] = batch / ours(made, split, given.work / f"states-{name}-{kind}")
    (given.work / f"{name}.json").write_text(json.dumps(rates))
    ratio = rates["pack"] / rates["synthetic"]
    mine, beside = f"{rates['pack']:.1f}", f"one batch on the device: {rates['synthetic']:.1f}"
    row(f"{what}: training images/s from the pack of photos", mine, beside, ratio, "≥ 0.98", ratio >= 0.98)
    inference(given, what, made, pack, split.rows["train"])


def same_batch(batches: Any, order: Any, *_: Any, device: Any, **__: Any) -> Any:
    """Return a loader that yields one batch, which lies on the device, again and again."""
    from step_overhead import Always

    from darkroom.input.loaders import make_loader

    batch = {name: value.to(device) for name, value in batches[next(iter(order))].items()}
    return make_loader(Always(batch), order, readers=0)


def inference(given: argparse.Namespace, what: str, plan: Any, pack: Any, rows: Any) -> None:
    """Predict the pack as evaluate does, and files as predict does, beside the network alone on one batch."""
    import torch

    from darkroom.inference.photos import PhotoReader, Photos
    from darkroom.inference.predict import predict_photos, predict_rows
    from darkroom.inference.predictor import Predictor
    from darkroom.models.model_json import Card
    from darkroom.models.saving import Published

    params, seen = plan.params, plan.preprocessing
    card = Card.model_construct(task="multiclass", preprocessing=seen)
    predict_params = params.predict.model_copy(update={"batch_size": given.batch})
    paths = sorted((given.work / "photos" / "train").glob("*/*.jpg"))
    rates: dict[str, list[float]] = {}
    for precision, backend in (("32-true", "torch"), ("bf16-mixed", "torch.compile" if params.train.compile else "torch")):
        torch.compiler.reset()
        network = copy.deepcopy(plan.classifier.network).eval()
        predictor = Predictor(Published(network, card), params.hardware, backend=backend, precision=precision)
        batch = torch.zeros(given.batch, 3, seen.image_size, seen.image_size, dtype=torch.uint8, device=predictor.device)
        repeated = batch.to(memory_format=torch.channels_last)
        ways: dict[str, tuple[Callable[[], Any], int]] = {
            "alone": (partial(alone, predictor, repeated, len(rows) // given.batch), len(rows) // given.batch * given.batch),
            "evaluate": (partial(predict_rows, predictor, pack, rows, batch_size=given.batch), len(rows)),
            "predict": (
                lambda predictor=predictor: predict_photos(
                    predictor, Photos(paths, predict_params, PhotoReader.of(seen, predictor.preprocess))
                ),
                len(paths),
            ),
        }
        alone(predictor, repeated, 1)
        predict_rows(predictor, pack, rows[-(len(rows) % given.batch or given.batch) :], batch_size=given.batch)  # the last size
        for way, (run, count) in ways.items():
            start = time.perf_counter()
            run()
            rates.setdefault(way, []).append(count / (time.perf_counter() - start))
    for way, (full, half) in rates.items():
        title = {"alone": "the network alone", "evaluate": "evaluate, from the pack", "predict": "predict, from files"}[way]
        row(f"{what}: {title}, images/s", f"{half:.1f}", f"float32, not compiled: {full:.1f}", half / full)


def alone(predictor: Any, batch: Any, times: int) -> None:
    """Predict one batch again and again, and wait for the end."""
    import torch

    with torch.inference_mode():
        for _ in range(times):
            logits = predictor(batch)
        logits.cpu()


def beside_timm(given: argparse.Namespace, name: str) -> None:
    """Train with timm's train.py at its best flags; `photos` has to have run."""
    rates = json.loads((given.work / f"{name}.json").read_text())
    assert given.timm, "timm's train.py was not given"
    folder, epochs = draw_photos(given), 2 if given.tiny else 3
    model, size = (TINY[name], 160) if given.tiny else (name, 224)
    workers = min(16, len(os.sched_getaffinity(0)))
    more = (
        f"--device {given.device} --workers {workers} --pin-mem --amp --amp-dtype bfloat16 --torchcompile --opt-kwargs fused=True"
    )
    work = given.work / f"timm-{name}"
    work.mkdir(exist_ok=True)
    timm(given.timm / "train.py", folder, model, size, epochs, work, given.batch, more)
    rate = timm_rate(work, epochs)
    ratio = rates["pack"] / rate
    what = f"{NAMES[name]}, {size} px, bf16, compiled: training images/s"
    row(what, f"{rates['pack']:.1f}", f"timm's train.py: {rate:.1f}", ratio, "≥ 1.0", ratio >= 1)


# What has to hold


def tests(given: argparse.Namespace) -> None:
    """Run the tests that need a GPU."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        "tests/darkroom/training/test_gpu.py",
    ]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | {"GPU_TESTS_ON": given.device}, capture_output=True, text=True)
    print(done.stdout, done.stderr, file=sys.stderr)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "no output"
    row("tests that need a GPU", last, "", None, "all pass", done.returncode == 0 and "skipped" not in last)


def resume(given: argparse.Namespace) -> None:
    """End a training by a signal within its second epoch, resume it, and compare its weights with those of one that was not."""
    for name, trainer in (("as it is", {}), ("trainer.deterministic", {"deterministic": True})):
        whole, again, resumed = (trained(given, trainer, interrupted=number == 2) for number in range(3))
        for what, other in (("twice", again), ("ended by a signal and resumed", resumed)):
            difference = max(float((whole[key].double() - other[key].double()).abs().max()) for key in whole)
            said = "the same bits" if difference == 0 else f"weights differ by up to {difference:.1e}"
            goal = "the same bits" if trainer else ""
            row(f"a training {what}, {name}", said, f"{len(whole)} tensors", None, goal, difference == 0 if trainer else None)


def trained(given: argparse.Namespace, trainer: dict[str, Any], *, interrupted: bool) -> dict[str, Any]:
    """Return the weights after some epochs on the digits; on the way a signal may end it."""
    import tempfile

    from airbench import prepare

    from darkroom.base.errors import Interrupted
    from darkroom.base.params_file import check_params, read_yaml
    from darkroom.training.checkpoints.saved_states import StateStore
    from darkroom.training.fit import fit
    from darkroom.training.plan import make_plan

    content = read_yaml(ROOT / "params.yaml")
    content["hardware"] |= {"accelerator": given.device, "watch": False}
    content["train"] |= {"epochs": 3, "trainer": trainer, "early_stopping": None}
    params = check_params(content)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        pack, split = prepare(params, Path(folder))
        store = StateStore(Path(folder) / "states", {})
        for ends in [True, False] if interrupted else [False]:
            plan = make_plan(params, pack, split.rows["train"])
            step = plan.classifier.training_step

            def watched(batch: Any, batch_idx: int, step: Any = step, plan: Any = plan, ends: bool = ends) -> Any:
                if ends and plan.classifier.current_epoch == 1 and batch_idx == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                return step(batch, batch_idx)

            plan.classifier.training_step = watched  # type: ignore[method-assign]
            try:
                with store.held():
                    best = fit(plan, split, store)
                assert not ends, "the signal did not end the training"
            except Interrupted:
                assert ends
        weights: dict[str, Any] = best.weights
        return {name: value.cpu() for name, value in weights.items()}


def workspace(given: argparse.Namespace, name: str, trainer: dict[str, Any] | None = None) -> Path:
    """Return a folder with the code and parameters of this checkout, which needs no Git."""
    from ruamel.yaml import YAML

    from darkroom.base.params_file import read_yaml

    folder = given.work / name
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    for path in ("dvc.yaml", "data/corrections.csv"):
        shutil.copy(ROOT / path, folder / path)
    content = read_yaml(ROOT / "params.yaml")
    content["hardware"]["accelerator"] = given.device
    content["train"] |= {"epochs": 2 if given.tiny else 20, "trainer": trainer or {}}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
    return folder


def stage(folder: Path, name: str) -> None:
    """Run a stage in a workspace."""
    subprocess.run([sys.executable, f"src/{name}.py"], cwd=folder, env=ENVIRONMENT, stdout=sys.stderr, check=True)


def hashes(given: argparse.Namespace) -> None:
    """Run all stages in two workspaces, and compare what each has written."""
    for name, trainer in (("as it is", {}), ("train.trainer.deterministic", {"deterministic": True})):
        written = []
        for number in range(2):
            folder = workspace(given, f"hashes-{bool(trainer)}-{number}", trainer)
            for each in STAGES:
                stage(folder, each)
            written.append(outputs(folder))
        for each in STAGES:
            one, other = (found[each] for found in written)
            differing = sorted({path for path in one.keys() | other.keys() if one.get(path) != other.get(path)})
            said = f"{', '.join(differing[:4])}{' …' if len(differing) > 4 else ''} differ" if differing else "equal"
            row(f"{each} twice, {name}: hashes", said, f"{len(one)} files", None, "equal", not differing)
        if written[0] == written[1]:
            break


def outputs(folder: Path) -> dict[str, dict[str, str]]:
    """Return the hash of every file that each stage writes."""
    from darkroom.base.nested import outputs_of
    from darkroom.base.params_file import read_yaml

    stages = read_yaml(folder / "dvc.yaml")["stages"]
    found: dict[str, dict[str, str]] = {}
    for name in STAGES:
        places = [folder / path for path in outputs_of(stages[name])]
        files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
        found[name] = {path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in files}
    return found


def two(given: argparse.Namespace) -> None:
    """Train twice one after the other, and at once."""
    folders = [workspace(given, f"two-{number}") for number in range(4)]
    for folder in folders:
        for each in ("download", "split"):
            stage(folder, each)
    start = time.perf_counter()
    for folder in folders[:2]:
        stage(folder, "train")
    middle = time.perf_counter()
    command = [sys.executable, "src/train.py"]
    begun = [subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=sys.stderr) for folder in folders[2:]]
    assert [process.wait() for process in begun] == [0, 0]
    apart, together = middle - start, time.perf_counter() - middle
    scores = {re.sub(r"\s", "", (folder / "metrics" / "train.json").read_text()) for folder in folders}
    beside = f"one after the other: {apart:.1f}"
    row("two trainings of the digits on one device, s", f"{together:.1f}", beside, together / apart, "≤ 1.0", together <= apart)
    row("their metrics", "equal" if len(scores) == 1 else f"{len(scores)} different ones")


MEASURED: dict[str, Callable[[argparse.Namespace], None]] = {
    "tests": tests,
    "resume": resume,
    "hashes": hashes,
    "two": two,
    "cifar94": partial(cifar, level=94),
    "cifar96": partial(cifar, level=96),
    **{f"photos-{name}": partial(photos, name=name) for name in NAMES},
    **{f"timm-{name}": partial(beside_timm, name=name) for name in NAMES},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all steps take."""
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that say nothing, to try the steps")
    parser.add_argument("--cifar", type=Path, help="archive with train/ and test/, a folder per class; without: images are drawn")
    parser.add_argument("--airbench", type=Path, help="a clone of KellerJordan/cifar10-airbench")
    parser.add_argument("--timm", type=Path, help="a clone of pytorch-image-models")


def main() -> None:
    """Measure one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("step", choices=MEASURED)
    parser.add_argument("--work", type=Path, required=True, help="folder that the steps share")
    parser.add_argument("--seconds", type=float, default=600, help="time that the step has")
    add_arguments(parser)
    given = parser.parse_args()
    given.batch = 8 if given.tiny else 256
    given.work = given.work.resolve()
    warnings.simplefilter("ignore")
    MEASURED[given.step](given)


if __name__ == "__main__":
    main()
