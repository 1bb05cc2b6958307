"""The sections of params.yaml as strict types: every key, its meaning and its allowed values.

The reference of parameters is generated from this file. Rules that concern several keys are in `params_checks`.
"""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    Tag,
    model_serializer,
    model_validator,
)

from darkroom.base.errors import listed, nearest
from darkroom.base.notations import translated
from darkroom.base.renamed import with_current_targets


def _only_json(value: Any) -> Any:
    """Refuse what JSON cannot hold (dates, sets, NaN, keys that are not text): these mappings are recorded in model.json."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not text; put it in quotes")
            _only_json(item)
    elif isinstance(value, list):
        for item in value:
            _only_json(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"{value!r} is a {type(value).__name__}; use text, numbers, true/false, null, lists or mappings")
    return value


def _name(value: Any) -> Any:
    """Return the name of a class as text, since YAML reads the class name 7 as a number."""
    return str(value) if type(value) is int else value


def _distinct_formats(formats: list[str]) -> list[str]:
    if len(set(formats)) < len(formats):
        raise ValueError("names a format twice")
    return formats


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError(f"{values} names one device twice; name each once")
    return values


def _precision(value: Any) -> Any:
    """Return Lightning's name of a precision for its short one, such as 16."""
    short = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
    return short.get(str(value), value) if isinstance(value, str) or type(value) is int else value


def _pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"'{pattern}' is not a regular expression ({error}); correct it") from None
    return pattern


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is {pattern}, which is not a regular expression ({error}); correct it") from None
    if groups < 1:
        raise ValueError(f"is {pattern}, which has no group in parentheses; write one such as '^([^_]+)_'")
    return pattern


IMPORT_PATH = r"^([A-Za-z_]\w*\.)*[A-Za-z_]\w*$"
PACKAGE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
SHA256 = r"^[0-9a-fA-F]{64}$"
METRIC = r"^[A-Za-z]\w*$"
MONITOR = r"^(val|train)/[A-Za-z]\w*$"
OBJECTIVE = r"^(val/[A-Za-z]\w*|parameters|multiply_adds)$"
STUDY = r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$"
DURATION = r"^\d\d:\d\d:\d\d:\d\d$"
DOTTED = r"^[A-Za-z_]\w*(\.[^.\s]+)+$"
# Validation metrics that every training logs, those that it logs of its own batches, and those that evaluate adds.
MEASURED = ("loss", "accuracy", "balanced_accuracy", "f1_macro")
MEASURED_IN_TRAINING = ("loss", "accuracy")
# What metrics/train.json calls the validation loss: the value of `train.loss`, with label smoothing and class weights. It is not
# the cross entropy that evaluate calls loss.
CRITERION = "criterion"
EVALUATED = (*MEASURED, "ece", "mean_average_precision", "top5_accuracy")
# Of the positive class of a binary task; training logs the first of them.
BINARY = ("f1", "precision", "recall", "auroc", "average_precision")


def published_name(metric: str) -> str:
    """Return the name in metrics/train.json of a validation metric, `val/loss` or `loss`."""
    name = metric.removeprefix("val/")
    return CRITERION if name == "loss" else name


PATTERNS = {
    IMPORT_PATH: "an import path such as torch.optim.SGD",
    PACKAGE: "the name of a package or module",
    SHA256: "64 hexadecimal digits",
    METRIC: "a name of letters, digits and _",
    MONITOR: "val/ and the name of a metric, such as val/accuracy",
    OBJECTIVE: "val/ and the name of a metric, such as val/accuracy, or parameters, or multiply_adds",
    STUDY: "a name of letters, digits, - and _",
    DOTTED: "a key of params.yaml such as train.lr",
    DURATION: "a time such as '00:12:00:00', days to seconds",
}

