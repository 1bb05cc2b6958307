"""Photos and a model for the benchmarks of ./darkroom predict: noise in the sizes of photos, random weights."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
import timm
import torch
from PIL import Image

from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.hardware.devices import cores
from darkroom.models.model_json import make_card
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import save_model

SIZE, CLASSES = 224, 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DIFFERENT = 100  # photos that are drawn; all others are further names of the same files


class Best:
    """What a model records of the epoch that was published."""

    monitor, epoch, score = "val/accuracy", 1, 0.5


def make_network(name: str) -> torch.nn.Module:
    """Return a network of timm; the weights are the same every time."""
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()


def publish(folder: Path, name: str, size: int = SIZE) -> None:
    """Write the network as a model, for 1000 classes and photos of `size` pixels."""
    content = read_yaml(ROOT / "params.yaml")
    content["train"]["model"] = {"provider": "timm", "name": name, "pretrained": False, "kwargs": {}}
    content["train"]["threads"] = min(cores(), 16)
    seen = Preprocessing(image_size=size, channels=3, mean=MEAN, std=STD)
    classes = [f"class {number:03d}" for number in range(CLASSES)]
    card = make_card(check_params(content), seen, classes, {"raw": "0"}, Best())
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, Normalized(make_network(name), seen).state_dict(), card)


def draw_photos(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> None:
    """Fill a folder with JPEGs of blurred noise, about as large as photos of this size in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if number < DIFFERENT:
            small = numbers.integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
            Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        else:
            os.link(folder / f"{number % DIFFERENT:06d}.jpg", path)
