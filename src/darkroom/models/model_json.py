"""model.json: all that is known of a model beside its weights."""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import MOST_THREADS, THREADS, NetworkChoice, Params
from darkroom.data.split_file import Split
from darkroom.models.licence import FROM_SCRATCH, WeightsOrigin
from darkroom.models.preprocessing import Preprocessing
from darkroom.models.size import Size

# Those that compute a result: pixels, augmentation, networks, steps, and the metrics that choose an epoch.
RECORDED_PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "torchmetrics", "numpy", "pillow", "simplejpeg")
CARD, WEIGHTS = "model.json", "model.safetensors"
MAX_CARD_BYTES = 64_000_000
RESTORE_ADVICE = "run 'dvc checkout', or 'dvc repro train' to train it again"


class Best(Protocol):
    """What a card records of the published epoch, as `KeepBest` has it, which needs Lightning."""

    @property
    def monitor(self) -> str:
        """The monitored metric."""

    @property
    def epoch(self) -> int:
        """From 1."""

    @property
    def score(self) -> float | None:
        """Value of the metric."""


class Continued(BaseModel):
    """The training that this one resumes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str
    """As in `train.resume_from`, with the commit."""
    commit: str | None
    """The whole hash; null: a folder or a file."""
    sha256: dict[str, str]
    """Hash of each file that it was read from."""
    epoch: int
    """Number of its finished epochs."""
    state: Literal["whole", "checkpoint", "weights"]
    """What was left of it: all, the checkpoint of another project, or weights alone."""


class Card(BaseModel):
    """model.json: all that is known of a model beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    network: NetworkChoice
    """As `train.model` of params.yaml."""
    classes: list[str]
    """Class names; a label is an index into it."""
    task: Literal["multiclass", "multilabel", "binary"] = "multiclass"
    """Whether an image has one class, or any number of them; `binary`: one of two, and the network has one output."""
    positive_class: str | None = None
    """Of a binary task: the class that the output stands for."""
    preprocessing: Preprocessing
    """What the network expects of an image."""
    weights_sha256: str
    """Hash of model.safetensors."""
    precision: str | None = None
    """Precision of the training, also if `train.precision` is auto."""
    memory_format: str | None = None
    """Memory format of the training, also if `train.memory_format` is auto; null: by a version that did not record it."""
    machine: dict[str, str] = {}
    """Device, and of a CPU its instructions, with which it was trained; empty: by a version that did not record it."""
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
    """Configuration of a network of transformers, from which it can be built again."""
    origin: WeightsOrigin | None = None
    """Weights that the training started with; null: from scratch."""
    teacher: WeightsOrigin | None = None
    """The model that it was distilled from; null: none."""
    resumed: Continued | None = None
    """The training that this one went on with; null: none."""
    size: Size | None = None
    """Parameters and multiply-adds."""
    frozen: list[str] = []
    """Modules, and further parameters, that were not trained, or not before `train.unfreeze_epoch`."""

    @property
    def outputs(self) -> list[str]:
        """The class of each output of the network."""
        return self.classes if self.positive_class is None else [self.positive_class]

    @property
    def positive(self) -> int | None:
        """Label of the positive class of a binary task."""
        return None if self.positive_class is None else self.classes.index(self.positive_class)

    @property
    def threads(self) -> int:
        """Threads with which it was trained, and computes what it predicts; the usual number, if it does not say."""
        train = self.params.get("train")
        number = train.get("threads") if isinstance(train, dict) else None
        return number if type(number) is int and 1 <= number <= MOST_THREADS else THREADS

    def as_origin(self, source: str) -> WeightsOrigin:
        """Return source and licence for a training that starts from these weights; their origin's licences apply, too."""
        licences = dict.fromkeys(origin.licence for origin in (self.origin, self.teacher) if origin) or {FROM_SCRATCH: None}
        named = [licence for licence in licences if licence is not None]
        return WeightsOrigin(source=source, licence="; ".join(named) or None, sha256={WEIGHTS: self.weights_sha256})


def data_hashes(raw: Path, split: Split) -> dict[str, str]:
    """Return the hashes of the data that a model was trained on."""
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
    """Return the fields of a `Card` except `format`, `weights_sha256` and `packages`.

    `task` is that of the labels; `about` is that of the plan, in which a binary task has a positive class.
    """
    return {
        "network": params.train.model.model_dump(by_alias=True),
        "classes": classes,
        "task": "binary" if (about or {}).get("positive_class") is not None else task,
        "preprocessing": preprocessing.model_dump(mode="json", by_alias=True),
        "epoch": best.epoch,
        "soup": soup,
        "monitor": best.monitor,
        "score": best.score,
        "data_sha256": data_sha256,
        "params": science(params),
        **(about or {}),
    }


def science(params: Params) -> dict[str, Any]:
    """Return the sections that the weights depend on as JSON, without the settings for saving states and for observing."""
    sections = params.model_dump(mode="json", by_alias=True, include={"base", "train"})
    for key in ("checkpoint", "loggers", "inspect"):
        del sections["train"][key]
    return sections


def packages(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of the packages that a result depends on; `params` is what `science` returns."""
    train = params["train"]
    named = dict.fromkeys(name.partition(".")[0] for name in [*params["base"]["allow_targets"], *_targets(train)])
    own = [name for name in named if name not in RECORDED_PACKAGES]
    used = {"transformers": train["model"].get("provider") == "huggingface", "peft": train["lora"] is not None}
    used["scikit-learn"] = train.get("fit_head") is not None
    more = [*(name for name, is_used in used.items() if is_used), *(name for name in own if _is_distribution(name))]
    return {name: version(name) for name in (*RECORDED_PACKAGES, *more)}


def _targets(value: Any) -> Iterator[str]:
    """Yield every name under `_target_`, at any depth."""
    if isinstance(value, Mapping):
        if isinstance(name := value.get("_target_"), str):
            yield name
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from _targets(item)


def _is_distribution(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:  # a user's module, or one of a package with another name
        return False


def read_card(path: Path, name: str = "models") -> Card:
    """Read and check model.json; `name` is that of its folder in error messages."""
    try:
        return parse_card(files.read_regular(path, MAX_CARD_BYTES))
    except FileNotFoundError:
        raise InputError(f"{name}/{path.name}: does not exist; {RESTORE_ADVICE}") from None
    except OSError as error:
        raise InputError(f"{name}/{path.name}: {error.strerror}; {RESTORE_ADVICE}") from None
    except ValueError as error:
        raise InputError(f"{name}/{path.name}: is damaged ({error}); {RESTORE_ADVICE}") from None


def parse_card(data: bytes) -> Card:
    """Read and check the bytes of model.json; a `ValueError` says in one line what is wrong."""
    try:
        # Through JSON again, since in strict mode pydantic accepts lists for tuples only from JSON.
        return Card.model_validate_json(json.dumps(files.parse_sealed_json(data)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{key}: {first['msg']}" if key else first["msg"]) from None
    except RecursionError as error:
        raise ValueError(str(error)) from None
