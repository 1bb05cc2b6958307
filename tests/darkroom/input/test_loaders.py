"""Threads and processes make the same batches; what fails in them, or hangs, is told; nothing is left behind."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.input.augment import ImageAugmentation, RandomCropResize, RandomFlip, RandomShift
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import AHEAD, ProcessLoader, ThreadLoader, describe_reading, make_loader, num_readers
from darkroom.input.samplers import SequentialBatchSampler, ShuffledBatchSampler

SRC = Path(__file__).resolve().parents[3] / "src"
PURE = [RandomCropResize(), RandomFlip(), RandomShift(2)]


def batches_of(data: Any, transforms: list[Any] | None = None) -> ImageDataset:
    return ImageDataset(data.pack, image_size=16, channels=3, transforms=PURE if transforms is None else transforms)


@pytest.mark.parametrize("data", ["digits", "photos"])
@pytest.mark.parametrize("transforms", [PURE, [RandomShift(1)], []])
@pytest.mark.parametrize("sizes", [{}, {0: 8, 1: 24}])
def test_bits_do_not_depend_on_the_number_of_threads(
    data: str, transforms: list[Any], sizes: dict[int, int], request: Any
) -> None:
    batches = batches_of(request.getfixturevalue(data), transforms).at_sizes(sizes)
    order = ShuffledBatchSampler(np.arange(43), batch_size=20, seed=0)
    loaders = [make_loader(batches, order, readers=readers) for readers in (0, 1, 3)]
    assert [type(loader) for loader in loaders] == [ProcessLoader, ThreadLoader, ThreadLoader]
    seen = []
    for epoch in (0, 1):
        order.set_epoch(epoch)
        alone, *others = [list(loader) for loader in loaders]
        assert len(alone) == len(loaders[0]) == len(loaders[1]) == 3
        for made in others:
            for one, other in zip(alone, made, strict=True):
                assert one.keys() == other.keys() == {"images", "labels", "rows"}
                for name, value in one.items():
                    assert torch.equal(value, other[name])  # type: ignore[literal-required]
        seen.append(torch.cat([batch["images"][:3, :, :8, :8] for batch in alone]))
    assert not torch.equal(*seen)


def test_images_come_channels_last(photos: Any) -> None:
    (batch,) = make_loader(batches_of(photos), SequentialBatchSampler(np.arange(5), batch_size=5), readers=2)
    assert batch["images"].is_contiguous(memory_format=torch.channels_last)


class Waiting(ImageAugmentation):
    """Counts the images that it was given, and waits if it is told to."""

    num_random = 1

    def __init__(self, act: Callable[[], None] = lambda: None):
        self.act, self.count = act, 0

    def __call__(self, image: Tensor, random: NDArray[np.float32], size: int) -> Tensor:  # noqa: ARG002
        self.count += 1
        self.act()
        return image


def test_the_next_batches_are_made_meanwhile_and_no_more(photos: Any) -> None:
    transform = Waiting()
    loader = make_loader(batches_of(photos, [transform]), SequentialBatchSampler(np.arange(40), batch_size=4), readers=2)
    made = iter(loader)
    next(made)
    deadline = time.monotonic() + 20
    while transform.count < 4 * (1 + AHEAD) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert transform.count == 4 * (1 + AHEAD)
    made.close()  # type: ignore[attr-defined]
    while readers_left() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not readers_left()
    assert transform.count <= 4 * (1 + AHEAD)


def readers_left() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_a_reader_that_hangs_is_given_up(photos: Any) -> None:
    go_on = threading.Event()
    loader = make_loader(
        batches_of(photos, [Waiting(lambda: bool(go_on.wait(30)) and None)]),
        SequentialBatchSampler(np.arange(8), batch_size=4),
        readers=1,
        timeout=0.3,
    )
    with pytest.raises(RunError, match=r"hardware.worker_timeout_seconds: the readers made no batch for 0.3 s; raise it, or"):
        next(iter(loader))
    go_on.set()


def test_a_disk_that_gives_up_is_not_taken_for_a_reader_that_hangs(photos: Any) -> None:
    def give_up() -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out", "images-000.bin")

    batches = batches_of(photos, [Waiting(give_up)])
    with pytest.raises(TimeoutError, match="Connection timed out"):
        list(make_loader(batches, SequentialBatchSampler(np.arange(8), batch_size=4), readers=1, timeout=30))


def test_what_fails_in_a_thread_is_told(photos: Any) -> None:
    def refuse() -> None:
        raise InputError("photo: is damaged; mend it")

    loader = make_loader(batches_of(photos, [Waiting(refuse)]), SequentialBatchSampler(np.arange(8), batch_size=4), readers=2)
    with pytest.raises(InputError, match="photo: is damaged; mend it"):
        list(loader)


@pytest.mark.thorough
def test_threads_take_none_from_the_network() -> None:
    """Also where nothing was computed before: torch would give the threads' number to whoever asks next."""
    code = f"""
import sys; sys.path.insert(0, {str(SRC)!r})
import torch
from darkroom.input.loaders import ProcessLoader, ThreadLoader
class Batches:
    channels, dtype = 3, torch.uint8
    def size_of(self, epoch): return 4
    def images(self, epoch, rows, made): return torch.zeros(len(rows), 3, 4, 4, dtype=torch.uint8)
    def labelled(self, images, rows): return images
class Order:
    def __iter__(self): return iter([(0, list(range(64)))] * 3)
    def __len__(self): return 3
assert len(list(ThreadLoader(Batches(), Order(), num_threads=4))) == 3
print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{min(2, os.cpu_count() or 1)}\n", "")


def test_how_many_readers(make_params: Callable[..., Params], digits: Any, photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.input.loaders.cores", lambda: 6)
    auto = make_params().hardware
    sliced, cut = batches_of(digits, [RandomFlip()]), batches_of(digits)
    encoded, drawing = batches_of(photos), batches_of(photos, [v2.RandomHorizontalFlip()])
    assert [num_readers(auto, batches, on_gpu=False) for batches in (sliced, cut, encoded, drawing)] == [0, 6, 6, 4]
    assert [num_readers(auto, batches, on_gpu=True) for batches in (sliced, cut, encoded, drawing)] == [1, 6, 6, 4]
    assert [num_readers(auto, batches, on_gpu=False, num_devices=4) for batches in (sliced, encoded, drawing)] == [0, 1, 1]
    given = make_params({"hardware.num_workers": 3}).hardware
    assert [num_readers(given, batches, on_gpu=False) for batches in (sliced, encoded, drawing)] == [3, 3, 3]


def test_what_is_said_of_the_input(digits: Any, photos: Any) -> None:
    order = SequentialBatchSampler(np.arange(8), batch_size=4)
    found = [
        describe_reading(make_loader(batches, order, readers=readers))
        for batches, readers in (
            (batches_of(digits, []), 0),
            (batches_of(digits, []), 1),
            (batches_of(photos), 2),
            (batches_of(photos, [v2.RandomHorizontalFlip()]), 2),
            (batches_of(photos, [v2.RandomHorizontalFlip()]), 1),
        )
    ]
    assert found == [
        "pixels, sliced in batches, by the training process",
        "pixels, sliced in batches, 1 thread",
        "encoded images, 2 threads",
        "encoded images, 2 processes",
        "encoded images, 1 process",
    ]
