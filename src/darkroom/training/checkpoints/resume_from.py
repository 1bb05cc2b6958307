"""`train.resume_from`: resuming another training, from all of its state or, where only these are left, from its weights.

What params.yaml says holds from there on. With the state and the same parameters the result has the bits of one long training,
unless the schedule depends on the number of epochs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params, TrainParams
from darkroom.models.model_json import Continued, parse_card, science
from darkroom.training.checkpoints.log_files import without_places
from darkroom.transfer.init_from import InitialWeights, open_initial_weights
from darkroom.transfer.weights_file import FileWeights, load_without_code, open_file, read_pinned

KEY = "params.yaml: train.resume_from"
# What may be another one from there on. All else would mean another thing for the epochs before: a metric that is compared
# with theirs, a seed that gave their order.
MAY_CHANGE = frozenset(
    {
        *("epochs", "early_stopping", "keep_every", "keep_states", "resume_from", "resume_sha256", "log_every", "test_every"),
        *("lr", "optimizer", "scheduler", "lr_table", "lr_factors", "layer_decay", "gradient_clip", "adaptive_clip"),
        *("augment", "mixup", "cutmix", "threads", "processes", "strategy"),
    }
)
# By these and a schedule every parameter has its rate.
RATES = ("lr", "lr_factors", "layer_decay")
State = dict[str, Any]


class Recorded(Protocol):
    """What is left of a training in a revision or a folder, as `darkroom.versions.models` reads it."""

    @property
    def name(self) -> str:
        """As it was named, with the commit."""

    @property
    def commit(self) -> str | None:
        """The whole hash."""

    @property
    def sha256(self) -> dict[str, str]:
        """Hash of each file."""

    @property
    def model(self) -> Mapping[str, bytes]:
        """The published model, if there is no state."""

    @property
    def state(self) -> bytes | None:
        """The state after an epoch."""

    @property
    def weights(self) -> Mapping[str, bytes]:
        """Weights that the state names."""


@dataclass(frozen=True)
class Earlier:
    """A training that is resumed.

    Attributes
    ----------
    name : str
        As in train.resume_from, with the commit.
    record : Continued
        What run.json and model.json say of it.
    state : dict or None
        All of its state, as Lightning takes it; None: only weights were kept.
    initial : InitialWeights, FileWeights or None
        The weights, if there is no state.
    optimizer : dict or None
        State of the optimizer.
    scheduler : dict or None
        State of a schedule that waits for a metric, ReduceLROnPlateau; every other one is a function of the steps.
    weights : dict of bytes
        Of its best epochs, which may stay the best ones.
    """

    name: str
    record: Continued
    state: State | None = None
    initial: InitialWeights | FileWeights | None = None
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    weights: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.record.epoch

    @property
    def params(self) -> dict[str, Any]:
        """Section train of the parameters that it was trained with, empty if they are not known."""
        known: dict[str, Any] = self.state["darkroom"]["about"]["params"]["train"] if self.state else {}
        return known

    @property
    def computes(self) -> dict[str, str]:
        """The precision and the memory format that it was trained in, by key of `train`, which `auto` keeps."""
        if not self.state or "precision" not in self.state["darkroom"]:
            return {}
        # Versions that did not record the format knew one.
        usual = {"memory_format": "channels_last"}
        return {key: self.state["darkroom"].get(key, usual.get(key)) for key in ("precision", *usual)}

    def check_weights(self, train: TrainParams) -> None:
        """Refuse initial weights of two kinds; those of `train.init_from` are in a whole state already."""
        if self.state is None and (train.init_from or train.model.weights):
            other = "train.init_from" if train.init_from else "train.model.weights"
            raise InputError(f"{KEY}: only weights of {self.name} are there, and {other} names others; set {other} to null")


def changed_rates(before: Mapping[str, Any], params: Params) -> list[str]:
    """Return the keys of `train` that set rates and were other ones in an earlier training; `before` has its section train."""
    now = science(params)["train"]
    return [key for key in RATES if before.get(key) != now[key]]


def open_earlier(found: Recorded | None, params: Params, data_sha256: Mapping[str, str]) -> Earlier:
    """Open what `train.resume_from` names: a training that was found in a revision or a folder, or a file.

    Raises
    ------
    InputError
        If it is damaged, was trained on other data, or cannot be resumed under these parameters.
    """
    earlier = _of_recorded(found) if found else _of_file(params)
    trained_on = earlier.state["darkroom"]["about"]["data"] if earlier.state else _data_of(found)
    for part, digest in trained_on.items():
        if data_sha256.get(part) != digest:
            raise InputError(
                f"{KEY}: {earlier.name} was trained on another data/{part}, so that it may have seen images of the test split; "
                "set train.init_from to start from its weights all the same"
            )
    if earlier.epoch >= params.train.epochs:
        raise InputError(
            f"params.yaml: train.epochs: is {params.train.epochs}, but {earlier.name} has {earlier.epoch} epochs already; "
            "raise it"
        )
    earlier.check_weights(params.train)
    if earlier.state is not None:
        _check_params(earlier, params)
    return earlier


def _of_recorded(found: Recorded) -> Earlier:
    record: dict[str, Any] = {"source": found.name, "commit": found.commit, "sha256": found.sha256}
    if found.state is not None:
        state = load_without_code(KEY, f"{found.name}.ckpt", found.state)
        return _with_state(found.name, state, record, found.weights)
    card = parse_card(found.model["model.json"])
    initial = open_initial_weights(found.name, found.model, KEY)
    return Earlier(found.name, Continued(**record, epoch=card.epoch, state="weights"), initial=initial)


def _of_file(params: Params) -> Earlier:
    name = params.train.resume_from
    assert name is not None
    content = read_pinned(KEY, name, "params.yaml: train.resume_sha256", params.train.resume_sha256)
    if Path(name).suffix != ".ckpt":
        raise InputError(
            f"{KEY}: {name} is no checkpoint; name a .ckpt file, or set train.model.weights to start from its weights"
        )
    loaded = load_without_code(KEY, name, content)
    record: dict[str, Any] = {"source": name, "commit": None, "sha256": {Path(name).name: hashlib.sha256(content).hexdigest()}}
    if "darkroom" in loaded:
        beside = (paths.ROOT / Path(name).expanduser()).parent
        needed = [file for file in loaded.get("weights", []) if (beside / file).is_file()]
        if len(needed) < len(loaded.get("weights", [])):
            raise InputError(f"{KEY}: {name} needs the weights of its best epochs beside it; copy the whole folder 'states'")
        weights = {file: (beside / file).read_bytes() for file in needed}
        if any(hashlib.sha256(value).hexdigest() not in file for file, value in weights.items()):
            raise InputError(f"{KEY}: the weights beside {name} are damaged; copy the whole folder 'states' again")
        return _with_state(name, loaded, record, weights)
    epoch, optimizers = loaded.get("epoch"), loaded.get("optimizer_states") or []
    if not isinstance(epoch, int):
        raise InputError(
            f"{KEY}: {name} has no 'epoch', as checkpoints of Lightning have; set train.model.weights to start from it"
        )
    # Lightning counts from 0 and saves at the end of an epoch, unless it was told to save within.
    done = epoch + bool(_is_epoch_over(loaded))
    optimizer = optimizers[0] if len(optimizers) == 1 else None
    initial = open_file(KEY, name, content)
    return Earlier(name, Continued(**record, epoch=done, state="checkpoint"), initial=initial, optimizer=optimizer)


def _is_epoch_over(checkpoint: Mapping[str, Any]) -> bool:
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress", {})
    return bool(progress.get("is_last_batch", True))


def _with_state(name: str, state: State, record: dict[str, Any], weights: Mapping[str, bytes]) -> Earlier:
    own = state["darkroom"]
    if "about" not in own:
        raise InputError(
            f"{KEY}: {name} is the state of an earlier version of this project; set train.init_from to start from its weights"
        )
    (optimizer,) = state["optimizer_states"]
    scheduler: dict[str, Any] = next(iter(state["lr_schedulers"]), {})
    # The optimizer and its schedule are loaded by RestoreOptimizer, which knows what they are now.
    whole = {**without_places(state), "optimizer_states": [], "lr_schedulers": [], "darkroom": {**own, "finished": False}}
    whole["callbacks"] = {**state["callbacks"], "KeepBest": {**state["callbacks"]["KeepBest"], "states": {}}}
    continued = Continued(**record, epoch=own["epoch"], state="whole")
    return Earlier(name, continued, whole, None, optimizer, scheduler if "num_bad_epochs" in scheduler else None, weights)


def _data_of(found: Recorded | None) -> dict[str, str]:
    return parse_card(found.model["model.json"]).data_sha256 if found else {}


def _check_params(earlier: Earlier, params: Params) -> None:
    """Refuse parameters that the finished epochs would have needed, too."""
    assert earlier.state is not None
    before, now = earlier.state["darkroom"]["about"]["params"], science(params)
    for key, value in now["train"].items():
        if key not in MAY_CHANGE and key in before["train"] and before["train"][key] != value:
            raise _other(f"train.{key}", value, before["train"][key], earlier.name)
    if now["base"]["seed"] != before["base"]["seed"]:
        raise _other("base.seed", now["base"]["seed"], before["base"]["seed"], earlier.name)
    average = earlier.state["state_dict"].get("objective_modules.average.made.n_averaged")
    if params.train.swa is not None and average is not None and int(average) and before["train"]["epochs"] != params.train.epochs:
        raise InputError(
            f"params.yaml: train.swa: the average of {earlier.name} has begun, by its {before['train']['epochs']} epochs; "
            "resume from a kept epoch before that"
        )
    scheduler, changed = params.train.scheduler, changed_rates(before["train"], params)
    waits = scheduler is not None and scheduler.target.endswith("ReduceLROnPlateau")
    if waits and earlier.scheduler is not None and changed:  # the rates that it has come to are kept
        raise _other(f"train.{changed[0]}", now["train"][changed[0]], before["train"].get(changed[0]), earlier.name)


def _other(key: str, value: Any, before: Any, name: str) -> InputError:
    return InputError(
        f"params.yaml: {key}: is {value}, but {name} was trained with {before}, and cannot be resumed otherwise; "
        "set it back, or set train.init_from, not train.resume_from, to start from the weights"
    )
