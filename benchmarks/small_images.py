"""Compare training on images of 32 pixels with typical Lightning code: python benchmarks/small_images.py [--rounds 5].

Typical code is a LightningModule that logs loss and accuracy (torchmetrics) in every step, with progress bar, CSV logger,
checkpoints and learning rate monitor, on torchvision's CIFAR10 with its transforms in a DataLoader. Darkroom is the train stage's
`fit`. Both train the same network with batches of 128, crops of the padded image and flips, SGD and the same schedule, in the
same precision, on noise in ten classes; they alternate. The table shows the median of images per second of the second epoch,
without validation. The loaders are also measured alone; Darkroom's yields uint8, which the network normalises.
"""

import argparse
import io
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from step_overhead import ROOT, Clock, make_images, ours
from torch import nn
from torch.utils.data import DataLoader

from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.hardware.devices import is_fast_at_bf16
from darkroom.hardware.memory import keep_freed_memory
from darkroom.input.dataset import ImageDataset
from darkroom.input.in_memory import make_repeating_loader
from darkroom.input.samplers import ShuffledBatchSampler
from darkroom.models.preprocessing import Normalized
from darkroom.training.plan import Plan, make_plan

BATCH, SIDE, EPOCHS = 128, 32, 2
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
# Network, and number of images in an epoch.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "ResNet-20": ({"_target_": "small_images.resnet20"}, 24 * BATCH),
    "ResNet-18": ({"provider": "torchvision", "name": "resnet18", "pretrained": False, "kwargs": {}}, 8 * BATCH),
}


def resnet20(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Return the ResNet-20 for CIFAR of He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2, with projections."""
    from torchvision.models.resnet import BasicBlock

    layers: list[nn.Module] = [nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    before = 16
    for width in (16, 32, 64):
        for number in range(3):
            stride = 2 if number == 0 and width > before else 1
            projection = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            layers.append(BasicBlock(before, width, stride, projection if before != width else None))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


def usual_data(pack: Pack) -> Any:
    """Return the images as torchvision's CIFAR10, with the usual transforms for it."""
    from torchvision import transforms
    from torchvision.datasets import CIFAR10

    dataset = CIFAR10.__new__(CIFAR10)  # keeps its __getitem__, but needs no download
    dataset.data, dataset.targets = pack.batch(torch.arange(len(pack)).numpy()), pack.labels.tolist()
    steps = (transforms.RandomCrop(SIDE, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor())
    dataset.transform, dataset.target_transform = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]), None
    return dataset


