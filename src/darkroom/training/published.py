"""The published model: `model.safetensors` and `model.json`, all that evaluate and predict need. Opening it runs no code."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn

from darkroom import files, paths
from darkroom.data.splits import Split
from darkroom.errors import InputError, RunError
from darkroom.params import Network, NetworkChoice, Params, Target
from darkroom.training.networks import Normalized, Preprocessing, build_network, without_weights
from darkroom.training.origin import FROM_SCRATCH, Origin
from darkroom.training.size import Size

RECORDED_PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "numpy", "pillow")
CARD, WEIGHTS, INDEX = "model.json", "model.safetensors", "index.json"
WAY_OUT = "run 'dvc checkout', or 'dvc repro train' to train it anew"


class Best(Protocol):
    """What a card says of the published epoch, as `KeepBest` has it; this module does without Lightning."""

    monitor: str
    epoch: int
    score: float | None


class Card(BaseModel):
    """What model.json holds: all there is to know of a model beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    network: NetworkChoice
    """As `train.model` of params.yaml."""
    classes: list[str]
    """Class names; a label is an index into it."""
    task: Literal["multiclass", "multilabel"] = "multiclass"
    """Whether a picture has one class, or any number of them."""
    preprocessing: Preprocessing
    """What the network expects of a picture."""
    weights_sha256: str
    """Hash of model.safetensors."""
    epoch: int
    """The published epoch, from 1; the best one of a soup."""
    soup: list[int] | None = None
    """Epochs whose mean the weights are; null: they are those of the one epoch."""
    monitor: str
    score: float
    """Value of the monitored metric, measured with these weights."""
    data_sha256: dict[str, str]
    """Hashes of data/raw/dataset.json and data/split/manifest.csv."""
    params: dict[str, Any]
    """The sections of params.yaml that the weights depend on."""
    packages: dict[str, str]
    """Versions that it was trained with."""
    config: dict[str, Any] | None = None
    """Configuration of a network of transformers, from which it is built again."""
    origin: Origin | None = None
    """Weights that the training started with; null: from scratch."""
    teacher: Origin | None = None
    """Another model whose answers it has learnt; null: none."""
    size: Size | None = None
    """Parameters and multiply-adds."""

    def as_origin(self, source: str) -> Origin:
        """Return what is to be known of its weights by those who go on from them: what it came from itself binds them, too."""
        licences = dict.fromkeys(origin.licence for origin in (self.origin, self.teacher) if origin) or {FROM_SCRATCH: None}
        named = [licence for licence in licences if licence is not None]
        return Origin(source=source, licence="; ".join(named) or None, sha256={WEIGHTS: self.weights_sha256})


@dataclass(frozen=True)
class Published:
    """A model that was opened: the network in evaluation mode, and what is known of it."""

    network: nn.Module
    card: Card

    @property
    def multilabel(self) -> bool:
        """Whether a picture has any number of classes."""
        return self.card.task == "multilabel"

    def check_data(self, data_sha256: dict[str, str]) -> None:
        """Refuse to be measured on other pictures, or another split of them, than the model was trained on.

        Raises
        ------
        InputError
            Naming the folder that changed: training pictures could be among those of the new test split.
        """
        for name, recorded in self.card.data_sha256.items():
            if data_sha256.get(name) != recorded:
                raise InputError(f"models/model.json: was trained on another data/{name} than is here; run 'dvc repro'")


def data_hashes(raw: Path, split: Split) -> dict[str, str]:
    """Return the hashes by which a model and its data know each other."""
    return {"raw": files.sha256(raw / "dataset.json"), "split": split.sha256}


