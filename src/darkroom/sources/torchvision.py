"""The classification data sets of torchvision, by class name and arguments; torchvision is imported only when it is needed."""

import contextlib
import http.client
import importlib
import inspect
import io
import operator
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.error import URLError

import numpy as np
from PIL import Image

from darkroom.base import paths
from darkroom.base.errors import InputError, RunError, listed, nearest
from darkroom.base.params import DownloadParams
from darkroom.data.images import Decoded, ImageError, convert
from darkroom.data.listing import Item, Listing, Sample
from darkroom.sources.fetch import download_lock

KEY = "params.yaml: download"
# Names that a split may have in torchvision, in the order in which they are tried.
SPLIT_NAMES = {"train": "train", "trainval": "train", "train-standard": "train", "val": "val", "valid": "val", "test": "test"}
OWN_ARGUMENTS = ("download", "transform", "transforms", "target_transform", "loader", "is_valid_file")
NETWORK_ERRORS = (URLError, ConnectionError, TimeoutError, http.client.HTTPException)

# What the data sets of https://docs.pytorch.org/vision/stable/datasets.html are for, if not for classification.
OTHER_TASKS = {
    "detection or segmentation": "Cityscapes CocoDetection Kitti SBDataset VOCDetection VOCSegmentation WIDERFace",
    "captioning": "CocoCaptions Flickr30k Flickr8k SBU",
    "stereo matching": "CREStereo CarlaStereo ETH3DStereo FallingThingsStereo InStereo2k Kitti2012Stereo Kitti2015Stereo "
    "Middlebury2014Stereo SceneFlowStereo SintelStereo",
    "optical flow": "FlyingChairs FlyingThings3D HD1K KittiFlow Sintel",
    "video": "HMDB51 Kinetics MovingMNIST UCF101",
    "image matching": "LFWPairs PhotoTour",
}
# Words by which torchvision says that files must be downloaded by hand.
BY_HAND = ("externally", "not found in", "manually")


class _UnknownSplitError(Exception):
    pass


def list_torchvision(params: DownloadParams) -> Listing:
    """Download `download.dataset` to the cache, in torchvision's own layout, and list its images.

    Every split of a data set with the argument `train` or `split` is listed. If `download.arguments` names one of them, its
    images are all listed as train, and the split stage splits them.

    Raises
    ------
    InputError
        If there is no such data set, it does not accept the arguments, or its samples are not images with one label each.
    RunError
        If the download fails.
    """
    name = str(params.dataset)
    dataset_class = _find_class(name)
    accepted = _signature(dataset_class)
    _check_arguments(params, accepted)
    own_root = params.arguments.get("root")
    root = _find_root(own_root) if own_root is not None else paths.cache_dir() / "torchvision"
    root.mkdir(parents=True, exist_ok=True)
    own = {key: value for key, value in {"root": str(root), "download": own_root is None}.items() if key in accepted}
    # In a folder of the user's nothing is written.
    lock_file = contextlib.nullcontext() if own_root is not None else download_lock(root / ".lock")
    with lock_file, _quiet(params.timeout_seconds):
        sets = _make_splits(partial(_make, dataset_class, params.arguments | own), accepted, params)
    if "train" not in sets:
        raise InputError(f"{KEY}.dataset: {name} has no training split; name a split in download.arguments: {{split: …}}")
    # Images are read one at a time: FakeData, for example, seeds torch's global generator for each.
    lock = Lock()
    items = [
        Item(f"{split}/{index:0{len(str(len(images) - 1))}d}", split, partial(_read, images, index, lock, name))
        for split, images in sets.items()
        for index in range(len(images))
    ]
    names = _class_names(sets["train"])
    recorded = {key: value for key, value in params.arguments.items() if key != "root"}  # a path of this machine
    info = {"source": "torchvision", "name": name, "arguments": recorded, "licence": None}
    return Listing(name, items, lambda present: [names.get(label, str(label)) for label in present], info)


def _find_root(root: Any) -> Path:
    """Return the folder `download.arguments.root`, in which torchvision's own layout is, as `cifar-10-batches-py`."""
    folder = paths.ROOT / Path(str(root)).expanduser()
    if not folder.is_dir():
        raise InputError(f"{KEY}.arguments.root: {root} is not a folder; correct it, or remove the key to download the data set")
    return folder


def _find_class(name: str) -> Any:
    module = importlib.import_module("torchvision.datasets")
    base = module.VisionDataset
    found = {key: getattr(module, key) for key in module.__all__ if inspect.isclass(getattr(module, key))}
    known = {key: value for key, value in found.items() if issubclass(value, base) and value is not base}
    if issubclass(known.get(name, object), module.DatasetFolder) and name in ("ImageFolder", "DatasetFolder"):
        raise InputError(f"{KEY}.dataset: {name} is for folders; set download.source to folder and name it in download.folder")
    for task, names in OTHER_TASKS.items():
        if name in names.split():
            raise InputError(f"{KEY}.dataset: {name} is for {task}; use a data set for classification, such as CIFAR10")
    if name not in known:
        advice = nearest(name, known, "use a class of torchvision.datasets, such as CIFAR10")
        raise InputError(f"{KEY}.dataset: torchvision has no data set {name}; {advice}")
    return known[name]