class Usual(pl.LightningModule):
    """A LightningModule as in documentation and courses."""

    def __init__(self, plan: Plan, steps: int):
        super().__init__()
        from torchmetrics.classification import MulticlassAccuracy

        self.network, self.plan, self.steps = plan.classifier.network.network, plan.classifier, steps
        self.accuracy, self.val_accuracy = MulticlassAccuracy(10), MulticlassAccuracy(10)

    def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002
        """Return the loss."""
        images, labels = batch
        logits = self.network(images)
        loss = nn.functional.cross_entropy(logits, labels)
        self.accuracy(logits, labels)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_accuracy", self.accuracy, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Log the accuracy."""
        self.val_accuracy(self.network(batch[0]), batch[1])
        self.log("val_accuracy", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Return the same optimizer and schedule as Darkroom's."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=self.steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def usual(plan: Plan, pack: Pack, folder: Path, workers: int) -> float:
    """Return the seconds of a step of typical Lightning code."""
    from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
    from pytorch_lightning.loggers import CSVLogger

    clock, dataset = Clock(), usual_data(pack)
    make = partial(DataLoader, dataset, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    few = DataLoader(torch.utils.data.Subset(dataset, range(10)), batch_size=BATCH)
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        precision=plan.params.train.precision,  # type: ignore[arg-type]
        callbacks=[clock, LearningRateMonitor("step"), ModelCheckpoint(folder, monitor="val_accuracy", mode="max")],
        logger=CSVLogger(folder),
        num_sanity_val_steps=0,
    )
    steps = EPOCHS * len(pack) // BATCH
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        trainer.fit(Usual(plan, steps), make(shuffle=True), few)
    return clock.seconds / clock.steps


def usual_loader(pack: Pack) -> Callable[[int], Iterable[Any]]:
    """Return a function that yields the batches of an epoch from torchvision's data set."""
    made = DataLoader(usual_data(pack), batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    return lambda _: made


def our_loader(plan: Plan, pack: Pack, split: Split, finish: Callable[[torch.Tensor], Any]) -> Callable[[int], Iterable[Any]]:
    """Return a function that yields the batches of an epoch, each passed through `finish`."""
    order = ShuffledBatchSampler(split.rows["train"], batch_size=BATCH, seed=0)
    batches = ImageDataset(pack, image_size=SIDE, channels=3, transforms=plan.images.transforms)
    loader = make_repeating_loader(batches, order, plan.params.hardware, device=torch.device("cpu"))

    def epoch(number: int) -> Iterable[Any]:
        order.set_epoch(number)
        return (finish(batch["images"]) for batch in loader)

    return epoch


def speed(epoch: Iterable[Any], count: int) -> float:
    """Return images per second in one pass."""
    start = time.perf_counter()
    for _ in epoch:
        pass
    return count / (time.perf_counter() - start)


def plan_of(model: dict[str, Any], precision: str, pack: Pack, split: Split) -> Plan:
    """Return the training plan of Darkroom."""
    content = read_yaml(ROOT / "params.yaml")
    content["base"]["allow_targets"] = ["small_images"]
    content["hardware"] |= {"accelerator": "cpu"}
    content["train"] |= {
        **{"model": model, "image_size": SIDE, "batch_size": BATCH, "epochs": EPOCHS, "precision": precision, "lr": 0.1},
        **{"optimizer": {"_target_": "SGD", "momentum": 0.9, "weight_decay": 5e-4}, "scheduler": {"_target_": "OneCycleLR"}},
        **{"augment": [{"_target_": "RandomShift", "pixels": 4}, "RandomFlip"], "early_stopping": None},
    }
    return make_plan(check_params(content), pack, split.rows["train"])


def compare(name: str, ways: dict[str, Callable[[int], float]], rounds: int) -> None:
    """Print the images per second of several ways, as functions of the round, and their ratios to the first."""
    speeds = {who: list[float]() for who in ways}
    for number in range(rounds):
        for who, way in ways.items():
            speeds[who].append(way(number))
    first = next(iter(speeds.values()))
    for who, values in speeds.items():
        ratio = statistics.median(own / other for own, other in zip(values, first, strict=True))
        each = ", ".join(f"{value:.0f}" for value in values)
        print(f"| {name} | {who} | {statistics.median(values):.0f} ({each}) | {ratio:.2f} |", flush=True)


def compare_loaders(pack: Pack, split: Split, rounds: int) -> None:
    """Print the rows of the loaders."""
    plan = plan_of(CASES["ResNet-20"][0], "32-true", pack, split)

    def way(epoch: Callable[[int], Iterable[Any]]) -> Callable[[int], float]:
        deque(epoch(0), maxlen=0)  # starts the workers and caches the images
        return lambda number: speed(epoch(1 + number), len(pack))

    ways = {
        "torchvision, two workers": usual_loader(pack),
        "Darkroom": our_loader(plan, pack, split, nn.Identity()),
        "Darkroom, normalised": our_loader(plan, pack, split, Normalized(nn.Identity(), plan.preprocessing)),
    }
    compare("loader", {who: way(epoch) for who, epoch in ways.items()}, rounds)


def darkroom(name: str, precision: str, pack: Pack, split: Split) -> float:
    """Return Darkroom's images per second."""
    with tempfile.TemporaryDirectory() as folder:
        return BATCH / ours(plan_of(CASES[name][0], precision, pack, split), split, Path(folder, "state"))


def compare_trainings(name: str, precision: str, pack: Pack, split: Split, rounds: int, process: Executor) -> None:
    """Print the rows of one network in one precision."""
    plan = partial(plan_of, CASES[name][0], precision, pack, split)

    def usually(number: int, workers: int) -> float:  # noqa: ARG001
        with tempfile.TemporaryDirectory() as folder:
            return BATCH / usual(plan(), pack, Path(folder), workers)

    ways = {
        "Lightning, typical code": partial(usually, workers=0),
        "the same, two workers": partial(usually, workers=2),
        "Darkroom": lambda _: process.submit(darkroom, name, precision, pack, split).result(),
    }
    compare(f"{name}, {precision}", ways, rounds)


def be_quiet() -> None:
    """Keep warnings of Lightning out of the table."""
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


def prepare() -> None:
    """Set up the process of Darkroom as the train stage does."""
    be_quiet()
    keep_freed_memory()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("networks", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)} (all)")
    options = parser.parse_args()
    rounds = options.rounds
    be_quiet()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    print("| what | by | images/s: median (all) | ratio |\n|---|---|---|---|")
    precisions = ["32-true", *(["bf16-mixed"] if is_fast_at_bf16(torch.device("cpu")) else [])]
    # In its own process with the train stage's memory settings; the others use the defaults of the C library.
    alone = ProcessPoolExecutor(1, get_context("spawn"), prepare)
    with alone as process, tempfile.TemporaryDirectory() as folder:
        packs = {name: make_images(Path(folder, name), CASES[name][1], SIDE, 3) for name in options.networks}
        compare_loaders(*next(iter(packs.values())), rounds)
        for name, images in packs.items():
            for precision in precisions:
                compare_trainings(name, precision, *images, rounds, process)


if __name__ == "__main__":
    main()