Arguments = Annotated[dict[str, Any], AfterValidator(_only_json)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Threshold = Annotated[float, Field(gt=0, lt=1)]
# Numbers that a machine can count to, hold or wait for: a slip such as 100000000 in place of 10 is refused, not tried.
PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Limit = Annotated[int, Field(ge=1, lt=2**53)]
SmallInt = Annotated[int, Field(ge=1, le=1000)]
Duration = Annotated[float, Field(gt=0, le=1e8)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256, to_lower=True)]
PositiveFloat = Annotated[float, Field(gt=0)]
TimeUnit = Literal["weeks", "days", "hours", "minutes", "seconds"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Pixels = Annotated[int, Field(ge=1, le=4096)]
ImageSize = Pixels | Annotated[list[Pixels], Field(min_length=2, max_length=2)]
"""The side of a square, or [height, width]."""
NumBands = Annotated[int, Field(ge=1, le=16)]
BandNumber = Annotated[int, Field(ge=0, le=255)]
# As few as most machines have cores; it is also what a model was trained with that does not say.
THREADS, MOST_THREADS = 2, 1024
# How evaluate and predict run the network.
Backend = Literal["torch", "torch.compile", "openvino"]
InferencePrecision = Annotated[Literal["32-true", "bf16-mixed", "auto"], BeforeValidator(_precision)]


class Section(BaseModel):
    """A mapping of params.yaml; an unknown key or a value of the wrong type is an error.

    Keys that came after the first version have defaults, with which a training is what it was before: experiments recorded then
    lack them, and so does the params.yaml of whoever merges a later version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Target(BaseModel):
    """A class or function by its import path, `_target_`, and its arguments; text alone is a path without arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    target: Annotated[str, Field(alias="_target_", pattern=IMPORT_PATH)]
    """Import path of a class or function, such as `torch.optim.SGD`; the name alone, `SGD`, is enough for common libraries."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return with_current_targets({"_target_": value} if isinstance(value, str) else value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _only_json(self.arguments)
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments beside `_target_`."""
        return dict(self.model_extra or {})

    def with_given(self, **values: Any) -> "Target":
        """Return a copy in which these arguments have other values, as far as they are given in params.yaml."""
        return self.model_copy(update={name: value for name, value in values.items() if name in self.arguments})


Metrics = dict[Annotated[str, Field(pattern=METRIC)], Target]


class Network(Section):
    """A network by its name in a library; for a network of your own write `_target_` and its arguments instead."""

    provider: Literal["builtin", "timm", "torchvision", "huggingface"]
    """Library of the network; `builtin`: `small_cnn`, `small_resnet`, `small_resnet18`, `small_vit` and `whitened_cnn`, which
    suit small images, and `side_by_side`, timm's networks beside each other."""
    name: Annotated[str, Field(min_length=1)]
    """Name, such as `small_cnn`, `resnet18`; for `huggingface` a local folder or `owner/name@commit` on the hub."""
    pretrained: bool
    """Start from the provider's pretrained weights, with a new last layer and the normalisation that the weights expect."""
    kwargs: Arguments
    """Arguments of the network, such as `{drop_rate: 0.1}`."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """File of weights to start from: .safetensors, .pth or .ckpt; also beside `_target_`. null: none."""
    weights_sha256: Sha256 | None = None
    """SHA-256 of `weights`, so that another file under its name is refused."""


class Lora(Section):
    """Low-rank adapters (LoRA) that are trained instead of the layers themselves."""

    rank: PositiveInt = 8
    """Rank of the adapters' matrices."""
    alpha: PositiveFloat = 16.0
    """Scale: the output of an adapter is multiplied by alpha / rank."""
    dropout: Fraction = 0.0
    """Dropout on the input of the adapters."""
    targets: Annotated[list[Annotated[str, AfterValidator(_pattern)]], Field(min_length=1)] | None = None
    """Regular expressions for the names of the layers to adapt; null: all linear layers and convolutions that LoRA supports."""


class EarlyStopping(Section):
    """Stop training when a metric no longer improves."""

    monitor: Annotated[str, Field(pattern=MONITOR)] | None = None
    """The metric, also `train/loss` or `train/accuracy`; null: `train.monitor`."""
    patience: PositiveInt
    """Validations without improvement before training stops, one every epoch unless `train.trainer` says otherwise; epochs for a
    metric of the training."""
    min_delta: Annotated[float, Field(ge=0)]
    """Smallest change that counts as an improvement."""
    verbose: bool = False
    """Print after every validation whether the metric has improved."""


class Checkpoint(Section):
    """When the training state is saved, so that an interrupted training can be resumed."""

    every_minutes: Duration
    """Minutes between saves within an epoch; the state is also saved at the end of every epoch."""


class Teaching(Section):
    """Knowledge distillation from a published model, the teacher."""

    model: Annotated[str, Field(min_length=1)]
    """Commit or folder of the teacher, as for `train.init_from`; it must have the same classes."""
    weight: Annotated[float, Field(gt=0, le=1)]
    """Weight of the distillation loss; the loss on the labels has the rest, 1 - weight."""
    temperature: PositiveFloat
    """Softmax temperature of teacher and student; a higher one gives improbable classes more influence."""


class NetworkTarget(Target):
    """A network of one's own; `weights` and `weights_sha256` beside `_target_` are those of `Network`, not arguments.

    Without `weights_sha256`, `weights` is an argument of the class, as of torchvision's networks.
    """

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        file, sha256 = self.weights, self.weights_sha256
        if file is not None and not isinstance(file, str):
            raise ValueError(f"weights is {file!r}, but should be a file")
        if sha256 is not None and not (isinstance(sha256, str) and re.match(SHA256, sha256)):
            raise ValueError(f"weights_sha256 is {sha256!r}, but should be {PATTERNS[SHA256]}")
        return self

    @property
    def weights(self) -> Any:
        """File of weights to start from."""
        return super().arguments.get("weights") if self._has_file else None

    @property
    def weights_sha256(self) -> Any:
        """Its SHA-256."""
        return super().arguments.get("weights_sha256")

    @property
    def _has_file(self) -> bool:
        return "weights_sha256" in super().arguments

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments beside `_target_`."""
        own = super().arguments
        return (
            {name: value for name, value in own.items() if name not in ("weights", "weights_sha256")} if self._has_file else own
        )


def _network_or_target(value: Any) -> str:
    return "target" if isinstance(value, Target) or (isinstance(value, dict) and "_target_" in value) else "network"


NetworkChoice = Annotated[
    Annotated[Network, Tag("network")] | Annotated[NetworkTarget, Tag("target")], Discriminator(_network_or_target)
]


class BaseParams(Section):
    """Settings that several stages use."""

    seed: Seed
    """Seed of the split, the initial weights, the order of the images, augmentation and dropout."""
    allow_targets: list[Annotated[str, Field(pattern=PACKAGE)]]
    """Further packages whose classes and functions `_target_` may name; list only code that you trust."""


def _source_or_target(value: Any) -> str:
    return "target" if isinstance(value, Target | dict) else "source"


SourceChoice = Annotated[
    Annotated[Literal["digits", "torchvision", "huggingface", "folder", "archive", "manifest"], Tag("source")]
    | Annotated[Target, Tag("target")],
    Discriminator(_source_or_target),
]


class Folders(Section):
    """Folders of the splits, in `download.folder`: relative to it, or absolute; each with one folder per class."""

    train: Annotated[str, Field(min_length=1)]
    """Images to train on."""
    val: Annotated[str, Field(min_length=1)] | None = None
    """Images to validate on; null: the stage split takes them from train."""
    test: Annotated[str, Field(min_length=1)] | None = None
    """Images to test on; null: the stage split takes them from train."""


class MoreArchive(Section):
    """One more archive of the data set."""

    archive: Annotated[str, Field(min_length=1)]
    """Path or URL, as for `download.archive`."""
    sha256: Sha256
    """Its SHA-256; `./darkroom download --checksum ARCHIVE` prints it."""


ColumnName = Annotated[str, Field(min_length=1)]


class Columns(Section):
    """Column names of a manifest; all other columns are copied to the predictions."""

    path: ColumnName | None
    """Column with the path of the image, relative to the manifest; null: the one called path, file, filename, image, …"""
    label: ColumnName | None
    """Column with the class of the image; null: the one called label, class, category or target."""
    group: ColumnName | Literal[False] | None
    """Column with the group; a group is never divided between splits. null: the one called group, patient, subject, burst or
    site, if there is one; false: no groups."""
    split: ColumnName | Literal[False] | None
    """Column that holds train, val or test; null: the one called split, set, subset, partition, …, if there is one; false: the
    stage split decides."""
    separator: Annotated[str, Field(min_length=1)] | None
    """Separator of several labels in one cell, such as `;`, for multi-label data; null: every image has one label."""


class DownloadParams(Section):
    """Where the images come from, and limits on what is accepted."""

    source: SourceChoice
    """Kind of data set: `digits`, `torchvision`, `huggingface`, `folder`, `archive`, `manifest`, or `_target_`: your own."""
    dataset: str | None
    """For `torchvision`: class name, such as `CIFAR10`; for `huggingface`: `owner/name` on the hub; null: the set in `folder`."""
    arguments: Arguments
    """For `torchvision`: its arguments, such as `{split: balanced}`; for `huggingface`: revision (commit), name, split, …"""
    folder: str
    """For `folder`: path or URL (s3, gs, azure, ssh) of a folder with one folder per class, or with such train/, val/, test/."""
    parts: list[Annotated[str, Field(min_length=1)]]
    """For `folder`: names of subfolders that are merged into one data set, each laid out like `folder`; empty: itself."""
    folders: Folders | None = None
    """For `folder`: where the images of `train`, `val` and `test` are, if not in folders of these names; null: by their names."""
    manifest: str | None
    """For `manifest`, `archive`: .csv, .tsv, .jsonl or .parquet table of images and labels, in `folder` or in the archive."""
    columns: Columns
    """For `manifest`, `huggingface`: names of the columns `path` (or image), `label`, `group`, `split`, and the `separator`."""
    archive: str | None
    """For `archive`: path or URL (file, http, https, s3, gs, azure, ssh) of a .zip or .tar.* laid out like `folder`."""
    sha256: Sha256 | None
    """For `archive`: its SHA-256; `./darkroom download --checksum` prints it."""
    more_archives: list[MoreArchive]
    """For `archive`: further archives that are merged into the same data set, each with `archive` and `sha256`."""
    redirect_hosts: list[str]
    """For `archive`: hosts that the server may redirect to, besides its own."""
    timeout_seconds: Duration
    """For `archive`: give up on a server that sends less than 1 kB/s for this long."""
    channels: NumBands | None = None
    """Bands of every image, kept as they are, 8 or 16 bits or float32: TIFF, PNG, .npy; null: 8-bit grey or RGB."""
    bands: Annotated[list[BandNumber], Field(min_length=1, max_length=16)] | None = None
    """Bands to use, counted from 0, such as `[0, 1, 3]`; null: all."""
    resize: PositiveInt | None
    """Shorter side in pixels to which larger images are reduced before they are stored; null: no resizing."""
    format: Literal["auto", "raw", "encoded"]
    """`raw` stores pixels, `encoded` the image files; `auto`: pixels if all images have one size of up to 64 px."""
    corrections: Annotated[str, Field(min_length=1)] = "data/corrections.csv"
    """Table (.csv, …) of corrected labels by the ids of the images, as `./darkroom labels check` writes it; see docs/data.md."""
    max_bad: Annotated[int, Field(ge=0)]
    """Unreadable images to skip and list in data/raw/dataset.json; with more of them download fails."""
    max_pixels: Limit
    """Images with more pixels count as unreadable (protection against decompression bombs)."""
    max_files: Limit
    """For `archive`: largest number of files in an archive."""
    max_gigabytes: PositiveFloat
    """For `archive`: largest size of an archive, packed or unpacked."""
    max_ratio: PositiveFloat
    """For `archive`: largest ratio of unpacked to packed size."""


class SplitParams(Section):
    """How the images are divided; a validation or test set that comes with the source is kept."""

    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of the training images that becomes the validation split, if the source has none."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of the training images that becomes the test split, if the source has none."""
    method: Literal["stratified", "stable"]
    """`stratified`: random, with equal class shares; `stable`: by a hash of the pixels, so that new images move no old one."""
    folds: Annotated[int, Field(ge=2, le=1000)] | None
    """Number of folds for cross-validation, of which `fold` is the validation split; null: `val_fraction` decides."""
    fold: Annotated[int, Field(ge=0)]
    """Fold to validate on, counted from 0."""
    group_pattern: Annotated[str, AfterValidator(_one_group)] | None
    """Regular expression whose group in parentheses gives an image's group from its id, such as `^([^_]+)_`."""
    duplicates: Literal["group", "drop", "report", "fail"]
    """Duplicate images: `group` keeps them in one split, `drop` keeps one, `report` only lists them, `fail` stops."""
    near_distance: Annotated[int, Field(ge=0, le=64)] | None
    """Largest number of differing hash bits, of 256, between near duplicates of 32 px or more; null: only equal pixels."""
    seed: Seed | None = None
    """Seed of the split alone, so that trainings with other `base.seed` are measured on the same images; null: `base.seed`."""

    def seed_or(self, base: int) -> int:
        """Return the seed of the split, which is `base.seed` unless it has one of its own."""
        return base if self.seed is None else self.seed


# Arguments of Lightning's Trainer that train.trainer does not take: what to do instead. TrainerArguments has all others.
NOT_PASSED_ON = {
    "accelerator": "set hardware.accelerator",
    "devices": "set hardware.devices",
    "num_nodes": "set hardware.num_nodes",
    "strategy": "set hardware.strategy",
    "precision": "set train.precision",
    "max_epochs": "set train.epochs",
    "gradient_clip_val": "set train.gradient_clip",
    "log_every_n_steps": "set train.log_every to a number of steps",
    "logger": "set train.loggers",
    "callbacks": "set train.callbacks",
    "profiler": "set train.inspect to [profiler]",
    "enable_progress_bar": "set hardware.progress_refresh to 0 for no bar",
    "enable_checkpointing": "set train.checkpoint, keep_best or keep_every",
    "enable_model_summary": "remove it; every training begins with a line on its size",
    "num_sanity_val_steps": "remove it; a step is tried before every training",
    "overfit_batches": "set limit_train_batches; this one would validate on training images",
    "limit_test_batches": "remove it; the test split is always measured as a whole",
    "limit_predict_batches": "set predict.input to a folder with fewer images",
    "reload_dataloaders_every_n_epochs": "remove it; augmentation is drawn anew in every epoch",
    "use_distributed_sampler": "remove it; every batch is divided among the devices",
    "barebones": "remove it; without validation no epoch could be chosen",
    "default_root_dir": "remove it; a stage writes where dvc.yaml says",
    "enable_autolog_hparams": "remove it; every logger gets the parameters",
    "inference_mode": "remove it; Lightning validates under torch.no_grad while it trains",
    "model_registry": "remove it; Git and DVC keep every version (docs/sharing.md)",
    "plugins": "set hardware.strategy or train.precision",
}


class TrainerArguments(Section):
    """Arguments that are passed on to Lightning's Trainer; what is not given keeps Lightning's default."""

    accumulate_grad_batches: PositiveInt | None = None
    """Batches whose gradients are added up for one optimizer step."""
    benchmark: bool | None = None
    """`torch.backends.cudnn.benchmark`: try several convolutions of cuDNN and take the fastest; bits may differ between runs."""
    check_val_every_n_epoch: PositiveInt | None = None
    """Validate every n-th epoch; null: `val_check_interval` counts batches across epochs."""
    detect_anomaly: bool | None = None
    """Name the operation whose backward gives NaN; slow."""
    deterministic: bool | Literal["warn"] | None = None
    """Refuse, or `warn` of, operations that are not deterministic on a GPU."""
    fast_dev_run: bool | PositiveInt | None = None
    """Train and validate on this many batches, to try the code; refused in the workspace (`dvc exp run --temp`)."""
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    """Whether `train.gradient_clip` limits the norm of the gradient or each of its values."""
    limit_train_batches: PositiveInt | Annotated[float, Field(gt=0, le=1)] | None = None
    """Number or fraction of the batches of an epoch."""
    limit_val_batches: PositiveInt | Annotated[float, Field(gt=0, le=1)] | None = None
    """Number or fraction of the batches of a validation; they begin with images of every class."""
    max_steps: PositiveInt | None = None
    """Largest number of optimizer steps; the schedule ends there, too."""
    max_time: Annotated[str, Field(pattern=DURATION)] | dict[TimeUnit, Annotated[int, Field(ge=0)]] | None = None
    """Longest time, `"DD:HH:MM:SS"` or `{hours: 1, minutes: 30}`."""
    min_epochs: PositiveInt | None = None
    """Epochs before early stopping may end the training."""
    min_steps: PositiveInt | None = None
    """Optimizer steps before early stopping may end the training."""
    sync_batchnorm: bool | None = None
    """Batch normalisation over all GPUs together."""
    val_check_interval: PositiveInt | Annotated[float, Field(gt=0, le=1)] | None = None
    """Number of batches, or fraction of an epoch, between validations; they are logged at the fraction of the epoch."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_others(cls, value: Any) -> Any:
        for name in value if isinstance(value, dict) else ():
            if name in NOT_PASSED_ON:
                raise ValueError(f"train.trainer.{name}: cannot be set here; {NOT_PASSED_ON[name]}")
            if name not in cls.model_fields:
                hint = nearest(str(name), [*cls.model_fields, *NOT_PASSED_ON], f"it takes {listed(cls.model_fields)}")
                raise ValueError(f"train.trainer.{name}: Lightning's Trainer takes no such argument; {hint}")
        return value

    @model_serializer(mode="wrap")
    def _only_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name in self.given}

    @property
    def given(self) -> dict[str, Any]:
        """The arguments that params.yaml gives; null is a value of `check_val_every_n_epoch` alone."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {name: value for name, value in values.items() if value is not None or name == "check_val_every_n_epoch"}


class TrainParams(Section):
    """The network and how it is trained."""

    task: Literal["auto", "multiclass", "multilabel", "binary"] = "auto"
    """`auto`: as the labels are, one class per image or any number; `binary`: two classes and a network with one output."""
    positive_class: Annotated[str, BeforeValidator(_name)] | None = None
    """Of a binary task: the class whose probability the network gives; null: the second in the class list."""
    model: NetworkChoice
    """Network: `provider`, `name`, `pretrained` and `kwargs`, or `_target_` and its arguments."""
    init_from: Annotated[str, Field(min_length=1)] | None
    """Start from a published model: a commit (`./darkroom commit NAME` prints it), `commit:folder`, a folder; null: do not."""
    resume_from: Annotated[str, Field(min_length=1)] | None = None
    """Go on with another training: its commit, `commit:folder` of a kept epoch, or a .ckpt; null: do not."""
    resume_sha256: Sha256 | None = None
    """SHA-256 of `resume_from`, if that is a file."""
    allow_noncommercial: bool
    """Accept pretrained weights whose licence forbids, or may forbid, commercial use."""
    image_size: ImageSize | None
    """Side in pixels of the square input, or `[height, width]`; null: as pretrained weights expect, else the images', or 224."""
    resize: Literal["crop", "letterbox", "squash"] = "crop"
    """To reach `image_size`: `crop` the centre, `letterbox`: the whole image between black bars, `squash`: its shape changes."""
    preprocess: list[Target] = []
    """Transforms without randomness of every image, in training before augmentation, in evaluation and in prediction."""
    lr: PositiveFloat
    """Learning rate; with a schedule, its highest value."""
    epochs: PositiveInt
    """Largest number of epochs."""
    batch_size: PositiveInt
    """Images per optimizer step, over all devices together."""
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", "auto"], BeforeValidator(_precision)
    ]
    """Lightning's precision, also `16`, `bf16` (mixed), `32`, `64`; `auto`: the faster of two here; model.json says which."""
    memory_format: Literal["channels_last", "contiguous", "auto"] = "channels_last"
    """How images and weights lie in memory: `contiguous` is NCHW; `auto`: the faster of two here; model.json says which."""
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] = THREADS
    """Threads that compute on a CPU, also in evaluate and predict, on however many cores; another number changes rounding."""
    processes: PositiveInt = 1
    """Processes that share each batch, one a device: `hardware.devices` times `hardware.num_nodes`; their number changes bits."""
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None
    """Mode of torch.compile; null: the network is not compiled."""
    module: Target | None
    """A LightningModule of your own, a subclass of `Classifier`, that replaces it (src/plugins/README.md); null: none."""
    freeze: bool | Annotated[float, Field(ge=0, le=1)] | list[Annotated[str, Field(min_length=1)]]
    """Fraction of the layers before the head that are not trained; true: all; or modules and parameters, `[stem, "layer1.*"]`."""
    unfreeze_epoch: PositiveInt | None
    """Number of epochs after which frozen layers are trained as well; null: never."""
    cache_features: bool
    """Compute the output of the frozen layers once per image and train only the head on it; needs `freeze: true`."""
    fit_head: Literal["logistic_regression"] | None = None
    """What fits the last layer on features of the training images in place of epoch 1; null: nothing, epoch 1 is as others."""
    lora: Lora | None
    """Train low-rank adapters (`rank`, `alpha`, `dropout`, `targets`) and the head; merged when published. null: no LoRA."""
    loss: Target
    """Loss on (logits, labels), such as `CrossEntropyLoss`, `FocalLoss`, `BinaryCrossEntropy`, `AsymmetricLossMultiLabel`."""
    class_weights: Literal["balanced"] | dict[Annotated[str, BeforeValidator(_name)], PositiveFloat] | None
    """Class weights in the loss: `balanced` (inverse to frequency), or weights by class name, such as `{daisy: 2}`."""
    pos_weight: Literal["balanced"] | PositiveFloat | None = None
    """Weight of positive labels in the loss, for one output per class: a number, or `balanced` (negative by positive images)."""
    teacher: Teaching | None
    """Distil a published model, such as `{model: 0a0635f, weight: 0.5, temperature: 2.0}`; null: no distillation."""
    optimizer: Target
    """Optimizer of torch or timm and its arguments; the parameters and `train.lr` are filled in."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None
    """Layer-wise learning-rate decay: each layer has this many times the rate of the next one; the head has `lr`."""
    lr_factors: dict[str, Annotated[float, Field(ge=0)]] | None
    """Factors on the learning rate of parameters whose names match a regular expression, such as `{stem: 0.1}`; 0: frozen."""
    decay_norm_and_bias: bool
    """Whether weight decay also applies to biases and normalisation layers."""
    scheduler: Target | None
    """Learning-rate schedule; arguments named total_steps, T_max and max_lr are filled in unless given."""
    lr_table: dict[Annotated[int, Field(ge=0)], PositiveFloat] | None
    """Learning rates from given epochs on, such as `{0: 0.01, 40: 0.1}`, in place of `lr`; a schedule starts at the last one."""
    augment: list[Target]
    """Transforms of the training images, in order; they get uint8 images."""
    mixup: PositiveFloat | None
    """Blend pairs of training images and labels with weights from Beta(mixup, mixup). With cutmix, a batch gets one of them."""
    cutmix: PositiveFloat | None
    """Paste a patch of another training image, with an area from Beta(cutmix, cutmix), and mix the labels in proportion."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    """Decay per step of an exponential moving average of the weights, which is validated and published, such as 0.999."""
    swa: Fraction | None
    """Share of the epochs after which weights are averaged (SWA); the average is validated and published, such as 0.75."""
    sampler: Literal["shuffled", "balanced"]
    """`shuffled`: every image once an epoch; `balanced`: as many images, drawn so that all classes are equally frequent."""
    image_sizes: dict[Annotated[int, Field(ge=0)], ImageSize] | None
    """Progressive resizing: training sizes from given epochs on, such as `{0: 128, 20: 192}`; validation: `image_size`."""
    metrics: Metrics
    """Further validation metrics by the names to log them under, such as `{auroc: AUROC}`: of torchmetrics, or your own."""
    monitor: Annotated[str, Field(pattern=MONITOR)]
    """Validation metric that picks the published epoch and stops early: val/loss, /accuracy, /balanced_accuracy, /f1_macro, …"""
    monitor_mode: Literal["min", "max"] | None = None
    """Whether a low or a high value is better, for a monitored metric that does not declare it; null: as it declares."""
    early_stopping: EarlyStopping | None
    """`monitor` (null: `train.monitor`), `patience`, `min_delta`, `verbose`; null: train all epochs."""
    checkpoint: Checkpoint
    """When the training state is saved, from which an interrupted training is resumed."""
    keep_best: PositiveInt
    """Number of best epochs whose weights are kept in models/checkpoints; 1: only the published model, in models."""
    keep_every: PositiveInt | None
    """Also keep the weights of every n-th epoch in models/checkpoints; null: no."""
    keep_states: bool = False
    """Also keep in models/checkpoints all that `resume_from` needs to go on exactly from each kept epoch and the last one."""
    soup: Annotated[int, Field(ge=2)] | None
    """Publish a greedy model soup of this many best epochs: the mean of those that do not make it worse; null: no soup."""
    gradient_clip: PositiveFloat | None
    """Largest norm of the gradient; null: no clipping."""
    adaptive_clip: PositiveFloat | None
    """Adaptive gradient clipping: largest norm of a unit's gradient relative to its weights, such as 0.01; null: none."""
    loggers: list[Target]
    """Loggers besides DVCLive, such as `TensorBoardLogger` or your own; they write to `logs/` by default. See tracking.md."""
    callbacks: list[Target] = []
    """Callbacks of pytorch_lightning.callbacks or your own, such as `[LearningRateMonitor]`; they write to `logs/`."""
    log_every: Literal["epoch", "step"] | PositiveInt
    """`step`, or a number of steps, also logs loss and learning rate of every (n-th) step, as train/loss_step and lr_step."""
    inspect: list[Literal["histograms", "inputs", "profiler"]]
    """Written to `logs/`: `histograms` of parameters and gradients, `inputs` of the network, `profiler` of run times."""
    test_every: PositiveInt | None
    """Also measure the test split every n-th epoch, as test_during/…; it influences nothing. null: only evaluate does."""
    debug: bool = False
    """`true`: only tries the code, as the preset `debug` does; refused where its result would replace the published model."""
    trainer: TrainerArguments
    """Further arguments of Lightning's Trainer, such as `{limit_train_batches: 10}`: [all of them](#lightnings-trainer)."""


