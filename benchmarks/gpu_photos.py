"""Photos at 224 pixels, for benchmarks/gpu_steps.py: training beside timm's train.py and beside one batch, evaluate, predict."""

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from airbench import prepare
from gpu_table import Row
from peers import ROOT, timm, timm_rate
from predicting import draw_photos
from step_overhead import Always, ours

from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.inference.photos import PhotoReader, Photos
from darkroom.inference.predict import predict_photos, predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.input.loaders import make_loader
from darkroom.models.model_json import Card
from darkroom.models.saving import Published
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan

NAMES = {"resnet50": "ResNet-50", "vit_small_patch16_224": "ViT-S"}
FAST = ("torch.compile", "bf16-mixed")
TINY = {"resnet50": "test_resnet", "vit_small_patch16_224": "test_vit"}


def photos_folder(given: argparse.Namespace) -> Path:
    """Fill train/ and test/ of a folder with JPEGs of 500 by 375 pixels in ten classes, if it is not there."""
    folder, each = given.work / "photos", 8 if given.tiny else 512  # whole batches remain when validation has its share
    for split, count in (("train", each), ("test", max(2, each // 20))):
        for label in range(10):
            if not (folder / split / f"class{label}").exists():
                draw_photos(folder / split / f"class{label}", count, (120, 90) if given.tiny else (500, 375))
    return folder


def photos_content(given: argparse.Namespace, name: str, folder: Path) -> dict[str, Any]:
    """Return the content of params.yaml: bfloat16, compiled, JPEGs that are decoded anew in every epoch.

    One of the tiny networks is not compiled, which takes a minute of a core.
    """
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


def data(given: argparse.Namespace, params: Params) -> tuple[Pack, Split]:
    """Pack the photos, if they are not yet."""
    packed = given.work / "packed"
    packed.mkdir(exist_ok=True)
    with redirect_stdout(sys.stderr):
        return prepare(params, packed)


def ready(given: argparse.Namespace) -> Iterator[Row]:
    """Draw and pack the photos, and compile the networks once, both at once: later steps find it in torch's cache."""
    data(given, check_params(photos_content(given, "resnet50", photos_folder(given))))
    start = time.perf_counter()
    commands = [[sys.executable, sys.argv[0], f"compile-{name}", *sys.argv[2:]] for name in NAMES]
    begun = [subprocess.Popen(command, stdout=sys.stderr) for command in commands]
    assert [process.wait() for process in begun] == [0] * len(begun)
    yield Row("compiling both networks at once, s", f"{time.perf_counter() - start:.1f}")


def compile_first(given: argparse.Namespace, name: str) -> Iterator[Row]:
    """Train for two steps, and predict one batch."""
    content = photos_content(given, name, photos_folder(given))
    content["train"] |= {"epochs": 1, "trainer": {"limit_train_batches": 2, "limit_val_batches": 1}}
    params = check_params(content)
    pack, split = data(given, params)
    plan, store = make_plan(params, pack, split.rows["train"]), StateStore(given.work / f"states-{name}", {})
    with store.held(), redirect_stdout(sys.stderr):
        fit(plan, split, store)
        predict_rows(make_predictor(plan, *FAST), pack, split.rows["train"][: given.batch], batch_size=given.batch)
    yield from ()


def photos(given: argparse.Namespace, name: str) -> Iterator[Row]:
    """Train, evaluate and predict photos in bfloat16, compiled, and train on a batch that lies on the device."""
    params = check_params(photos_content(given, name, photos_folder(given)))
    pack, split = data(given, params)
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
    yield Row(f"{what}: training images/s from the pack of photos", mine, beside, ratio, "≥ 0.98", ratio >= 0.98)
    yield from inference(given, what, made, pack, split.rows["train"])


def same_batch(batches: Any, order: Any, *_: Any, device: Any, **__: Any) -> Any:
    """Return a loader that yields one batch, which lies on the device, again and again."""
    batch = {name: value.to(device) for name, value in batches[next(iter(order))].items()}
    return make_loader(Always(batch), order, readers=0)


def inference(given: argparse.Namespace, what: str, plan: Plan, pack: Pack, rows: Rows) -> Iterator[Row]:
    """Predict the pack as evaluate does, and files as predict does, beside the network alone on one batch."""
    params, seen = plan.params, plan.preprocessing
    predict_params = params.predict.model_copy(update={"batch_size": given.batch})
    paths = sorted((given.work / "photos" / "train").glob("*/*.jpg"))
    rates: dict[str, list[float]] = {}
    for backend, precision in (("torch", "32-true"), FAST):
        torch.compiler.reset()
        predictor = make_predictor(plan, backend, precision)
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
        yield Row(f"{what}: {title}, images/s", f"{half:.1f}", f"float32, not compiled: {full:.1f}", half / full)


def make_predictor(plan: Plan, backend: str, precision: str) -> Predictor:
    """Return the predictor of evaluate and predict; where a plan's network was not compiled, it is not either."""
    network = copy.deepcopy(plan.classifier.network).eval()
    card = Card.model_construct(task="multiclass", preprocessing=plan.preprocessing)
    backend = backend if plan.params.train.compile else "torch"
    return Predictor(Published(network, card), plan.params.hardware, backend=backend, precision=precision)


def alone(predictor: Predictor, batch: torch.Tensor, times: int) -> None:
    """Predict one batch again and again, and wait for the end."""
    with torch.inference_mode():
        for _ in range(times):
            logits = predictor(batch)
        logits.cpu()


def beside_timm(given: argparse.Namespace, name: str) -> Iterator[Row]:
    """Train with timm's train.py at its best flags; `photos` has to have run."""
    rates = json.loads((given.work / f"{name}.json").read_text())
    assert given.timm, "timm's train.py was not given"
    folder, epochs = photos_folder(given), 2 if given.tiny else 3
    model, size = (TINY[name], 160) if given.tiny else (name, 224)
    workers = min(16, len(os.sched_getaffinity(0)))
    more = (
        f"--device {given.device} --workers {workers} --pin-mem --amp --amp-dtype bfloat16 --torchcompile --opt-kwargs fused=True"
    )
    work = given.work / f"timm-{name}"
    work.mkdir(exist_ok=True)
    timm(given.timm / "train.py", folder, model, size, epochs, work, given.batch, more.split())
    rate = timm_rate(work, epochs)
    ratio = rates["pack"] / rate
    what = f"{NAMES[name]}, {size} px, bf16, compiled: training images/s"
    yield Row(what, f"{rates['pack']:.1f}", f"timm's train.py: {rate:.1f}", ratio, "≥ 1.0", ratio >= 1)
