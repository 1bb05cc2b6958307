"""Measure the overhead of a training step over a plain PyTorch loop: python benchmarks/step_overhead.py [--rounds 5].

The same network, images, order, augmentation, optimizer and schedule are trained by a loop of ten lines, by Lightning's Trainer
with all optional features off, and by the train stage's `fit`, with logging, metrics and checkpoints. The cases are the default
network on images of 8 pixels and a ResNet-18 on images of 32. The three alternate. The table shows the median of seconds per
step, without start-up and validation.

With `--accelerator cuda` there is also a ResNet-50 at 224 pixels in bfloat16. There the two other loops show what the GPU can do:
they repeat one batch that lies in its memory.
"""

import argparse
import io
import logging
import platform
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
import pytorch_lightning as pl
import torch

from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.images import Decoded
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.hardware.devices import choose_device
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader
from darkroom.input.samplers import ShuffledBatchSampler
from darkroom.sources.pack_writer import write_pack
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan

CASES: dict[str, dict[str, Any]] = {
    "the default network, 8 px": {"images": (1437, 8, 1), "epochs": 10, "train": {}},
    "ResNet-18, 32 px": {
        "images": (1280, 32, 3),
        "epochs": 2,
        "train": {"model": {"provider": "torchvision", "name": "resnet18", "pretrained": False, "kwargs": {}}, "image_size": 32},
    },
}
ON_GPU: dict[str, dict[str, Any]] = {
    "ResNet-50, 224 px, bf16-mixed": {
        "images": (5120, 224, 3),
        "epochs": 3,
        "train": {
            "model": {"provider": "torchvision", "name": "resnet50", "pretrained": False, "kwargs": {}},
            "image_size": 224,
            "batch_size": 256,
            "precision": "bf16-mixed",
        },
    },
}


class Clock(pl.Callback):
    """Measures the seconds of the epochs after the first, without validation."""

    def __init__(self) -> None:
        self.seconds, self.steps, self._since = 0.0, 0, 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Stop the clock after the last step of an epoch."""
        if trainer.current_epoch and trainer.is_last_batch:
            wait(trainer.strategy.root_device)
            self.seconds += time.perf_counter() - self._since
            self.steps += batch_idx + 1


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_batches(plan: Plan, pack: Pack, device: torch.device) -> Any:
    """Return batches by key; on a GPU always the same batch, in its memory."""
    seen = plan.preprocessing
    batches = ImageDataset(pack, image_size=seen.image_size, channels=seen.channels, transforms=plan.images.transforms)
    if device.type == "cpu":
        return batches
    first = batches[0, np.arange(plan.params.train.batch_size)]
    same: Any = {name: value.to(device) for name, value in first.items()}  # type: ignore[attr-defined]
    return Always(same)


class Always(torch.utils.data.Dataset[Any]):
    """The same batch for every key."""

    def __init__(self, batch: Any):
        self.batch = batch

    def __getitem__(self, key: Any) -> Any:
        return self.batch


def make_images(folder: Path, count: int, side: int, channels: int) -> tuple[Pack, Split]:
    """Pack images of noise in ten classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)

    def read(number: int) -> tuple[Any, int]:
        return Decoded(pixels[number] if channels == 3 else pixels[number, ..., 0]), number % 10

    items = [Item(f"{number:06d}", "train", lambda number=number: read(number)) for number in range(count)]
    listing = Listing("noise", items, lambda _: [str(label) for label in range(10)], {"source": "noise"})
    folder.mkdir()
    write_pack(listing, folder, check_params(read_yaml(ROOT / "params.yaml")).download)
    rows = np.arange(count)
    return Pack.open(folder), Split([str(label) for label in range(10)], {"train": rows, "val": rows[:10], "test": rows[:0]}, "")


def ours(plan: Plan, split: Split, folder: Path) -> float:
    """Return the seconds of a step of the train stage."""
    clock = Clock()
    store = StateStore(folder, {})
    make_trainer = pl.Trainer.__init__

    def with_clock(self: pl.Trainer, *arguments: Any, callbacks: list[pl.Callback], **named: Any) -> None:
        make_trainer(self, *arguments, callbacks=[*callbacks, clock], **named)

    pl.Trainer.__init__ = with_clock  # type: ignore[method-assign]
    try:
        with store.held(), redirect_stdout(io.StringIO()):  # its progress lines do not belong in the table
            fit(plan, split, store)
    finally:
        pl.Trainer.__init__ = make_trainer  # type: ignore[method-assign]
    return clock.seconds / clock.steps