def make_card(
    params: Params,
    preprocessing: Preprocessing,
    classes: list[str],
    data_sha256: dict[str, str],
    best: Best,
    *,
    task: str = "multiclass",
    soup: list[int] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the fields of a `Card`, but for `format`, `weights_sha256` and `packages`; `about` is what the plan knows."""
    return {
        "network": params.train.model.model_dump(by_alias=True),
        "classes": classes,
        "task": task,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "epoch": best.epoch,
        "soup": soup,
        "monitor": best.monitor,
        "score": best.score,
        "data_sha256": data_sha256,
        "params": science(params),
        **(about or {}),
    }


def science(params: Params) -> dict[str, Any]:
    """Return the sections that the weights depend on; when a state is saved and who looks on is not among that."""
    sections = params.model_dump(by_alias=True, include={"base", "train"})
    for key in ("checkpoint", "loggers", "inspect"):
        del sections["train"][key]
    return sections


def save_model(directory: Path, weights: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write the weights of a `Normalized` network, then the card with their hash, each in one step.

    `card` is what `make_card` returns.

    Raises
    ------
    RunError
        If the disk is full or fails; what stood there is untouched.
    """
    path = directory / "model.safetensors"
    try:
        with files.replaced_file(path) as temporary:
            save_file({name: value.contiguous() for name, value in weights.items()}, temporary)
    except SafetensorError as error:
        raise RunError(f"{paths.shown(path)}: cannot be written ({error}); free the disk or mend its permissions") from error
    files.write_sealed_json(
        directory / "model.json",
        {"format": 1, **card, "weights_sha256": files.sha256(path), "packages": packages(card["params"])},
    )


def save_checkpoints(directory: Path, checkpoints: Iterable[tuple[dict[str, Tensor], dict[str, Any]]]) -> None:
    """Write weights and cards of epochs as a model each, in `epoch_0001` and so on, and index.json with the hash of each file.

    The index is there for no epochs as well, so that DVC and Git always have something to keep.
    """
    scores: dict[str, dict[str, float]] = {}
    hashes: dict[str, str] = {}
    for weights, card in checkpoints:
        folder = directory / f"epoch_{card['epoch']:04d}"
        save_model(folder, weights, card)
        scores[folder.name] = {card["monitor"]: card["score"]}
        hashes |= {f"{folder.name}/{name}": files.sha256(folder / name) for name in (CARD, WEIGHTS)}
    files.write_sealed_json(directory / INDEX, {"format": 1, "epochs": scores, "files": hashes})


def packages(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of the packages that a result depends on; `params` is what `science` returns."""
    train = params["train"]
    own = [name.partition(".")[0] for name in params["base"]["allow_targets"]]
    used = {"transformers": train["model"].get("provider") == "huggingface", "peft": train["lora"] is not None}
    more = [*(name for name, is_used in used.items() if is_used), *(name for name in own if _is_distribution(name))]
    return {name: version(name) for name in (*RECORDED_PACKAGES, *more)}


def _is_distribution(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:  # a module of one's own, or one of a package with another name
        return False


def refuse_unsafe_loading() -> None:
    """Refuse a setting under which opening weights may run code that they carry.

    References
    ----------
    https://docs.pytorch.org/docs/stable/notes/serialization.html (torch.load with weights_only)
    """
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    if os.environ.get(name, "0").lower() in ("1", "y", "yes", "true"):
        raise InputError(f"{name}: is set, so that opening weights could run code; unset it")


def load_model(directory: Path, params: Params, name: str = "models") -> Published:
    """Open a published model; `name` is what its folder is called in errors.

    Raises
    ------
    InputError
        If a file is missing or damaged, or if params.yaml names another network than a model by `_target_` was trained with.
    """
    refuse_unsafe_loading()
    card = read_card(directory / CARD, name)
    path = directory / WEIGHTS
    if not path.exists():
        raise InputError(f"{name}/{path.name}: does not exist; {WAY_OUT}")
    if files.sha256(path) != card.weights_sha256:
        raise InputError(f"{name}/{path.name}: is not the file that model.json describes (its SHA-256 differs); {WAY_OUT}")
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{name}/{path.name}: is damaged ({error}); {WAY_OUT}") from error
    return Published(build_published(card, weights, params, where=f"{name}/{CARD}", way_out=WAY_OUT), card)


def open_content(key: str, name: str, content: Mapping[str, bytes]) -> tuple[Card, dict[str, Tensor]]:
    """Verify a published model that was read: the card by its own hash, the weights by the card's.

    Parameters
    ----------
    key
        Where params.yaml names it, for error messages.
    name
        As it was asked for.
    content
        The bytes of model.json and model.safetensors.

    Returns
    -------
    card, weights
        The weights are those of a `Normalized` network.

    Raises
    ------
    InputError
        If one of them is damaged.
    """
    try:
        card = parse_card(content[CARD])
    except ValueError as error:
        raise InputError(f"{key}: {CARD} of {name} is damaged ({error}); name another model") from None
    if hashlib.sha256(content[WEIGHTS]).hexdigest() != card.weights_sha256:
        raise InputError(f"{key}: {WEIGHTS} of {name} is not the file that {CARD} describes; name another model")
    try:
        return card, load(content[WEIGHTS])
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{key}: {WEIGHTS} of {name} is damaged ({error}); name another model") from None


def build_published(card: Card, weights: Mapping[str, Tensor], params: Params, *, where: str, way_out: str) -> Normalized:
    """Build the network of a card, with its weights, in evaluation mode.

    A network that was named by `_target_` is built from params.yaml, never from the card: somebody's model names no code.

    Parameters
    ----------
    card, weights
        The published model.
    params
        Has to name the same network if the card's is one by `_target_`.
    where, way_out
        What error messages begin and end with.

    Raises
    ------
    InputError
        If params.yaml names another network than a model by `_target_` was trained with, or card and weights do not fit.
    """
    model = card.network
    if isinstance(model, Target) and model != params.train.model:
        raise InputError(
            f"{where}: was trained with {model.target}, but params.yaml names another train.model; "
            f"set train.model to what it was, or {way_out}"
        )
    if isinstance(model, Network):
        # Its weights come from the file beside it; somebody's model is not to fetch, or to open, any other.
        model = without_weights(model)
    try:
        if isinstance(model, Network) and model.provider == "huggingface" and card.config is None:
            raise InputError("its config is missing")  # to look the name up could mean another network, or none
        built = build_network(
            model,
            num_classes=len(card.classes),
            channels=card.preprocessing.channels,
            allow=params.base.allow_targets,
            config=card.config,
        )
        network = Normalized(built, card.preprocessing)
        network.load_state_dict(weights)
    except InputError as error:
        if isinstance(model, Target):
            raise
        raise InputError(f"{where}: names a network that cannot be made ({error}); {way_out}") from error
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{where}: does not fit {WEIGHTS} ({str(error).splitlines()[0]}); {way_out}") from error
    return network.eval()


def read_card(path: Path, name: str = "models") -> Card:
    """Read and check model.json, in a folder that is called `name` in errors."""
    try:
        return parse_card(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{name}/{path.name}: does not exist; {WAY_OUT}") from None
    except ValueError as error:
        raise InputError(f"{name}/{path.name}: is damaged ({error}); {WAY_OUT}") from None


def parse_card(data: bytes) -> Card:
    """Read and check the bytes of model.json; a `ValueError` says on one line what is wrong with them."""
    try:
        # Through JSON once more: in strict mode pydantic takes lists for tuples from JSON alone.
        return Card.model_validate_json(json.dumps(files.parse_sealed_json(data)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{key}: {first['msg']}") from None
    except RecursionError as error:
        raise ValueError(str(error)) from None