class EvaluateParams(Section):
    """How the model is measured on the validation and the test split."""

    batch_size: PositiveInt
    """Images per step; changes speed and memory, not results."""
    tta: Literal["none", "flip", "flip_shift"]
    """Test-time augmentation: mean of the logits over the image and its mirror image; `flip_shift` also shifts both."""
    backend: Backend
    """What runs the network: `torch`, `torch.compile` (half a minute to start), or `openvino` (needs to be installed)."""
    precision: InferencePrecision
    """`bf16-mixed`: faster on hardware that supports it; `auto`: that, if it is faster here and predicts the same."""
    threshold: Threshold | None = None
    """Of a binary or multi-label model: probability above which a class is predicted; null: 0.5."""
    ece_bins: SmallInt
    """Number of confidence bins of the expected calibration error and the reliability plot."""
    metrics: Metrics
    """Further metrics, as in `train.metrics`; written to metrics/evaluate.json."""
    num_images: SmallInt
    """Number of images on each sheet of sample images."""
    explained: Annotated[int, Field(ge=0, le=1000)] = 32
    """Number of the worst mistakes for which it is drawn where the wrong class comes from; 0: none, and no features either."""
    abstain_precision: Annotated[float, Field(gt=0, le=1)] | None = None
    """Precision for which predict abstains, with `unknown`, where it is too uncertain, such as 0.99; null: it never does."""
    false_alarms: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of known images that predict may call `unknown`, such as 0.05, to find those of no trained class; null: none."""
    conformal: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Predict also writes a set of classes that holds the correct one for this share of images, such as 0.9; null: none."""