def _signature(dataset_class: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class, with those of its bases where it passes `**kwargs` on, as EMNIST does to MNIST."""
    accepted: dict[str, inspect.Parameter] = {}
    for base in inspect.getmro(dataset_class):
        if "__init__" not in vars(base):
            continue
        own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        named = [each for each in own if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
        accepted = {each.name: each for each in named} | accepted
        if not any(each.kind is each.VAR_KEYWORD for each in own):
            break
    return accepted


def _check_arguments(params: DownloadParams, accepted: dict[str, inspect.Parameter]) -> None:
    allowed = [key for key in accepted if key not in OWN_ARGUMENTS]
    for key in params.arguments:
        if key in OWN_ARGUMENTS:
            raise InputError(f"{KEY}.arguments.{key}: is set by Darkroom; remove it")
        if key not in allowed:
            advice = nearest(key, allowed, f"it accepts {listed(allowed) or 'no arguments'}")
            raise InputError(f"{KEY}.arguments.{key}: {params.dataset} has no such argument; {advice}")
    # A data set with `train` means something else by `split`, which the user has to choose: for EMNIST a set of classes.
    filled = {"root", "train" if "train" in accepted else "split"}
    for key in allowed:
        if accepted[key].default is inspect.Parameter.empty and key not in params.arguments and key not in filled:
            raise InputError(f"{KEY}.arguments.{key}: is missing; {params.dataset} needs it")


def _make_splits(make: Callable[..., Any], accepted: dict[str, inspect.Parameter], params: DownloadParams) -> dict[str, Any]:
    try:
        if "train" in accepted and "train" not in params.arguments:
            return {"train": make(train=True), "test": make(train=False)}
        if "split" not in accepted or "split" in params.arguments:
            return {"train": make()}
        return _probe_splits(make)
    except Exception as error:
        reason = " ".join(str(error).split())
        if "root" in params.arguments and isinstance(error, RuntimeError | OSError):
            raise InputError(
                f"{KEY}.arguments.root: {params.arguments['root']} does not hold {params.dataset}, or damaged ({reason}); "
                "correct it, or remove the key to download the data set"
            ) from error
        if any(words in reason for words in BY_HAND):
            raise InputError(
                f"{KEY}.dataset: {params.dataset} cannot be downloaded ({reason}); "
                f"download its files by hand to {paths.cache_dir() / 'torchvision'}"
            ) from error
        # torchvision wraps some errors of the network.
        wrapped = isinstance(error, RuntimeError) and ("Error downloading" in reason or "corrupted" in reason)
        if wrapped or isinstance(error, NETWORK_ERRORS):
            raise RunError(f"{params.dataset}: the download failed ({reason}); run the same command later") from error
        # A full disk is not an error in the arguments.
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        reason = f"{type(error).__name__}: {reason}"
        raise InputError(f"{KEY}.dataset: {params.dataset} cannot be created ({reason}); correct download.arguments") from error


def _probe_splits(make: Callable[..., Any]) -> dict[str, Any]:
    """Return the splits, trying the names that each may have; a data set refuses an unknown name before it downloads anything."""
    sets: dict[str, Any] = {}
    for name, split in SPLIT_NAMES.items():
        if split not in sets:
            with contextlib.suppress(_UnknownSplitError):
                sets[split] = make(split=name)
                # Its val is a part of trainval.
                if name == "trainval":
                    sets["val"] = None
    return {split: images for split, images in sets.items() if images is not None}


def _make(dataset_class: Any, arguments: dict[str, Any], **chosen: Any) -> Any:
    try:
        return dataset_class(**arguments, **chosen)
    except ValueError as error:
        if "split" in chosen and "Unknown value" in str(error) and "argument split" in str(error):
            raise _UnknownSplitError from error
        raise


@contextlib.contextmanager
def _quiet(timeout_seconds: float) -> Iterator[None]:
    """Set a timeout for connections, and show torchvision's progress only at a terminal."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_seconds)
    try:
        with contextlib.ExitStack() as stack:
            if not sys.stderr.isatty():
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield
    finally:
        socket.setdefaulttimeout(before)


def _read(images: Any, index: int, lock: Lock, name: str) -> Sample:
    try:
        with lock:
            sample = images[index]
    except Exception as error:
        raise ImageError(f"cannot be read ({type(error).__name__}: {error})") from error
    not_classification = InputError(
        f"{KEY}.dataset: the samples of {name} are not images with one label each; use a data set for classification"
    )
    if not isinstance(sample, Sequence) or len(sample) < 2:
        raise not_classification
    try:
        label = operator.index(sample[1])
    except TypeError:
        raise not_classification from None
    if isinstance(sample[0], Image.Image):
        return convert(sample[0]), label
    if isinstance(sample[0], np.ndarray) and sample[0].dtype == np.uint8 and sample[0].shape[2:] in ((), (3,)):
        return Decoded(sample[0]), label
    raise not_classification


def _class_names(images: Any) -> dict[int, str]:
    """Return the class names that the data set has, by label; ImageNet's are tuples, and some name two classes."""
    classes = getattr(images, "classes", None) or getattr(images, "class_to_idx", None) or []
    if isinstance(classes, dict):
        by_label = {key: name for key, name in classes.items() if isinstance(key, int)}
        by_label |= {label: name for name, label in classes.items() if isinstance(label, int)}
    else:
        by_label = dict(enumerate(classes))
    names = {label: ", ".join(name) if isinstance(name, tuple) else str(name) for label, name in by_label.items()}
    several = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {label: f"{name} ({label})" if name in several else name for label, name in names.items()}
