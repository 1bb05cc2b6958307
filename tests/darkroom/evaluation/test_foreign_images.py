"""A trained model knows images of none of its classes, and refuses to say so where it cannot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from darkroom.api import train
from darkroom.base.errors import InputError
from darkroom.metrics.decision import UNKNOWN
from darkroom.prediction.inputs import predict_inputs

SETTINGS = {
    "train.epochs": 4,
    "train.batch_size": 16,
    "train.model.kwargs": {"width": 8, "stages": 1},
    "hardware.accelerator": "cpu",
    "hardware.watch": False,
    "split.val_fraction": 0.2,
    "evaluate.explained": 0,
    "evaluate.false_alarms": 0.05,
}


def stripes(number: int, kinds: list[str], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images with stripes across, along, or with spots, in noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % len(kinds)
    images = rng.integers(0, 80, (number, 8, 8, 1), dtype=np.uint8)
    y, x = np.mgrid[:8, :8]
    patterns = {"across": y % 2, "along": x % 2, "spots": (x % 4 == 1) & (y % 4 == 1), "edge": x < 4}
    for place, label in enumerate(labels.tolist()):
        images[place, ..., 0] += (150 * patterns[kinds[label]]).astype(np.uint8)
    return images, labels


def test_images_of_no_trained_class_are_unknown(tmp_path: Path) -> None:
    from PIL import Image

    kinds = ["across", "along", "edge"]
    model = train(tmp_path / "run", stripes(300, kinds, 0), settings=SETTINGS)
    assert model.metrics["val"]["false_alarms"] <= 0.05
    images = {"known": stripes(60, kinds, 1)[0], "foreign": stripes(60, ["spots"], 2)[0]}
    for name, each in images.items():
        (tmp_path / name).mkdir()
        for number, image in enumerate(each[..., 0]):
            Image.fromarray(image).save(tmp_path / name / f"{number:02}.png")
    found = {name: predict_inputs([tmp_path / name], tmp_path / "run" / "models", model.params) for name in images}
    known, foreign = (found[name].foreign for name in ("known", "foreign"))
    assert known is not None
    assert foreign is not None
    assert (known[:, None] < foreign[None]).mean() > 0.95
    assert (known > 1).mean() < 0.15
    assert (foreign > 1).mean() > 0.8
    named = [found["foreign"].named(number, "x") for number in range(60)]
    assert named.count(UNKNOWN) == (foreign > 1).sum()
    assert found["foreign"].why(int(foreign.argmax())) == ["foreign"]


class Odd(nn.Module):
    """Has no last layer of its own."""

    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(in_channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = images.mean(dim=(2, 3)) @ self.weight
        return logits


@pytest.mark.parametrize(
    ("classes", "more", "message"),
    [
        (["a", "b", "unknown"], {}, r"evaluate\.false_alarms: predicts 'unknown' .*, but a class is called so; rename the class"),
        (["a", "b", "c"], {"network": Odd}, r"evaluate\.false_alarms: Odd has no single last layer .*; set it to null"),
        (
            ["a", "b", "c"],
            {"changes": {"evaluate.false_alarms": 0.001}},
            r"evaluate\.false_alarms: is 0\.001, for which val needs 999",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, classes: list[str], more: dict[str, Any], message: str) -> None:
    changes = {"train.epochs": 1} | more.pop("changes", {})
    settings = {key: value for key, value in SETTINGS.items() if "kwargs" not in key} | changes
    with pytest.raises(InputError, match=message):
        train(tmp_path, stripes(90, ["across", "along", "edge"], 0), classes=classes, settings=settings, **more)