class PredictParams(Section):
    """What is predicted, and how it is written."""

    input: Annotated[str, Field(min_length=1)]
    """`data/split`: the test split; else an image or a folder of images, which becomes a dependency of the stage."""
    batch_size: PositiveInt
    """Images per step; changes speed and memory, not results."""
    tta: Literal["none", "flip", "flip_shift"]
    """Test-time augmentation, as `evaluate.tta`."""
    backend: Backend
    """What runs the network, as `evaluate.backend`."""
    precision: InferencePrecision
    """Precision, as `evaluate.precision`."""
    threshold: Threshold | Literal["fitted"] | None = None
    """As `evaluate.threshold`, of probabilities before calibration; `fitted`: of each class that of models/calibration.json."""
    calibrated: bool = True
    """Whether probabilities are calibrated by the temperature of models/calibration.json, which evaluate has fitted."""
    top_k: PositiveInt
    """Number of most probable classes to write to the CSV and JSON Lines files."""
    embeddings: bool = False
    """Also write the input of the last layer for each image, float32, beside its class, to embeddings.parquet."""
    max_bad: Annotated[int, Field(ge=0)]
    """Unreadable images to skip and name; with more of them predict fails."""
    max_pixels: Limit
    """Images with more pixels count as unreadable."""


class ExportParams(Section):
    """What the stage `export@FORMAT` writes to models/exported, a stage for each format; by default there is none."""

    formats: Annotated[list[Literal["onnx", "openvino", "openvino-int8", "torch"]], AfterValidator(_distinct_formats)] = []
    """`onnx`, `openvino`, `openvino-int8` or `torch` (torch.export); [] writes nothing."""
    allow_loss: Annotated[float, Field(ge=0, le=100)] = 0.3
    """Points of accuracy on validation that `openvino-int8` may lose; with more the stage fails."""


