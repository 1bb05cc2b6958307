"""What has to hold on a GPU, for benchmarks/gpu_steps.py: its tests, resuming, equal hashes, two processes on one device."""

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from airbench import prepare
from gpu_table import Row
from peers import ENVIRONMENT, ROOT
from workspaces import make_workspace

from darkroom.base.errors import Interrupted
from darkroom.base.nested import outputs_of
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

STAGES = ("download", "split", "train", "evaluate", "predict")


def tests(given: argparse.Namespace) -> Iterator[Row]:
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
    yield Row("tests that need a GPU", last, "", None, "all pass", done.returncode == 0 and "skipped" not in last)


def resume(given: argparse.Namespace) -> Iterator[Row]:
    """End a training by a signal within its second epoch, resume it, and compare its weights with those of one that was not."""
    for name, trainer in (("as it is", {}), ("trainer.deterministic", {"deterministic": True})):
        whole, again, resumed = (trained(given, trainer, interrupted=number == 2) for number in range(3))
        for what, other in (("twice", again), ("ended by a signal and resumed", resumed)):
            difference = max(float((whole[key].double() - other[key].double()).abs().max()) for key in whole)
            said = "the same bits" if difference == 0 else f"weights differ by up to {difference:.1e}"
            goal = "the same bits" if trainer else ""
            yield Row(
                f"a training {what}, {name}", said, f"{len(whole)} tensors", None, goal, difference == 0 if trainer else None
            )


def trained(given: argparse.Namespace, trainer: dict[str, Any], *, interrupted: bool) -> dict[str, Any]:
    """Return the weights after some epochs on the digits; on the way a signal may end it."""
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
    """Return a workspace for the digits on the device."""
    content = read_yaml(ROOT / "params.yaml")
    content["hardware"]["accelerator"] = given.device
    content["train"] |= {"epochs": 2 if given.tiny else 20, "trainer": trainer or {}}
    return make_workspace(given.work / name, content)


def run_stages(folder: Path, names: Iterable[str]) -> None:
    """Run stages in a workspace."""
    for name in names:
        subprocess.run([sys.executable, f"src/{name}.py"], cwd=folder, env=ENVIRONMENT, stdout=sys.stderr, check=True)


def hashes(given: argparse.Namespace) -> Iterator[Row]:
    """Run all stages in two workspaces at once, and compare what they wrote; if it differs, again with deterministic kernels."""
    for name, trainer in (("as it is", {}), ("train.trainer.deterministic", {"deterministic": True})):
        folders = [workspace(given, f"hashes-{bool(trainer)}-{number}", trainer) for number in range(2)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(run_stages, folders, [STAGES] * 2))
        written = [outputs(folder) for folder in folders]
        for each in STAGES:
            one, other = (found[each] for found in written)
            differing = sorted({path for path in one.keys() | other.keys() if one.get(path) != other.get(path)})
            said = f"{', '.join(differing[:4])}{' …' if len(differing) > 4 else ''} differ" if differing else "equal"
            yield Row(f"{each} twice, {name}: hashes", said, f"{len(one)} files", None, "equal", not differing)
        if written[0] == written[1]:
            break


def outputs(folder: Path) -> dict[str, dict[str, str]]:
    """Return the hash of every file that each stage writes."""
    stages = read_yaml(folder / "dvc.yaml")["stages"]
    found: dict[str, dict[str, str]] = {}
    for name in STAGES:
        places = [folder / path for path in outputs_of(stages[name])]
        files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
        found[name] = {path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in files}
    return found


def two(given: argparse.Namespace) -> Iterator[Row]:
    """Train once, and then twice at once."""
    first = workspace(given, "two-0")
    run_stages(first, STAGES[:2])
    others = [Path(shutil.copytree(first, given.work / f"two-{number}")) for number in (1, 2)]
    start = time.perf_counter()
    run_stages(first, ["train"])
    middle = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        list(pool.map(run_stages, others, [["train"]] * 2))
    apart, together = 2 * (middle - start), time.perf_counter() - middle
    scores = {re.sub(r"\s", "", (folder / "metrics" / "train.json").read_text()) for folder in (first, *others)}
    beside = f"twice the time of one: {apart:.1f}"
    yield Row(
        "two trainings of the digits on one device, s", f"{together:.1f}", beside, together / apart, "≤ 1.0", together <= apart
    )
    yield Row("their metrics", "equal" if len(scores) == 1 else f"{len(scores)} different ones")
