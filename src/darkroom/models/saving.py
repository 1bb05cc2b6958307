"""Saving and loading the published model, `model.safetensors` and `model.json`. Loading it runs no code of the files."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Network, Params, Target
from darkroom.models.bounds import check_header, no_larger_than
from darkroom.models.model_json import CARD, RESTORE_ADVICE, WEIGHTS, Card, packages, parse_card, read_card
from darkroom.models.networks import build_network, without_weights
from darkroom.models.preprocessing import Normalized

INDEX = "index.json"


@dataclass(frozen=True)
class Published:
    """A loaded model: the network in evaluation mode, and its card."""

    network: nn.Module
    card: Card
    name: str = "models"
    """Its folder, or the name under which it was opened."""
    calibration: bytes | None = None
    """The content of calibration.json, where it was read with the model."""

    @property
    def multilabel(self) -> bool:
        """Whether an image has any number of classes."""
        return self.card.task == "multilabel"

    def check_data(self, data_sha256: dict[str, str]) -> None:
        """Refuse data that differs from the data that the model was trained on.

        Raises
        ------
        InputError
            Naming the folder that changed: training images could be among those of the new test split.
        """
        for name, recorded in self.card.data_sha256.items():
            if data_sha256.get(name) != recorded:
                fix = "run 'dvc repro'" if self.name == "models" else "measure it on other images with --data"
                raise InputError(f"{self.name}/{CARD}: was trained on another data/{name}; {fix}")


def save_model(directory: Path, weights: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write the weights of a `Normalized` network, then the card with their hash, each in one step.

    `card` is what `make_card` returns.

    Raises
    ------
    RunError
        If the disk is full or fails; earlier files are unchanged.
    """
    path = directory / "model.safetensors"
    try:
        with files.replaced_file(path) as temporary:
            save_file({name: value.contiguous() for name, value in weights.items()}, temporary)
    except SafetensorError as error:
        raise RunError(f"{paths.shown(path)}: cannot be written ({error}); free disk space or fix the permissions") from error
    files.write_sealed_json(
        directory / "model.json",
        {"format": 1, **card, "weights_sha256": files.sha256(path), "packages": packages(card["params"])},
    )


def save_checkpoints(
    directory: Path,
    checkpoints: Iterable[tuple[dict[str, Tensor], dict[str, Any]]],
    states: Mapping[int, Sequence[Path]] | None = None,
) -> None:
    """Write a model for each epoch, in `epoch_0001` and so on, and index.json with the hash of each file.

    The index is written without epochs, too, so that the folder is never empty.

    Parameters
    ----------
    directory
        The folder.
    checkpoints
        Weights and card of each epoch.
    states
        By epoch the file of its state, and files of weights that it names; they are copied to `states/`.
    """
    scores: dict[str, dict[str, float]] = {}
    hashes: dict[str, str] = {}
    for weights, card in checkpoints:
        folder = directory / f"epoch_{card['epoch']:04d}"
        save_model(folder, weights, card)
        scores[folder.name] = {card["monitor"]: card["score"]}
        hashes |= {f"{folder.name}/{name}": files.sha256(folder / name) for name in (CARD, WEIGHTS)}
    index: dict[str, Any] = {"format": 1, "epochs": scores, "files": hashes}
    if states:
        index["states"] = {f"epoch_{epoch:04d}": [path.name for path in named] for epoch, (_, *named) in states.items()}
        for epoch, (state, *named) in states.items():
            for path, name in ((state, f"epoch_{epoch:04d}.ckpt"), *((path, path.name) for path in named)):
                copy = directory / "states" / name
                with files.replaced_file(copy) as temporary:
                    shutil.copyfile(path, temporary)
                hashes[f"states/{name}"] = files.sha256(copy)
    files.write_sealed_json(directory / INDEX, index)


def refuse_unsafe_loading() -> None:
    """Refuse a setting of torch under which loading weights may run code.

    References
    ----------
    https://docs.pytorch.org/docs/stable/notes/serialization.html (torch.load with weights_only)
    """
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    if os.environ.get(name, "0").lower() in ("1", "y", "yes", "true"):
        raise InputError(f"{name}: is set, so that loading weights could run code; unset it")


def load_model(directory: Path, params: Params, name: str = "models") -> Published:
    """Load a published model; `name` is that of its folder in error messages.

    Raises
    ------
    InputError
        If a file is missing or damaged, or if params.yaml names another network than a model by `_target_` was trained with.
    """
    refuse_unsafe_loading()
    card = read_card(directory / CARD, name)
    path = directory / WEIGHTS
    if not path.exists():
        raise InputError(f"{name}/{path.name}: does not exist; {RESTORE_ADVICE}")
    if not path.is_file():
        raise InputError(f"{name}/{path.name}: is not a regular file; {RESTORE_ADVICE}")
    if files.sha256(path) != card.weights_sha256:
        raise InputError(f"{name}/{path.name}: is not the file that model.json describes (its SHA-256 differs); {RESTORE_ADVICE}")
    try:
        with path.open("rb") as file:
            check_header(file.read(8))
        weights = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{name}/{path.name}: is damaged ({error}); {RESTORE_ADVICE}") from error
    return Published(build_published(card, weights, params, where=f"{name}/{CARD}", advice=RESTORE_ADVICE), card, name)


def open_content(key: str, name: str, content: Mapping[str, bytes]) -> tuple[Card, dict[str, Tensor]]:
    """Verify a published model in memory: the card by its own hash, the weights by the card's.

    Parameters
    ----------
    key
        Key of params.yaml that names it, for error messages.
    name
        Its name there.
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
        check_header(content[WEIGHTS])
        return card, load(content[WEIGHTS])
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{key}: {WEIGHTS} of {name} is damaged ({error}); name another model") from None


def build_published(card: Card, weights: Mapping[str, Tensor], params: Params, *, where: str, advice: str) -> Normalized:
    """Build the network of a card, with its weights, in evaluation mode.

    A network that is named by `_target_` is built from params.yaml, never from the card, so that a model from elsewhere names
    no code.

    Parameters
    ----------
    card, weights
        The published model.
    params
        Must name the same network, if the card names a `_target_`.
    where, advice
        Beginning and end of error messages.

    Raises
    ------
    InputError
        If params.yaml names another network than a model by `_target_` was trained with, or card and weights do not fit.
    """
    model = card.network
    if isinstance(model, Target) and not _same_target(model, params.train.model):
        raise InputError(
            f"{where}: was trained with {model.target}, but params.yaml names another train.model; "
            f"set train.model to what it was, or {advice}"
        )
    # The weights are those of the model; no other file is downloaded or opened.
    model = without_weights(model) if isinstance(model, Network) else model
    try:
        if isinstance(model, Network) and model.provider == "huggingface" and card.config is None:
            raise InputError("its config is missing")  # the name may mean another network today, or none
        with no_larger_than(weights):
            built = build_network(
                model,
                num_classes=len(card.outputs),
                channels=card.preprocessing.channels,
                allow=params.base.allow_targets,
                config=card.config,
            )
        network = Normalized(built, card.preprocessing)
        network.load_state_dict(weights)
    except InputError as error:
        if isinstance(model, Target):
            raise
        raise InputError(f"{where}: names a network that cannot be built ({error}); {advice}") from error
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{where}: does not fit {WEIGHTS} ({str(error).splitlines()[0]}); {advice}") from error
    return network.eval()


def _same_target(model: Target, other: Network | Target) -> bool:
    """Return whether two networks by `_target_` are built alike, whatever weights they started with."""
    return isinstance(other, Target) and (model.target, model.arguments) == (other.target, other.arguments)