class HardwareParams(Section):
    """The machine. No stage depends on this section: what changes bits, such as the number of processes, stands in `train`."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    """`auto` uses a GPU if there is one; naming one that is missing is an error."""
    devices: (
        Literal["auto"]
        | PositiveInt
        | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)]
    )
    """Number of devices to train on, or the GPUs themselves, counted from 0, such as `[0, 2]`; see `train.processes`."""
    num_nodes: SmallInt
    """Number of machines to train on; see `train.processes`."""
    strategy: Annotated[str, Field(min_length=1)]
    """How processes train together: `auto`, `ddp`, or `ddp_find_unused_parameters_true` where a step leaves parameters out."""
    rank_timeout_seconds: Duration
    """With several devices: stop if one of the processes is stopped for this long; one that has died is noticed in any case."""
    worker_timeout_seconds: Duration
    """Stop if the data loader's workers, threads or processes, deliver no batch for this long."""
    num_workers: Literal["auto"] | Annotated[int, Field(ge=0, le=1000)]
    """Workers that read and augment images: threads, or processes for torchvision's transforms; `auto`: as many as help."""
    cache_images: Literal["auto"] | bool
    """Keep decoded images in memory, on the GPU where possible; `auto`: if they fit into a quarter of it."""
    progress_refresh: Annotated[int, Field(ge=0)] | None = None
    """Steps between updates of the progress bar; null: four updates a second; 0: no bar, only a line per epoch."""
    states_max_days: Duration | None = 30.0
    """Remove the state of an unfinished training that was not resumed for so many days; null: never."""
    states_max_share: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """Remove the oldest of these states if all take more of the disk space that is free without them, none of the last day."""
    watch: bool
    """Log CPU, memory, GPU and images/s during training to machine.csv and machine.png in `logs/`, and to `train.loggers`."""


