"""The record of a result, a sealed run.json: what a stage made it of, and the hash of every file of it.

dvc.lock says the same of what is there when a stage ends, and `dvc commit` writes it anew whatever was run. The record is written
by the stage alone, so that `./darkroom verify` can compare the two.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from darkroom.base import files, paths
from darkroom.base.nested import read_stages
from darkroom.base.yaml_file import read_yaml
from darkroom.stage.inputs import Inputs, fill_in

RECORD = "run.json"
# In each of these folders one file has the hashes of the others, and of its own content.
SEALS = {"data/raw": "dataset.json", "data/split": "split.json", "models/checkpoints": "index.json"}
# Libraries that pixels and numbers depend on, by stage; not by what is imported, which differs with the way to start a stage.
PIXELS = ("numpy", "pillow", "simplejpeg", "imagecodecs")
NUMBERS = ("torch", "torchvision", "timm", "transformers", "torchmetrics", "scikit-learn", "albumentations")
LIBRARIES = {
    "download": PIXELS,
    "split": ("numpy", "scikit-learn"),
    "evaluate": (*PIXELS, *NUMBERS, "onnxruntime", "openvino"),
    "predict": (*PIXELS, *NUMBERS, "onnxruntime", "openvino"),
    "export": (*PIXELS, *NUMBERS, "onnx", "onnxscript", "onnxruntime", "openvino", "nncf"),
}


def record_of(name: str, code: Inputs, outputs: Mapping[str, Path]) -> dict[str, Any]:
    """Return the record of a stage that has just computed its result; the same for equal inputs.

    Parameters
    ----------
    name
        The stage.
    code
        Hashes of the source files that it ran with.
    outputs
        Files and folders that it wrote, by the names that they will have.
    """
    stage, params = read_stages(paths.PIPELINE)[name], read_yaml(paths.PARAMS)
    inputs = [fill_in(dep, params) for dep in stage["deps"] if not dep.startswith("src/")]
    return {
        "stage": name,
        "params": {section: plain(params.get(section)) for section in stage["params"]},
        "inputs": {each: found for each in inputs if (found := digest(paths.ROOT, each)) is not None},
        "outputs": hashes(outputs),
        "code": dict(sorted(code.items())),
        "packages": {each: number for each in sorted(LIBRARIES[name.partition("@")[0]]) if (number := _version(each))},
        "python": platform.python_version(),
    }


def plain(value: Any) -> Any:
    """Return a value of params.yaml as JSON has it; a number that is not finite becomes text."""
    try:
        return json.loads(json.dumps(value, default=str), parse_constant=str)
    except ValueError:  # a number of thousands of digits, which no stage takes
        return "unreadable"


def hashes(outputs: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of files, and of all files in folders, by name; of a sealed folder only that of its seal."""
    found = {}
    for name, path in outputs.items():
        if name in SEALS:
            found[f"{name}/{SEALS[name]}"] = files.sha256(path / SEALS[name])
        elif path.is_dir():
            found |= {f"{name}/{each.relative_to(path).as_posix()}": files.sha256(each) for each in files_in(path)}
        else:
            found[name] = files.sha256(path)
    return dict(sorted(found.items()))


def digest(root: Path, name: str) -> str | None:
    """Return the SHA-256 of an input by its name in dvc.yaml: of a file, of a sealed folder's seal, or of a folder's files.

    None: there is no such file, or it is not on this machine.
    """
    path = root / name
    if "://" in name or not os.path.exists(path):  # noqa: PTH110 - accepts what is not a path at all
        return None
    if name in SEALS and (path / SEALS[name]).is_file():
        return files.sha256(path / SEALS[name])
    if path.is_file():
        return files.sha256(path)
    listing = [(each.relative_to(path).as_posix(), files.sha256(each)) for each in files_in(path)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def files_in(folder: Path, *, follow: bool = True) -> list[Path]:
    """Return all files below a folder but those that DVC ignores, sorted.

    DVC does not look behind links to folders, while what reads a folder may: they are followed, each folder once.
    """
    return sorted(_walk(folder, follow), key=lambda path: path.relative_to(folder).parts)


def _walk(folder: Path, follow: bool) -> Iterator[Path]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=follow):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(each for each in folders if os.path.realpath(Path(place) / each) not in seen)
        for path in (Path(place) / name for name in names):
            if path.is_file() and not paths.is_left_behind(path.relative_to(folder)):
                yield path


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # the module came with another distribution
        return None
