"""Open the model that a person names: a folder, a revision, a registered model, a file of weights or a pretrained network."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError, nearest, nearest_path

if TYPE_CHECKING:
    from darkroom.base.params import Params
    from darkroom.models.saving import Published

MODEL_HELP = (
    "folder of a model.json, commit or experiment, registered model (NAME@v1.0.0, NAME@STAGE), file of weights (.safetensors, "
    ".ckpt, .pth) for the network of params.yaml, or network of timm with its published weights"
)
# What `./darkroom export` writes.
EXPORTED = (".onnx", ".xml", ".pt2")


def open_model(name: str | None, params: "Params", command: str, where: str = "--model") -> "Published":
    """Open a folder, a revision or experiment, a registered model, a file of weights, or a pretrained network.

    Parameters
    ----------
    name
        What is named; None: models/.
    params
        All of params.yaml.
    command
        What opens it: `predict` alone reads calibration.json, too.
    where
        Flag or function that names it, for messages.

    Raises
    ------
    InputError
        If there is no such model, or it is damaged.
    """
    from darkroom.api.pretrained import is_network, open_pretrained
    from darkroom.base import paths
    from darkroom.models.saving import Published, build_published, load_model, open_content, refuse_unsafe_loading
    from darkroom.repository.registry import REGISTERED, find_registered
    from darkroom.versions.models import read_model

    if name is None:
        return _with_calibration(load_model(paths.MODELS, params), paths.MODELS, command)
    path = Path(name).expanduser()
    if path.name == "model.json" or (path.name == "model.safetensors" and (path.parent / "model.json").is_file()):
        path = path.parent
    _refuse_export(where, name, path)
    if path.is_dir():
        epochs = sorted(each.name for each in path.glob("epoch_*"))
        if epochs and not (path / "model.json").exists():
            raise InputError(f"{where}: {name} holds several models; name one of {', '.join(epochs)}")
        return _with_calibration(load_model(path.absolute(), params, paths.shown(path.absolute())), path, command)
    if path.is_file():
        return _open_file(where, name, path, params, command)
    is_path = "/" in name.partition(":")[0] or (bool(path.suffix) and not is_network(name))
    if is_path and not REGISTERED.fullmatch(name):
        raise InputError(f"{where}: {name} does not exist; {nearest_path(name, f'name a {MODEL_HELP}')}")
    refuse_unsafe_loading()
    try:
        registered = find_registered(paths.main_repository(), name)
        revision = f"{registered.commit}:{registered.path}" if registered else name
        shown, content = read_model(paths.ROOT, paths.main_repository(), revision)
    except InputError as error:
        is_known = _is_revision(name)
        if not is_known and is_network(name):
            return open_pretrained(where, name)
        if not is_known and (paths.PRESETS / f"{name}.yaml").is_file():
            how = f"train one with 'dvc exp run $(./darkroom preset {name})', and name the experiment"
            raise InputError(f"{where}: {name} is a preset, not a model; {how}") from None
        raise InputError(f"{where}: {name} is no folder or file, and {_reason(name, error)}") from None
    shown = f"{name} ({registered.version}, {registered.commit[:7]})" if registered else shown
    card, weights = open_content(where, shown, content)
    network = build_published(card, weights, params, where=f"{where}: model.json of {shown}", advice="name another model")
    return Published(network, card, shown, _recorded_calibration(revision) if command == "predict" else None)


def _reason(name: str, error: InputError) -> str:
    """Return why a name is no revision, with the nearest folder, or network that begins alike, if no revision is near."""
    from darkroom.api.pretrained import network_names

    reason = str(error).removeprefix(f"{name}: ")
    what, _, way_out = reason.rpartition("; ")
    if not what.startswith("is not a commit, branch") or "did you mean" in way_out:
        return reason
    alike = [each for each in network_names() if each[:3] == name[:3]]
    return f"{what}; {nearest(name, alike, nearest_path(name, way_out))}"


def _is_revision(name: str) -> bool:
    """Return whether a name is that of a commit or experiment, whatever is the matter with its model."""
    from darkroom.base import paths
    from darkroom.repository.git import commit_of, experiments

    root = paths.main_repository()
    return bool(commit_of(root, name)) or (bool(commit_of(root, "HEAD")) and name in {each.name for each in experiments(root)})


def _refuse_export(where: str, name: str, path: Path) -> None:
    """Refuse what `./darkroom export` wrote, which is for other programs."""
    is_folder = path.is_dir() and not (path / "model.json").exists()
    if (path.suffix in EXPORTED and path.is_file()) or (
        is_folder and any((path / f"model{ending}").is_file() for ending in EXPORTED)
    ):
        folder = path if path.is_dir() else path.parent
        raise InputError(
            f"{where}: {name} is an export, for programs without this repository; open it with {folder / 'classify.py'} "
            "(from classify import Model), or name the model that it was made of"
        )


def _with_calibration(model: "Published", folder: Path, command: str) -> "Published":
    """Return a model with the calibration beside it, which predict alone uses."""
    from darkroom.inference.calibrated import read_calibration

    return replace(model, calibration=read_calibration(folder, model.name)) if command == "predict" else model


def _recorded_calibration(name: str) -> bytes | None:
    """Return the calibration that a revision has of its published model; None if it has none, or an epoch was named."""
    from darkroom.base import paths
    from darkroom.versions.revisions import open_revision

    commit, _, folder = name.partition(":")
    path = paths.shown(paths.CALIBRATION)
    if folder.rstrip("/") not in ("", paths.shown(paths.MODELS)):
        return None
    revision = open_revision(paths.main_repository(), commit, (path,))
    return revision.read(path) if path in revision.outs else None


def _open_file(where: str, name: str, path: Path, params: "Params", command: str) -> "Published":
    """Build the network of params.yaml with the weights of a file, and the preprocessing and classes of the data."""
    from darkroom.base import paths
    from darkroom.base.params import Network
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.models.model_json import Card
    from darkroom.models.networks import without_weights
    from darkroom.models.saving import Published, refuse_unsafe_loading
    from darkroom.transfer.pretrained import describe_weights
    from darkroom.transfer.trainable import build_model
    from darkroom.transfer.weights_file import open_file

    refuse_unsafe_loading()
    weights = open_file(where, name, path.read_bytes())
    train = params.train
    if train.init_from is not None:
        raise InputError(
            f"{where}: {name} does not say how images are normalised, which train.init_from decides; name a folder or a revision"
        )
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    weights = replace(weights, expects=describe_weights(train.model))
    model = without_weights(train.model) if isinstance(train.model, Network) else train.model
    plain = {
        "model": model,
        "lora": None,
        "freeze": 0.0,
        "cache_features": False,
        "allow_noncommercial": True,
        "image_sizes": None,
    }
    built = build_model(params.model_copy(update={"train": train.model_copy(update=plain)}), pack, split.rows["train"], weights)
    print(f"{command}: {built.loaded}")
    print(f"{command}: classes and normalisation are those of data/raw; whether {name} was trained on other images is not known")
    card = Card.model_validate(
        {
            "format": 1, "network": model, "classes": pack.classes, "task": split.task, "preprocessing": built.preprocessing,
            "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "epoch": 0, "monitor": "", "score": 0.0,
            "data_sha256": {}, "params": {}, "packages": {},
        }
    )  # fmt: skip
    return Published(built.network.eval(), card, name)