class Distribution(Section):
    """The values that a search tries for one key."""

    distribution: Literal["float", "int", "categorical"]
    """`float` or `int` between `low` and `high`, or one of `choices`."""
    low: int | float | None = None
    """Smallest value."""
    high: int | float | None = None
    """Largest value."""
    log: bool = False
    """Whether to sample on a logarithmic scale."""
    step: int | float | None = None
    """Distance between values, counted from `low`; null: 1 for `int`, any value for `float`."""
    choices: Annotated[list[Any], AfterValidator(_only_json), Field(min_length=1)] | None = None
    """Values to choose from, also whole mappings with `_target_`."""
    when: Arguments = {}
    """Set this key only if other keys of the space have a given choice, or one of a list; mappings go by their `_target_`."""

    @model_validator(mode="before")
    @classmethod
    def _translate(cls, value: Any) -> Any:
        return translated(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.distribution == "categorical":
            if self.choices is None or self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("categorical has choices, and no low, high, step or log; write {distribution: …, choices: […]}")
            return self
        if self.low is None or self.high is None or self.choices is not None:
            raise ValueError(f"{self.distribution} has low and high, and no choices; write {{distribution: …, low: …, high: …}}")
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}; swap them")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step; change one of the two")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step {self.step} is not above 0; raise it")
        numbers = (self.low, self.high, self.step)
        if self.distribution == "int" and not all(isinstance(number, int | None) for number in numbers):
            raise ValueError("int has whole numbers for low, high and step; write them without a point, or make it a float")
        return self


