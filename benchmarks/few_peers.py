"""Other trainers that fine-tune a pretrained network on few photos, each as its documentation says, from weights in a file."""

import argparse
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peers import ENVIRONMENT

# Nothing is looked up: there is no network.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
SIZE, BATCH = 224, 20
# A run is given up after so many times its seconds, and a minute and a half.
PATIENCE, MORE = 3.0, 90.0
# Photos in the epochs from which the time of one is reckoned.
ENOUGH = 720

# The time limit is that of `fit`; start-up and tested photos come on top of it.
AUTOGLUON = """
import sys
from pathlib import Path
import pandas
from autogluon.multimodal import MultiModalPredictor
folder, weights, seconds, output = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
def table(split):
    paths = sorted((folder / split).glob("*/*"))
    return pandas.DataFrame({"image": [str(path) for path in paths], "label": [path.parent.name for path in paths]})
predictor = MultiModalPredictor(label="label", problem_type="multiclass", presets="medium_quality", path=output)
ours = {"model.names": ["timm_image"], "model.timm_image.checkpoint_name": weights, "env.num_gpus": 0,
        "model.timm_image.image_norm": "inception", "env.precision": "32"}
predictor.fit(table("train"), time_limit=seconds, hyperparameters=ours, seed=0)
print("accuracy", predictor.evaluate(table("test"), metrics=["acc"])["acc"])
"""
# fine_tune: an epoch of the head, then all layers. It wants a photo to validate on; a copy of one leaves it all to train on.
FASTAI = """
import sys
from pathlib import Path
import timm
from fastai.vision.all import *
folder, name, weights, epochs, batch = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
set_seed(0)
paths = get_image_files(folder / "train")
blocks = DataBlock(blocks=(ImageBlock, CategoryBlock), get_y=parent_label, splitter=IndexSplitter([len(paths)]),
                   item_tfms=Resize(256), batch_tfms=aug_transforms(size=224))
loaders = blocks.dataloaders([*paths, paths[0]], bs=batch, num_workers=2)
learner = vision_learner(loaders, name, metrics=accuracy, pretrained_cfg_overlay={"file": weights})
with learner.no_bar(), learner.no_logging():
    learner.fine_tune(epochs)
    tested = get_image_files(folder / "test")
    found, labels = learner.get_preds(dl=learner.dls.test_dl(tested, with_labels=True))
print("accuracy", float((found.argmax(1) == labels.flatten()).float().mean()))
"""


class Result(NamedTuple):
    """One training: its epochs, where they are known, seconds of all of it, accuracy on the tested photos."""

    epochs: str
    seconds: float
    accuracy: float


@dataclass(frozen=True)
class Peer:
    """Another trainer.

    Attributes
    ----------
    name
        As the table says it.
    run
        Trains on train/ of a folder within so many seconds, and tests test/; None: it was given up.
    """

    name: str
    run: Callable[[Path, float], Result | None]


def started(commands: list[list[str]], log: Path, most: float) -> float | None:
    """Run commands one after the other, with their output in a file; return their seconds, None if they take more than `most`."""
    start = time.perf_counter()
    with log.open("w") as file:
        for command in commands:
            left = most - (time.perf_counter() - start)
            try:
                status = subprocess.run(
                    command,
                    env=ENVIRONMENT | OFFLINE,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=max(left, 1),
                    cwd=log.parent,
                ).returncode
            except subprocess.TimeoutExpired:
                return None
            if status:
                print(f"{' '.join(command)[:300]} failed:\n{log.read_text()[-3000:]}", file=sys.stderr)
                return None
    return time.perf_counter() - start


def accuracy_in(log: Path) -> float:
    """Return the accuracy that a trainer printed last."""
    return float(re.findall(r"^accuracy ([\d.]+)", log.read_text(errors="replace"), re.MULTILINE)[-1])


def autogluon(python: Path, weights: Path, work: Path, folder: Path, seconds: float) -> Result | None:
    """Run AutoGluon's image predictor with its preset for small networks."""
    log = work / f"autogluon-{folder.name}.log"
    output = work / f"autogluon-{folder.name}"
    spent = started(
        [[str(python), "-c", AUTOGLUON, str(folder), str(weights), str(seconds), str(output)]], log, PATIENCE * seconds + MORE
    )
    return Result("", spent, accuracy_in(log)) if spent else None