def plain(plan: Plan, pack: Pack, split: Split) -> float:
    """Return the seconds of a step of a plain loop."""
    train, classifier, device = plan.params.train, plan.classifier, choose_device(plan.params.hardware)
    order = ShuffledBatchSampler(split.rows["train"], batch_size=train.batch_size, seed=0)
    batches = make_batches(plan, pack, device)
    network = classifier.network.train().to(device)
    optimizer = classifier.objective.make_optimizer(network)
    scheduler: Any = classifier.objective.make_scheduler(optimizer, train.epochs * len(order))
    seconds, steps = 0.0, 0
    for epoch in range(train.epochs):
        order.set_epoch(epoch)
        start = time.perf_counter()
        for key in order:
            batch = batches[key]
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16-mixed"):
                loss = classifier.objective.loss(network(batch["images"]), batch["labels"])
            loss.backward()
            optimizer.step()
            scheduler.step()
        wait(device)
        if epoch:
            seconds += time.perf_counter() - start
            steps += len(order)
    return seconds / steps


class Bare(pl.LightningModule):
    """A LightningModule that does what the plain loop does."""

    def __init__(self, plan: Plan, steps: int):
        super().__init__()
        self.network, self.steps, self.objective = plan.classifier.network, steps, plan.classifier.objective

    def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002
        """Return the loss."""
        return self.objective.loss(self.network(batch["images"]), batch["labels"])

    def configure_optimizers(self) -> Any:
        """Return the same optimizer and schedule."""
        optimizer = self.objective.make_optimizer(self.network)
        return [optimizer], [{"scheduler": self.objective.make_scheduler(optimizer, self.steps), "interval": "step"}]


def lightning(plan: Plan, pack: Pack, split: Split) -> float:
    """Return the seconds of a step of Lightning alone."""
    train, clock = plan.params.train, Clock()
    order = ShuffledBatchSampler(split.rows["train"], batch_size=train.batch_size, seed=0)
    device = choose_device(plan.params.hardware)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(
        max_epochs=train.epochs,
        accelerator=device.type,
        devices=1,
        precision=train.precision,  # type: ignore[arg-type]
        callbacks=[clock],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **off,  # type: ignore[arg-type]
    )
    trainer.fit(Bare(plan, train.epochs * len(order)), make_loader(make_batches(plan, pack, device), order, readers=0))
    return clock.seconds / clock.steps


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accelerator", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    rounds, on_gpu = given.rounds, given.accelerator == "cuda"
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    card = f"{torch.cuda.get_device_name()}, " if on_gpu else ""
    print(f"{card}{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| network | plain loop, ms | Lightning alone, ms | Darkroom, ms | Lightning, ratio | Darkroom, ratio |")
    print("|---|---|---|---|---|---|")
    for name, case in (CASES | (ON_GPU if on_gpu else {})).items():
        content = read_yaml(ROOT / "params.yaml")
        content["train"] |= {"epochs": case["epochs"], "early_stopping": None, "scheduler": {"_target_": "OneCycleLR"}}
        content["train"] |= case["train"]
        content["hardware"] |= {"accelerator": given.accelerator}
        params: Params = check_params(content)
        with tempfile.TemporaryDirectory() as folder:
            pack, split = make_images(Path(folder, "raw"), *case["images"])
            plan = partial(make_plan, params, pack, split.rows["train"])
            rows = [
                (plain(plan(), pack, split), lightning(plan(), pack, split), ours(plan(), split, Path(folder, str(number))))
                for number in range(rounds)
            ]
        each = [f"{1000 * statistics.median(column):.2f}" for column in zip(*rows, strict=True)]
        ratios = [f"{statistics.median(row[place] / row[0] for row in rows):.2f}" for place in (1, 2)]
        print(f"| {name} | {' | '.join([*each, *ratios])} |", flush=True)


if __name__ == "__main__":
    main()
