"""Data sets of torchvision: their splits, arguments, classes and downloads; what cannot train a classifier is refused."""

import gc
import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import DownloadParams
from darkroom.data.images import Decoded
from darkroom.data.listing import Listing
from darkroom.sources import torchvision
from darkroom.sources.torchvision import list_torchvision

datasets = pytest.importorskip("torchvision.datasets")
Download = Callable[..., DownloadParams]
# torchvision leaves connections that failed to the garbage collector, which then has to come within the test.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect what the test has left, without a look at the modules and all else that was there before."""
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def listed(download: Download) -> Callable[..., Listing]:
    def run(name: str, **arguments: Any) -> Listing:
        return list_torchvision(download(source="torchvision", dataset=name, arguments=arguments, timeout_seconds=1.0))

    return run


def splits(listing: Listing) -> dict[str, int]:
    names = [item.split for item in listing.items]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def idx(values: np.ndarray[Any, Any]) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(struct.pack(">I", length) for length in values.shape)
    return gzip.compress(header + values.astype(np.uint8).tobytes(), mtime=0)


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([3, 1, 4, 1, 9], np.uint8)


@pytest.fixture
def mnist(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MNIST with five images to train on, and two to test."""
    resources = []
    for part, count in (("train", 5), ("t10k", 2)):
        for kind, values in (("images-idx3", IMAGES[:count]), ("labels-idx1", LABELS[:count])):
            name, data = f"{part}-{kind}-ubyte.gz", idx(values)
            server.answers[f"/{name}"] = [server.body(data)]
            resources.append((name, hashlib.md5(data).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{server.address}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return server


def test_mnist_from_a_server(listed: Any, mnist: Any, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listing = listed("MNIST")
    assert splits(listing) == {"train": 5, "test": 2}
    assert [item.id for item in listing.items][:2] == ["train/0", "train/1"]
    decoded, label = listing.items[2].read()
    assert isinstance(decoded, Decoded)
    np.testing.assert_array_equal(decoded.image, IMAGES[2])
    assert label == 4
    assert listing.name_classes([1, 9]) == ["1 - one", "9 - nine"]
    assert (root / "cache" / "torchvision" / "MNIST").is_dir()
    assert capfd.readouterr() == ("", "")
    requests = len(mnist.ranges)
    listed("MNIST")
    assert len(mnist.ranges) == requests


@pytest.mark.usefixtures("mnist")
def test_one_part_of_mnist(listed: Any) -> None:
    assert splits(listed("MNIST", train=False)) == {"train": 2}


@UNCLOSED
@pytest.mark.usefixtures("collected")
def test_a_failing_server_is_one_error(listed: Any, mnist: Any) -> None:
    mnist.answers["/train-images-idx3-ubyte.gz"] = [mnist.body(b"", 500)]
    with pytest.raises(RunError, match=r"MNIST: the download failed .*; run the same command later"):
        listed("MNIST")


@UNCLOSED
@pytest.mark.usefixtures("collected")
def test_a_stalled_server_does_not_hang(listed: Any, mnist: Any) -> None:
    mnist.answers["/train-images-idx3-ubyte.gz"] = [mnist.hang]
    with pytest.raises(RunError, match=r"MNIST: the download failed \(.*timed out"):
        listed("MNIST")


def test_a_set_without_splits(listed: Any) -> None:
    listing = listed("FakeData", size=12, num_classes=3, image_size=[3, 8, 9])
    assert splits(listing) == {"train": 12}
    assert [item.id for item in listing.items][-2:] == ["train/10", "train/11"]
    samples = [item.read() for item in listing.items]
    assert samples[0][0].image.shape == (8, 9, 3)
    assert listing.name_classes([0, 2]) == ["0", "2"]
    assert listing.info["arguments"] == {"size": 12, "num_classes": 3, "image_size": [3, 8, 9]}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("CIFAR11", {}, "params.yaml: download.dataset: torchvision has no data set CIFAR11; did you mean 'CIFAR10'?"),
        ("cifar10", {}, "params.yaml: download.dataset: torchvision has no data set cifar10; did you mean 'CIFAR10'?"),
        ("CocoDetection", {}, "params.yaml: download.dataset: CocoDetection is for detection or segmentation; use a"),
        ("FER2013", {}, "params.yaml: download.dataset: FER2013 cannot be downloaded (train.csv not found in"),
        ("Qqqqqqq", {}, "params.yaml: download.dataset: torchvision has no data set Qqqqqqq; use a class of"),
        ("VisionDataset", {}, "params.yaml: download.dataset: torchvision has no data set VisionDataset"),
        ("ImageFolder", {}, "params.yaml: download.dataset: ImageFolder is for folders; set download.source to folder"),
        ("FakeData", {"sise": 1}, "params.yaml: download.arguments.sise: FakeData has no such argument; did you mean 'size'?"),
        ("MNIST", {"transform": "x"}, "params.yaml: download.arguments.transform: is set by Darkroom; remove it"),
        ("EMNIST", {}, "params.yaml: download.arguments.split: is missing; EMNIST needs it"),
        ("SVHN", {"split": "tset"}, "params.yaml: download.dataset: SVHN cannot be created (ValueError: Unknown value 'tset'"),
        ("STL10", {"folds": 99}, "params.yaml: download.dataset: STL10 cannot be created (ValueError: Value for argument folds"),
    ],
)
def test_mistakes(name: str, arguments: dict[str, Any], message: str, listed: Any) -> None:
    with pytest.raises(InputError) as caught:
        listed(name, **arguments)
    assert str(caught.value).startswith(message)


def made(monkeypatch: pytest.MonkeyPatch, sample: Any, *allowed: str, **attributes: Any) -> None:
    """Let torchvision have a data set `Made`, with two equal samples in each of the splits that it knows."""

    class Made(datasets.VisionDataset):  # type: ignore[misc, name-defined]
        def __init__(self, root: str, split: str = "train"):
            super().__init__(root)
            if allowed:
                datasets.utils.verify_str_arg(split, "split", allowed)
            for name, value in attributes.items():
                setattr(self, name, value)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return sample

    monkeypatch.setattr(datasets, "Made", Made, raising=False)
    monkeypatch.setattr(datasets, "__all__", (*datasets.__all__, "Made"))


IMAGE = Image.new("RGB", (2, 2))


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("train", "valid"), {"train", "val"}),
        (("trainval", "val", "test"), {"train", "test"}),
        (("train-standard", "train-challenge", "val"), {"train", "val"}),
        (("train", "test", "extra"), {"train", "test"}),
    ],
)
def test_splits_are_found_by_name(allowed: Any, expected: set[str], listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, (IMAGE, 0), *allowed)
    assert splits(listed("Made")) == dict.fromkeys(expected, 2)


def test_no_split_called_train(listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, (IMAGE, 0), "all", "test")
    with pytest.raises(InputError, match=r"Made has no training split; name a split in download\.arguments"):
        listed("Made")


@pytest.mark.parametrize(
    "sample",
    [IMAGE, (IMAGE, IMAGE), (IMAGE, {"boxes": []}), (IMAGE, [1, 2]), (IMAGE, None), ("x", 1), (IMAGE, 0.5)],
)
def test_other_tasks_are_refused(sample: Any, listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, sample)
    with pytest.raises(InputError, match=r"download\.dataset: the samples of Made are not images with one label each"):
        listed("Made").items[0].read()


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        ({}, ["0", "1", "2"]),
        ({"classes": ["a", "b", "c"]}, ["a", "b", "c"]),
        ({"classes": [("tench", "Tinca tinca"), ("crane",), ("crane",)]}, ["tench, Tinca tinca", "crane (1)", "crane (2)"]),
        ({"classes": {0: "a", 1: "b", 2: "c"}}, ["a", "b", "c"]),
        ({"class_to_idx": {"c": 2, "a": 0, "b": 1}}, ["a", "b", "c"]),
        ({"classes": ["a"]}, ["a", "1", "2"]),
    ],
)
def test_class_names(attributes: Any, names: list[str], listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, (IMAGE, 0), **attributes)
    assert listed("Made").name_classes([0, 1, 2]) == names


def test_arguments_of_every_data_set_can_be_told() -> None:
    taken = torchvision._signature(datasets.EMNIST)
    assert {"root", "split", "train", "download"} <= set(taken)
    assert "download" not in torchvision._signature(datasets.FakeData)


@pytest.fixture
def cifar_root(tmp_path: Path) -> Path:
    """A folder as torchvision leaves it after a download of CIFAR-10, with two images a file."""
    folder = tmp_path / "mine" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        content = {"data": numbers.integers(0, 256, (2, 3072), np.uint8), "labels": [0, 1]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["plane", "car"]}))
    return folder


def test_an_existing_root_is_used_and_checked(
    listed: Callable[..., Listing], cifar_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is downloaded to it or written there, and a changed file is noticed by torchvision's md5s."""

    def md5s(*names: str) -> list[list[str]]:
        return [[name, hashlib.md5((cifar_root / name).read_bytes()).hexdigest()] for name in names]

    monkeypatch.setattr(datasets.CIFAR10, "train_list", md5s(*(f"data_batch_{number}" for number in range(1, 6))))
    monkeypatch.setattr(datasets.CIFAR10, "test_list", md5s("test_batch"))
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5s("batches.meta")[0][1]}
    )
    before = sorted(cifar_root.parent.rglob("*"))
    listing = listed("CIFAR10", root=str(cifar_root.parent))
    assert splits(listing) == {"train": 10, "test": 2}
    assert listing.name_classes([0, 1]) == ["plane", "car"]
    assert sorted(cifar_root.parent.rglob("*")) == before
    assert str(cifar_root.parent) not in str(listing.info)
    (cifar_root / "data_batch_3").write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}))
    with pytest.raises(InputError, match=r"download.arguments.root: .* does not hold CIFAR10, or damaged .* remove the key"):
        listed("CIFAR10", root=str(cifar_root.parent))
    with pytest.raises(InputError, match=r"download.arguments.root: nowhere is not a folder"):
        listed("CIFAR10", root="nowhere")