def fastai(python: Path, weights: Path, network: str, work: Path, folder: Path, seconds: float) -> Result | None:
    """Run fastai's vision_learner and fine_tune, for as many epochs as fit."""
    log = work / f"fastai-{folder.name}.log"
    file = str(weights / "pytorch_model.bin")

    def trained(epochs: int) -> float | None:
        command = [str(python), "-c", FASTAI, str(folder), network, file, str(epochs), str(BATCH)]
        return started([command], log, PATIENCE * seconds + MORE)

    return in_time(trained, lambda: accuracy_in(log), seconds, of_photos(folder))


def timm(clone: Path, weights: Path, network: str, work: Path, folder: Path, seconds: float) -> Result | None:
    """Run timm's train.py from the weights, and validate.py on test/, for as many epochs as fit."""
    log, found = work / f"timm-{folder.name}.log", work / f"timm-{folder.name}.json"
    classes = len(list((folder / "train").iterdir()))

    def trained(epochs: int) -> float | None:
        output = work / f"timm-{folder.name}-{epochs}"
        flags = (
            f"--data-dir {folder} --train-split train --val-split train --val-interval {epochs} --num-classes {classes} "
            f"--model {network} --pretrained --pretrained-path {weights / 'pytorch_model.bin'} --input-size 3 {SIZE} {SIZE} "
            f"--epochs {epochs} --sched cosine --warmup-epochs {min(1, epochs - 1)} --cooldown-epochs 0 --opt adamw --lr 0.0005 "
            f"--weight-decay 0.05 --smoothing 0.1 --batch-size {BATCH} --scale 0.35 1.0 --color-jitter 0 --channels-last "
            f"--device cpu --workers 2 --checkpoint-hist 1 --output {output} --experiment run"
        )
        tested = (
            f"--data-dir {folder} --split test --num-classes {classes} --model {network} --checkpoint {output}/run/last.pth.tar "
            f"--input-size 3 {SIZE} {SIZE} --crop-pct 1.0 --device cpu --workers 2 --batch-size 64 --results-file {found} "
            "--results-format json"
        )
        commands = [[sys.executable, str(clone / "train.py"), *flags.split()]]
        commands.append([sys.executable, str(clone / "validate.py"), *tested.split()])
        return started(commands, log, PATIENCE * seconds + MORE)

    def accuracy() -> float:
        content = json.loads(found.read_text())
        return float((content[0] if isinstance(content, list) else content)["top1"]) / 100

    return in_time(trained, accuracy, seconds, of_photos(folder))


def of_photos(folder: Path) -> int:
    """Return the number of photos in train/."""
    return len(list((folder / "train").glob("*/*")))


def in_time(trained: Callable[[int], float | None], accuracy: Callable[[], float], seconds: float, photos: int) -> Result | None:
    """Train for as many epochs as fit, rounded up, reckoned from a run of one epoch and one of more.

    Those of few photos are short, so that there are more of them: noise would make them shorter still, and their number large.
    """
    more = max(3, 1 + math.ceil(ENOUGH / photos))
    one = trained(1)
    several = trained(more) if one else None
    if one is None or several is None:
        return None
    epoch = max(0.05, (several - one) / (more - 1))
    epochs = max(1, 1 + math.ceil((seconds - one) / epoch))
    spent = trained(epochs)
    return Result(str(epochs), spent, accuracy()) if spent else None


def peers_of(given: argparse.Namespace, weights: Path, network: str, work: Path) -> list[Peer]:
    """Return the trainers whose environments were named."""
    found = []
    if given.autogluon:
        python = given.autogluon.absolute() / "bin/python"
        found.append(
            Peer(
                "AutoGluon MultiModal, medium_quality", lambda folder, seconds: autogluon(python, weights, work, folder, seconds)
            )
        )
    if given.fastai:
        other = given.fastai.absolute() / "bin/python"
        found.append(
            Peer(
                "fastai, vision_learner and fine_tune",
                lambda folder, seconds: fastai(other, weights, network, work, folder, seconds),
            )
        )
    if given.timm:
        clone = given.timm.resolve()
        found.append(Peer("timm's train.py", lambda folder, seconds: timm(clone, weights, network, work, folder, seconds)))
    return found


def write_weights(folder: Path, name: str) -> Path:
    """Write weights of the installed package as AutoGluon, fastai and timm take them; return the folder."""
    import timm
    import torch

    from darkroom.base.params import Network
    from darkroom.models.timm.network import timm_network

    # AutoGluon makes a last layer of its own, and takes no other; fastai and timm leave out one that does not fit.
    network = timm_network(Network(provider="timm", name=name, pretrained=True, kwargs={}), num_classes=0, channels=3)
    folder.mkdir()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    config = {"architecture": name, "num_features": network.num_features, "pretrained_cfg": timm.create_model(name).default_cfg}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return folder
