"""What a clock shows too late: how often a training waits for its device, decodes an image, or copies the set."""

import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from darkroom.base.params import Params
from darkroom.data import pack as packs
from darkroom.data.pack import Pack
from darkroom.data.pack_arrays import Shards
from darkroom.inference import backends
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.models.builtin.small_cnn import SmallCNN
from darkroom.models.model_json import Card
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import Published
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 4, "stages": 2}, "hardware.accelerator": "cpu", "hardware.watch": False}


def train(params: Params, data: Any, folder: Path) -> None:
    store = StateStore(folder, {})
    plan = make_plan(params, data.pack, data.split.rows["train"])
    with store.held():
        fit(plan, data.split, store)


# What gives as many values as there happen to be, so that a GPU has to be waited for, beside reading a number.
WAITING = {
    *("_local_scalar_dense", "_unique2", "bincount", "equal", "histc", "masked_select", "nonzero", "unique_consecutive"),
    *("unique_dim", "repeat_interleave"),
}


class Reads(TorchDispatchMode):
    """Counts how often a number is read from a tensor, or what a GPU would have to be waited for likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function.overloadpacket.__name__ in WAITING or _is_picking(args)
        return function(*args, **(kwargs or {}))


def _is_picking(args: Any) -> bool:
    """Return whether values are picked out, or set, where a tensor is true."""
    indices = [each for value in args if isinstance(value, list | tuple) for each in value if isinstance(each, torch.Tensor)]
    return any(index.dtype == torch.bool for index in indices)


def reads(params: Params, data: Any, folder: Path) -> int:
    with Reads() as counted:
        train(params, data, folder)
    return counted.count


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.gradient_clip": 1.0, "train.ema": 0.9, "train.scheduler": {"_target_": "OneCycleLR"}},
        {"train.optimizer": {"_target_": "SGD", "momentum": 0.9}, "train.log_every": "step"},
        {"train.augment": [{"_target_": "AlternatingFlip"}, {"_target_": "RandomColor"}], "hardware.cache_images": True},
    ],
    ids=["default", "much", "every step logged", "images held"],
)
def test_no_step_waits_for_the_device(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    def count(steps: int) -> int:
        trainer = {"limit_train_batches": steps, "limit_val_batches": 1}
        params = make_params(SMALL | changes | {"train.epochs": 1, "train.batch_size": 8, "train.trainer": trainer})
        return reads(params, digits, tmp_path / str(steps))

    # What is read at the start and the end of an epoch is read in both; of logged steps fifty are read at once.
    assert count(5) == count(20)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to look for")
def test_no_step_looks_for_gpus(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = 0
    search = torch.cuda.device_count

    def count() -> int:
        nonlocal searches
        searches += 1
        return search()

    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # as Lightning does when it is imported
    monkeypatch.setattr(torch.cuda, "device_count", count)
    trainer = {"limit_train_batches": 40, "limit_val_batches": 1}
    train(make_params(SMALL | {"train.epochs": 1, "train.batch_size": 8, "train.trainer": trainer}), digits, tmp_path)
    assert searches < 20


def test_no_step_formats_the_stack(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formatted = Counter[int]()
    original = traceback.format_stack

    def counted(*arguments: Any, **named: Any) -> list[str]:
        formatted[0] += 1
        return original(*arguments, **named)

    monkeypatch.setattr(traceback, "format_stack", counted)
    trainer = {"limit_train_batches": 40, "limit_val_batches": 1}
    train(make_params(SMALL | {"train.epochs": 1, "train.batch_size": 8, "train.trainer": trainer}), digits, tmp_path)
    assert formatted[0] < 20  # of 40 steps
    torch.manual_seed(0)
    assert torch.cuda.is_available() or formatted[0] > 0  # as it would be


def test_a_read_is_counted() -> None:
    values = torch.arange(3)
    with Reads() as counted:
        float(values.sum())
        torch.bincount(values)
        values[values > 1]
        values.masked_select(values > 1)
        values[values]
        torch.where(values > 1, values, 0)
    assert counted.count == 4


def count_decodings(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Return how often each row of a pack will have been read from now on."""
    decoded = Counter[int]()

    def counted(self: Pack, row: int, side: int | None = None) -> Any:
        decoded[int(row)] += 1
        return original(self, row, side)

    original = packs.Pack.read
    monkeypatch.setattr(packs.Pack, "read", counted)
    return decoded


WHOLE_BATCHES, SINGLE_IMAGES = ["RandomFlip", "RandomColor"], ["RandomCropResize", "RandomFlip"]


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("augment", "hold", "times", "workers"),
    [
        (WHOLE_BATCHES, False, 3, 2),
        (WHOLE_BATCHES, "auto", 1, 0),
        (SINGLE_IMAGES, False, 3, 0),
        (SINGLE_IMAGES, "auto", 1, 2),
        pytest.param(WHOLE_BATCHES, False, 3, 0, marks=pytest.mark.thorough),
        pytest.param(WHOLE_BATCHES, "auto", 1, 2, marks=pytest.mark.thorough),
        pytest.param(SINGLE_IMAGES, False, 3, 2, marks=pytest.mark.thorough),
        pytest.param(SINGLE_IMAGES, "auto", 1, 0, marks=pytest.mark.thorough),
    ],
)
def test_every_image_is_decoded_once_an_epoch_or_once(
    make_params: Callable[..., Params],
    photos: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    augment: list[str],
    hold: Any,
    times: int,
    workers: int,
) -> None:
    changes = {"train.epochs": 3, "train.image_size": 16, "train.augment": [{"_target_": name} for name in augment]}
    reading = {"hardware.num_workers": workers, "hardware.cache_images": hold}
    params = make_params(SMALL | changes | reading | {"train.batch_size": 10})
    plan = make_plan(params, photos.pack, photos.split.rows["train"])
    decoded = count_decodings(monkeypatch)
    store = StateStore(tmp_path, {})
    with store.held():
        fit(plan, photos.split, store)
    rows = photos.split.rows
    assert {decoded[row] for row in rows["train"]} == {times}
    assert {decoded[row] for row in rows["val"]} == {times}
    assert not any(decoded[row] for row in rows["test"])


@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_is_decoded_once_to_be_measured(
    make_params: Callable[..., Params], photos: Any, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    seen = Preprocessing(image_size=16, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    card = Card.model_construct(task="multiclass", classes=photos.split.classes, preprocessing=seen)
    hardware = make_params(SMALL | {"hardware.num_workers": workers}).hardware
    # To try precisions, and to look at an image in six ways, is not to read it again.
    monkeypatch.setattr(backends, "is_fast_at_bf16", lambda _: True)
    predictor = Predictor(Published(Normalized(SmallCNN(2, 3, width=4), seen).eval(), card), hardware, precision="auto")
    decoded = count_decodings(monkeypatch)
    for name in ("val", "test"):
        predict_rows(predictor, photos.pack, photos.split.rows[name], batch_size=4, tta="flip_shift")
    measured = [*photos.split.rows["val"].tolist(), *photos.split.rows["test"].tolist()]
    assert decoded == Counter(measured)


def test_the_set_is_not_copied(digits: Any, photos: Any) -> None:
    for pack in (digits.pack, photos.pack):
        images = pack._images.files if isinstance(pack._images, Shards) else [pack._images]
        for each in images:
            whole = each
            while whole.base is not None and not isinstance(whole, np.memmap):
                whole = whole.base
            assert isinstance(whole, np.memmap)
