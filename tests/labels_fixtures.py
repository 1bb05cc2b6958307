"""A folder of made-up photos in three colours, and a backbone that needs no weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from darkroom.base import paths
from darkroom.base.params import Params
from darkroom.base.params_file import load_sections
from darkroom.features import extract
from darkroom.features.backbone import Backbone
from darkroom.labels import next as chosen_next
from darkroom.models.preprocessing import Preprocessing

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@dataclass(frozen=True)
class MeanColours(Backbone):
    """Features are the mean colours of 16 squares; `seen` counts the images."""

    seen: tuple[list[int]] = ([],)

    def features(self, images: Tensor) -> Tensor:
        self.seen[0].append(len(images))
        return functional.normalize(functional.adaptive_avg_pool2d(images.float(), 4).flatten(1), dim=1)


def make_photo(path: Path, colour: str, seed: int) -> None:
    """Write a photo of a colour, with a pattern of its own."""
    numbers = np.random.default_rng(seed)
    small = np.clip(np.array(COLOURS[colour]) + numbers.normal(0, 50, (12, 12, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((72, 64), Image.Resampling.BICUBIC).save(path)


def colour_of(path: str) -> str:
    """Return the class of a photo by its number."""
    return list(COLOURS)[int(Path(path).stem[1:]) % 3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty photos p00.png to p29.png, ten of each colour."""
    for number in range(30):
        make_photo(tmp_path / "photos" / f"p{number:02}.png", colour_of(f"p{number}.png"), number)
    return tmp_path / "photos"


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> MeanColours:
    """The backbone that `labels next` opens, and a folder of its own for features."""
    preprocessing = Preprocessing(image_size=32, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    none: Callable[..., None] = torch.nn.Identity
    made = MeanColours("colours", "0", none(), preprocessing, params.hardware, torch.device("cpu"), None, ([],))  # type: ignore[arg-type]
    monkeypatch.setattr(chosen_next, "open_backbone", lambda *_, **__: made)
    monkeypatch.setattr(extract, "features_dir", lambda: tmp_path / "kept")
    return made


@pytest.fixture(scope="session")
def params() -> Params:
    return load_sections(paths.PARAMS, "base", "split", "predict", "train", "hardware")