Direction = Literal["maximize", "minimize"]
Objective = Annotated[str, Field(pattern=OBJECTIVE)]


class TuneParams(Section):
    """Hyperparameter search by `./darkroom tune`. No stage depends on this section: results stay valid when it is extended."""

    study: Annotated[str, Field(pattern=STUDY)]
    """Name of the study; its trials are the experiments `<study>-0000`, `<study>-0001`, …"""
    trials: PositiveInt
    """Number of trials in all, including those of earlier runs of the command."""
    metric: Objective | Annotated[list[Objective], Field(min_length=1)]
    """Objective: a validation metric of the published epoch, `parameters` or `multiply_adds`; or a list of these."""
    direction: Direction | Annotated[list[Direction], Field(min_length=1)]
    """`maximize` or `minimize`; a list if `metric` is one."""
    start: Annotated[str, Field(min_length=1)] | None
    """Commit, branch or experiment whose parameters the trials start from; null: those of params.yaml."""
    search_space: dict[Annotated[str, Field(pattern=DOTTED)], Distribution]
    """Keys of params.yaml and the values to try (docs/search.md); the first trial uses their present values."""
    sampler: Target
    """Class of optuna.samplers, such as `TPESampler`, `RandomSampler`, `BruteForceSampler`."""
    pruner: Target | None
    """Class of optuna.pruners, such as `MedianPruner`, that stops unpromising trials early; null: no pruning."""
    seed: Seed
    """Seed of the sampler; with one job an interrupted search continues with the same trials."""
    timeout_minutes: Duration | None
    """Start no trial later than this after the command began; null: only `trials` limits the search."""
    storage: Annotated[str, Field(min_length=1)] | None
    """Database URL or journal file of the study, which several machines can share; null: a file in `search/`."""
    jobs: SmallInt
    """Number of parallel trials; each has its own GPUs and a share of the cores."""

    @property
    def metrics(self) -> list[str]:
        """The objectives as a list."""
        return self.metric if isinstance(self.metric, list) else [self.metric]

    @property
    def directions(self) -> list[Direction]:
        """The directions as a list."""
        return self.direction if isinstance(self.direction, list) else [self.direction]


class Params(Section):
    """The whole of params.yaml."""

    base: BaseParams
    download: DownloadParams
    split: SplitParams
    train: TrainParams
    evaluate: EvaluateParams
    predict: PredictParams
    export: ExportParams = ExportParams()
    tune: TuneParams
    hardware: HardwareParams
