"""`darkroom.api.train`: the loop, resume and records of the stages, from Python."""

import json
import linecache
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from darkroom.api import TrainedModel, train
from darkroom.api.training import named_source
from darkroom.base.errors import InputError
from darkroom.data.pack import Pack

SETTINGS = {
    "train.epochs": 3,
    "train.batch_size": 16,
    "hardware.accelerator": "cpu",
    "hardware.watch": False,
    "train.monitor": "val/loss",
}

STEPS_OF_AN_EPOCH = 4


class Net(nn.Module):
    """Logits from the mean colour; fails in the step of that number."""

    fail_at: int | None = None
    steps = 0

    def __init__(self, num_classes: int, in_channels: int, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_channels, width, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            Net.steps += 1
            if Net.steps == Net.fail_at:
                raise ValueError("out of luck")
        logits: Tensor = self.layers(images)
        return logits


def make_images(number: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    numbers = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    images = numbers.integers(0, 200, (number, 6, 6, 3), dtype=np.uint8)
    images[..., 0] += (labels * 55).astype(np.uint8)[:, None, None]
    return images, labels


def run(folder: Path, **more: Any) -> TrainedModel:
    settings = {**SETTINGS, **more.pop("settings", {})}
    given = {"test": make_images(20, 1), "classes": ["blue", "red"], "network": Net, **more}
    return train(folder, make_images(60, 0), settings=settings, **given)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return run(tmp_path_factory.mktemp("api") / "first")


def weights(model: TrainedModel) -> bytes:
    return (model.folder / "models" / "model.safetensors").read_bytes()


def test_a_run_keeps_the_records_of_the_stages(first: TrainedModel) -> None:
    card = json.loads((first.folder / "models" / "model.json").read_text())
    assert card["network"] == {"_target_": f"{__name__}.Net"}
    assert card["classes"] == ["blue", "red"]
    about = json.loads((first.folder / "models" / "run.json").read_text())
    assert about["params"]["train"]["epochs"] == 3
    assert {"network", "src/darkroom/training/fit.py"} <= about["code"].keys()
    measured = json.loads((first.folder / "metrics" / "evaluate.json").read_text())
    assert measured["test"]["accuracy"] == first.metrics["test"]["accuracy"]
    assert (first.folder / "metrics" / "train" / "plots" / "metrics" / "val" / "loss.tsv").read_text().count("\n") == 4


def test_predictions_are_those_that_were_measured(first: TrainedModel) -> None:
    images, labels = make_images(20, 1)
    probabilities = first.predict(list(images))
    assert first.predict([]).shape == (0, probabilities.shape[1])
    assert probabilities.shape == (20, 2)
    assert (probabilities.argmax(1) == labels).mean() == first.metrics["test"]["accuracy"]
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert np.array_equal(first.predict(list(tensors / 255)), probabilities)


def test_the_same_call_trains_once(first: TrainedModel) -> None:
    before, Net.steps = weights(first), 0
    again = run(first.folder)
    assert Net.steps < STEPS_OF_AN_EPOCH  # those of the checks before a training
    assert weights(again) == before
    assert again.metrics == first.metrics


def test_an_interrupted_run_resumes_to_the_same_bits(first: TrainedModel, tmp_path: Path) -> None:
    Net.steps, Net.fail_at = 0, 3 * STEPS_OF_AN_EPOCH
    try:
        with pytest.raises(ValueError, match="out of luck"):
            run(tmp_path)
    finally:
        Net.fail_at = None
    assert list(tmp_path.glob(".resume/*/*.ckpt"))
    Net.steps = 0
    assert weights(run(tmp_path)) == weights(first)
    assert 0 < Net.steps < 3 * STEPS_OF_AN_EPOCH
    assert not list(tmp_path.glob(".resume/*/*.ckpt"))


def test_a_data_set_of_torch_is_the_same_data(first: TrainedModel, tmp_path: Path) -> None:
    images, labels = make_images(60, 0)
    floats = TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2) / 255, torch.from_numpy(labels))
    tests = make_images(20, 1)
    model = train(tmp_path, floats, test=tests, classes=["blue", "red"], network=Net, settings=SETTINGS)
    assert weights(model) == weights(first)
    packs = [Pack.open(folder / "data" / "raw").dataset["files"] for folder in (tmp_path, first.folder)]
    assert packs[0] == packs[1]


def test_other_settings_and_images_train_anew(first: TrainedModel, tmp_path: Path) -> None:
    shutil.copytree(first.folder, tmp_path / "other")
    model = run(tmp_path / "other", settings={"train.lr": 0.02}, arguments={"width": 3})
    assert model.card.params["train"]["lr"] == 0.02
    assert weights(model) != weights(first)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"network": lambda **_: nn.Identity()}, "no class or function at the top level of a module"),
        ({"arguments": {"widht": 3}}, "did you mean 'width'?"),
        ({"settings": {"train.epohcs": 3}}, "train.epohcs"),
        ({"settings": {"download.corrections": "c.csv"}}, "download.corrections: names files"),
        ({"settings": {"hardware.devices": 2}}, "hardware.devices: must be 1 in Python"),
        ({"network": None, "arguments": {"width": 3}}, "no network is given"),
        ({"preset": "cifar01"}, "did you mean 'cifar10'?"),
        ({"classes": ["blue"]}, "the label 1 is none of the 1 classes"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(tmp_path / "new", **more)
    assert message in str(caught.value)
    assert not (tmp_path / "new" / "models").exists()


def test_a_network_of_a_notebook_is_recorded_by_its_cell() -> None:
    """There, classes know no file."""
    lines = [
        "from torch import nn\n",
        "class Cell(nn.Linear):\n",
        "    def __init__(self, num_classes):\n",
        "        super().__init__(4, {})\n",
    ]
    hashes = []
    for number in range(2):
        name = f"<ipython-input-{number}>"
        text = "".join(lines).replace("{}", str(number + 2))
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        content: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), content)
        path, source = named_source(content["Cell"])
        assert path == "__main__.Cell"
        hashes.append(source)
    assert hashes[0] != hashes[1]
    with pytest.raises(InputError, match="source of Bare cannot be read"):
        named_source(type("Bare", (nn.Module,), {}))
