"""The typed, strict form of params.yaml: every key, what it means and what it may be. The README's table is made from it."""

import difflib
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
    StringConstraints,
    Tag,
    model_validator,
)

from darkroom.errors import warn


def _only_json(value: Any) -> Any:
    """Refuse what JSON cannot hold (dates, sets, NaN, keys that are no text): these mappings are recorded in model.json."""
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
    """Return the name of a class, which YAML reads as a number where it is one."""
    return str(value) if type(value) is int else value


def _pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"'{pattern}' is no regular expression ({error}); correct it") from None
    return pattern


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression ({error})") from None
    if groups < 1:
        raise ValueError("has no group in parentheses, which would be the name; write one such as '^([^_]+)_'")
    return pattern


IMPORT_PATH = r"^([A-Za-z_]\w*\.)*[A-Za-z_]\w*$"
PACKAGE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
SHA256 = r"^[0-9a-fA-F]{64}$"
METRIC = r"^[A-Za-z]\w*$"
MONITOR = r"^val/[A-Za-z]\w*$"
OBJECTIVE = r"^(val/[A-Za-z]\w*|parameters|multiply_adds)$"
STUDY = r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$"
DOTTED = r"^[A-Za-z_]\w*(\.[^.\s]+)+$"
# Validation metrics that every training logs, and what evaluate measures beside them.
MEASURED = ("loss", "accuracy", "balanced_accuracy", "f1_macro")
EVALUATED = (*MEASURED, "ece", "mean_average_precision", "top5_accuracy")
PATTERNS = {
    IMPORT_PATH: "an import path such as torch.optim.SGD",
    PACKAGE: "the name of a package or module",
    SHA256: "64 hexadecimal digits",
    METRIC: "a name of letters, digits and _",
    MONITOR: "val/ and the name of a metric, such as val/accuracy",
    OBJECTIVE: "val/ and the name of a metric, such as val/accuracy, or parameters, or multiply_adds",
    STUDY: "a name of letters, digits, - and _",
    DOTTED: "a key of params.yaml such as train.lr",
}

# Sources on which keys of `download` have an effect.
OWNERS = {
    "dataset": ["torchvision", "huggingface"],
    "arguments": ["torchvision", "huggingface"],
    "parts": ["folder"],
    "manifest": ["manifest", "archive"],
    "archive": ["archive"],
    "sha256": ["archive"],
    "more_archives": ["archive"],
}

Arguments = Annotated[dict[str, Any], AfterValidator(_only_json)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# How a trained network is computed.
Backend = Literal["torch", "torch.compile", "openvino"]
AnswerPrecision = Literal["32-true", "bf16-mixed", "auto"]


class Section(BaseModel):
    """A mapping of params.yaml in which only known keys of the right type are allowed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


class Target(BaseModel):
    """An import path under `_target_`, with the arguments of what it names beside it; text alone is one without arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    target: Annotated[str, Field(alias="_target_", pattern=IMPORT_PATH)]
    """Import path of a class or function, such as `torch.optim.SGD`; the usual libraries' need only their name, `SGD`."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"_target_": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        _only_json(self.arguments)
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that stand beside `_target_`."""
        return dict(self.model_extra or {})

    def with_given(self, **values: Any) -> "Target":
        """Return the same with other values of those arguments that are given."""
        return self.model_copy(update={name: value for name, value in values.items() if name in self.arguments})


Metrics = dict[Annotated[str, Field(pattern=METRIC)], Target]


def _check_metric_names(key: str, metrics: Metrics, taken: tuple[str, ...]) -> None:
    for name in metrics:
        if name.lower() in taken:
            raise ValueError(f"{key}.{name}: is what a metric is called that is always measured; choose another name")


def _check_monitor(monitor: str, names: list[str]) -> None:
    name = monitor.removeprefix("val/")
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean 'val/{near[0]}'?" if near else f"name one of val/{', val/'.join(names)}, or add it to train.metrics"
        raise ValueError(f"train.monitor: is {monitor}, which nothing measures; {hint}")


class Network(Section):
    """A network by its name in a library; `_target_` with arguments in place of these keys names a network of your own."""

    provider: Literal["builtin", "timm", "torchvision", "huggingface"]
    """Where `name` is: `builtin` (`small_cnn`, `whitened_cnn`, `small_resnet18`; small images), or the library of that name."""
    name: Annotated[str, Field(min_length=1)]
    """Name, such as `small_cnn`, `resnet18`; for `huggingface` a folder here, or `owner/name` of the hub, `@commit` behind it."""
    pretrained: bool
    """Start from the provider's pretrained weights, with a new last layer and the weights' own normalisation."""
    kwargs: Arguments
    """Further arguments of the network, such as `{drop_rate: 0.1}`."""


class Lora(Section):
    """Low-rank adapters beside the layers of a network."""

    rank: PositiveInt = 8
    """Rank of an adapter's product of matrices."""
    alpha: PositiveFloat = 16.0
    """The product counts alpha / rank times."""
    dropout: Fraction = 0.0
    """Share of what an adapter sees that is dropped while it trains."""
    targets: Annotated[list[Annotated[str, AfterValidator(_pattern)]], Field(min_length=1)] | None = None
    """Regular expressions of the names of layers; null: every linear layer and convolution that can be adapted."""


class EarlyStopping(Section):
    """Stop when the monitored metric no longer improves."""

    patience: PositiveInt
    """Epochs without improvement before training stops."""
    min_delta: Annotated[float, Field(ge=0)]
    """Least change that counts as an improvement."""


class Checkpoint(Section):
    """When the state of the training is saved, from which it goes on after an interruption."""

    every_minutes: PositiveFloat
    """Minutes after which the state is saved within an epoch; it is saved at the end of every epoch as well."""


class Teaching(Section):
    """A published model with whose answers the network is to agree, beside the labels (distillation)."""

    model: Annotated[str, Field(min_length=1)]
    """Commit, branch, experiment, or folder with model.json, as `train.init_from`; its classes are those of the data."""
    weight: Annotated[float, Field(gt=0, le=1)]
    """Share of the teacher in the loss; the labels have the rest."""
    temperature: PositiveFloat
    """The logits of both are divided by it before they are compared: the higher, the more the less probable classes count."""


def _network_or_target(value: Any) -> str:
    return "target" if isinstance(value, Target) or (isinstance(value, dict) and "_target_" in value) else "network"


NetworkChoice = Annotated[
    Annotated[Network, Tag("network")] | Annotated[Target, Tag("target")], Discriminator(_network_or_target)
]


class BaseParams(Section):
    """What several stages use."""

    seed: Seed
    """Seed of the split, the initial weights, the order of the images, augmentation and dropout."""
    allow_targets: list[Annotated[str, Field(pattern=PACKAGE)]]
    """Trusted packages whose classes and functions `_target_` may name, beside the usual ones (src/plugins/README.md)."""


def _source_or_target(value: Any) -> str:
    return "target" if isinstance(value, Target | dict) else "source"


SourceChoice = Annotated[
    Annotated[Literal["digits", "torchvision", "huggingface", "folder", "archive", "manifest"], Tag("source")]
    | Annotated[Target, Tag("target")],
    Discriminator(_source_or_target),
]


class MoreArchive(Section):
    """An archive beside `download.archive`."""

    archive: Annotated[str, Field(min_length=1)]
    """Path or address, as `download.archive`."""
    sha256: Annotated[str, StringConstraints(pattern=SHA256, to_lower=True)]
    """Its SHA-256; `./darkroom download --checksum ARCHIVE` prints it."""


class Columns(Section):
    """Which columns of a manifest hold what; all others are carried along to the predictions."""

    path: str | None
    """Path of the image, from the manifest's own folder on; null: the column called path, file, filename, image, …"""
    label: str | None
    """Class of the image; null: the column called label, class, category or target."""
    group: str | None
    """What must not be divided (a patient, a site, a burst); null: no groups."""
    split: str | None
    """train, val or test; null: the stage split divides."""
    separator: Annotated[str, Field(min_length=1)] | None
    """What stands between several labels in a cell, such as `;`; null: every image has one."""


class DownloadParams(Section):
    """Where the images come from, and how much of a source is believed."""

    source: SourceChoice
    """`digits`, a set of `torchvision` or `huggingface`, a `folder`, an `archive`, a `manifest`, or `_target_`: your own."""
    dataset: str | None
    """For `torchvision`: class of the data set, such as `CIFAR10`; for `huggingface`: `owner/name`; null: the one in `folder`."""
    arguments: Arguments
    """For `torchvision`: of the class, such as `{split: balanced}`; for `huggingface`: revision (commit), name, split, …."""
    folder: str
    """For `folder`: path or address (s3, gs, azure, ssh) of one folder per class; train/, val/, test/ may stand above these."""
    parts: list[Annotated[str, Field(min_length=1)]]
    """For `folder`: names of folders in it, laid out alike, that are one set together; none: the folder itself is the set."""
    manifest: str | None
    """For `manifest` a table in `folder`, for `archive` one in it, of images and labels: .csv, .tsv, .jsonl or .parquet."""
    columns: Columns
    """For a manifest or `huggingface`: which columns hold path (or image), label, group and split."""
    archive: str | None
    """For `archive`: path or address (file, http, https, s3, gs, azure, ssh) of a .zip or .tar.* laid out like a folder."""
    sha256: Annotated[str, StringConstraints(pattern=SHA256, to_lower=True)] | None
    """For `archive`: its SHA-256; `./darkroom download --checksum` prints it."""
    more_archives: list[MoreArchive]
    """For `archive`: further ones, laid out alike, that are one set with it, each with `archive` and `sha256`."""
    redirect_hosts: list[str]
    """For `archive`: hosts that a server may redirect to, beside its own."""
    timeout_seconds: PositiveFloat
    """For `archive`: give up on a server that sends less than 1 kB/s for this long."""
    resize: PositiveInt | None
    """Shorter side in pixels to which larger images are resized when they are packed; null: images stay as they are."""
    format: Literal["auto", "raw", "encoded"]
    """`raw` packs pixels, `encoded` the files as they are; `auto`: pixels if all images are of one size up to 64 px."""
    max_bad: Annotated[int, Field(ge=0)]
    """Number of unreadable images that are skipped and listed in data/raw/dataset.json before download fails."""
    max_pixels: PositiveInt
    """An image of more pixels counts as unreadable (a decompression bomb needs gigabytes of memory)."""
    max_files: PositiveInt
    """For `archive`: an archive with more members is refused."""
    max_gigabytes: PositiveFloat
    """For `archive`: an archive larger than this, packed or unpacked, is refused."""
    max_ratio: PositiveFloat
    """For `archive`: an archive that unpacks to more than this many times its size is refused."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        source = self.source.target if isinstance(self.source, Target) else self.source
        needed = {"torchvision": "dataset", "archive": "archive", "manifest": "manifest"}.get(source)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"download.{needed}: is null, but download.source is {source}; set it")
        for key, owners in OWNERS.items():
            if getattr(self, key) and source not in owners:
                warn(f"params.yaml: download.{key} has no effect while download.source is {source}")
        if self.manifest and (self.parts or self.more_archives):
            raise ValueError("download.manifest: names the images of one folder or archive; empty parts and more_archives")
        return self


class SplitParams(Section):
    """How the images are divided; a validation or test set that the source brings is kept."""

    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of the source's training images that becomes the validation split, if the source has none."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of the source's training images that becomes the test split, if the source has none."""
    method: Literal["stratified", "stable"]
    """`stratified`: by chance, classes in equal shares; `stable`: by a hash of the pixels, and new images move no old one."""
    folds: Annotated[int, Field(ge=2)] | None
    """Divide the training images into this many folds, of which `fold` is the validation split; null: by `val_fraction`."""
    fold: Annotated[int, Field(ge=0)]
    """Number of the fold to validate on, from 0."""
    group_pattern: Annotated[str, AfterValidator(_one_group)] | None
    """Regular expression; what its parentheses find in an image's id names what stays on one side, such as `^([^_]+)_`."""
    duplicates: Literal["group", "drop", "report", "fail"]
    """The same image twice: `group` keeps it on one side, `drop` keeps one, `report` only lists it, `fail` refuses it."""
    near_distance: Annotated[int, Field(ge=0, le=64)] | None
    """Images of 32 px or more are the same if at most so many of the 256 bits of their hashes differ; null: equal pixels."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"split.val_fraction and split.test_fraction: are {self.val_fraction} and {self.test_fraction}, "
                "which leaves nothing to train on; let them add up to less than 1"
            )
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"split.fold: is {self.fold}, but folds are counted from 0 to {self.folds - 1}; lower it")
        return self


class TrainParams(Section):
    """The network and how it is trained."""

    model: NetworkChoice
    """The network: `provider`, `name`, `pretrained`, `kwargs`, or `_target_` and its arguments."""
    init_from: Annotated[str, Field(min_length=1)] | None
    """Start from the published model of a commit, branch or experiment, from `commit:folder`, or from a folder; null: do not."""
    allow_noncommercial: bool
    """Take pretrained weights whose licence forbids commercial use, or may forbid it."""
    image_size: Annotated[int, Field(ge=1, le=4096)] | None
    """Side in pixels of the square that the network sees; null: what its weights expect, else the images' own, else 224."""
    lr: PositiveFloat
    """Learning rate, the highest of the schedule."""
    epochs: PositiveInt
    """Times that every training image is seen, at most."""
    batch_size: PositiveInt
    """Images per optimizer step, over all devices together."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", "auto"]
    """Lightning's precision; `auto`: full or mixed, whichever this network trains faster in here; model.json says which."""
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None
    """Mode of torch.compile for the network that is trained, which says what it cost; null: it is not compiled."""
    module: Target | None
    """A LightningModule of your own, a subclass of `Classifier`, that trains in its place (src/plugins/README.md)."""
    freeze: bool | Annotated[float, Field(ge=0, le=1)]
    """Fraction of the layers before the head, from the first on, that stay as they are; true: all of them."""
    unfreeze_epoch: PositiveInt | None
    """Epochs after which frozen layers are trained as well; null: never."""
    cache_features: bool
    """Compute once what the frozen layers make of every image, and train the head on it: `freeze: true`, no augmentation."""
    lora: Lora | None
    """Train adapters of low `rank` (`alpha`, `dropout`, `targets`) and the head; all else stays. Published merged into one."""
    loss: Target
    """Loss on (logits, labels), such as `CrossEntropyLoss`, `FocalLoss`, `BinaryCrossEntropy`, `AsymmetricLossMultiLabel`."""
    class_weights: Literal["balanced"] | dict[Annotated[str, BeforeValidator(_name)], PositiveFloat] | None
    """Weights of classes in the loss: `balanced` (rare ones count more), or some by name, such as `{daisy: 2}`."""
    teacher: Teaching | None
    """Learn the answers of another published model as well, such as `{model: main, weight: 0.5, temperature: 2.0}`."""
    optimizer: Target
    """Optimizer of torch or timm; it gets the parameters and `train.lr`."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None
    """Each layer has this many times the learning rate of the next one; the head has `train.lr`."""
    lr_factors: dict[str, PositiveFloat] | None
    """Parameters whose names match a regular expression have so many times the learning rate, such as `{stem: 0.1}`."""
    decay_norm_and_bias: bool
    """Whether weight decay is for biases and normalisation as well."""
    scheduler: Target | None
    """Learning-rate schedule; arguments named total_steps, T_max and max_lr are filled in unless given."""
    lr_table: dict[Annotated[int, Field(ge=0)], PositiveFloat] | None
    """Learning rates from epochs on, such as `{0: 0.01, 40: 0.1}`; with the last one, in place of `lr`, the schedule begins."""
    augment: list[Target]
    """Transforms of the training images, in order; they see uint8 images."""
    mixup: PositiveFloat | None
    """Blend training images and labels in pairs, by a share from Beta(mixup, mixup); with cutmix, each batch has one."""
    cutmix: PositiveFloat | None
    """Paste a part of another training image, of a size from Beta(cutmix, cutmix), and blend the labels alike."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    """Validate and publish the exponential moving average of the weights, which keeps this share at each step, such as 0.999."""
    swa: Fraction | None
    """Validate and publish the mean of the weights at the ends of epochs, from this share of the epochs on, such as 0.75."""
    sampler: Literal["shuffled", "balanced"]
    """`shuffled`: every image once an epoch; `balanced`: as many images, every class equally often."""
    image_sizes: dict[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1, le=4096)]] | None
    """Sides in pixels that are trained on from epochs on, such as `{0: 128, 20: 192}`; validation has `image_size`."""
    metrics: Metrics
    """Further validation metrics of torchmetrics, by the names that they are logged with, such as `{auroc: AUROC}`."""
    monitor: Annotated[str, Field(pattern=MONITOR)]
    """Validation metric that picks the published epoch and stops early: val/loss, /accuracy, /balanced_accuracy, /f1_macro, …"""
    early_stopping: EarlyStopping | None
    """`patience` and `min_delta`, or null to train all epochs."""
    checkpoint: Checkpoint
    """When the state is saved from which an interrupted training goes on."""
    keep_best: PositiveInt
    """Number of best epochs whose weights are kept in models/checkpoints; 1: only the published ones, in models."""
    keep_every: PositiveInt | None
    """Keep the weights of every so manieth epoch in models/checkpoints as well."""
    soup: Annotated[int, Field(ge=2)] | None
    """Publish the greedy soup of so many best epochs: the mean of those that do not make each other worse."""
    gradient_clip: PositiveFloat | None
    """Largest norm of the gradient, or null."""
    adaptive_clip: PositiveFloat | None
    """Largest norm of the gradient of each unit as a share of the norm of its weights, such as 0.01, or null."""
    loggers: list[Target]
    """Loggers of pytorch_lightning.loggers beside DVCLive, such as TensorBoardLogger; they write to `logs/` unless told where."""
    log_every: Literal["epoch", "step"]
    """`step` logs the loss and the learning rate of every step as well, as train/loss_step and lr_step."""
    inspect: list[Literal["histograms", "inputs", "profiler"]]
    """Looks inside, in `logs/`: `histograms` of parameters and gradients, `inputs` of the network, `profiler` of times."""
    test_every: PositiveInt | None
    """Measure the test split, too, every so many epochs, as test_during/…; it chooses nothing. null: evaluate alone sees it."""
    trainer: Arguments
    """Further arguments of Lightning's Trainer, such as `{limit_train_batches: 10}`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_metric_names("train.metrics", self.metrics, MEASURED)
        _check_monitor(self.monitor, [*MEASURED, *self.metrics])
        if "lr" in self.optimizer.arguments:
            raise ValueError("train.optimizer.lr: is not allowed here; set train.lr")
        if self.unfreeze_epoch is not None and not self.freeze:
            warn("params.yaml: train.unfreeze_epoch has no effect while train.freeze is 0")
        if self.ema is not None and self.swa is not None:
            raise ValueError("train.ema and train.swa: are two averages of which one can be published; set one of them to null")
        if self.image_sizes and 0 not in self.image_sizes:
            raise ValueError("train.image_sizes: has no size for the epochs from 0 on; add it, as in {0: 128, 20: 192}")
        if self.lr_table and 0 not in self.lr_table:
            raise ValueError("train.lr_table: has no rate for the epochs from 0 on; add it, as in {0: 0.01, 40: 0.1}")
        for pattern in self.lr_factors or {}:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"train.lr_factors: '{pattern}' is no regular expression ({error}); correct it") from None
        if self.init_from is not None and isinstance(self.model, Network) and self.model.pretrained:
            raise ValueError(
                "train.init_from: is set, and so is train.model.pretrained, but training starts from one of them; "
                "set train.model.pretrained to false, or init_from to null"
            )
        if self.cache_features:
            self._check_cached()
        return self

    def _check_cached(self) -> None:
        """Refuse what would show the frozen layers something else in another epoch, or needs the images themselves."""
        fits = {
            "freeze": (float(self.freeze) == 1, "true"),
            "unfreeze_epoch": (self.unfreeze_epoch is None, "null"),
            "augment": (not self.augment, "[]"),
            "mixup": (self.mixup is None, "null"),
            "cutmix": (self.cutmix is None, "null"),
            "image_sizes": (not self.image_sizes, "null"),
            "teacher": (self.teacher is None, "null"),
            "lora": (self.lora is None, "null"),
            "module": (self.module is None, "null"),
            "inspect": ("inputs" not in self.inspect, "without inputs"),
        }
        for key, (right, wanted) in fits.items():
            if not right:
                raise ValueError(
                    f"train.{key}: has to be {wanted} while train.cache_features is true, which shows each image to the "
                    "network once, as it is; change one of the two"
                )

    @model_validator(mode="after")
    def _check_lora(self) -> Self:
        for key, nothing in {"freeze": "0", "layer_decay": "null"}.items():
            if self.lora is not None and getattr(self, key):
                raise ValueError(
                    f"train.lora and train.{key}: with adapters every layer before the head stays as it is; "
                    f"set lora to null, or {key} to {nothing}"
                )
        is_taught = self.init_from is not None or not isinstance(self.model, Network) or self.model.pretrained
        if self.lora is not None and not is_taught:
            warn("params.yaml: train.lora: layers that nothing has taught stay so; set train.model.pretrained or train.init_from")
        return self


class EvaluateParams(Section):
    """How the model is measured on the validation and the test split."""

    batch_size: PositiveInt
    """Images per step; changes speed and memory, not results."""
    tta: Literal["none", "flip", "flip_shift"]
    """Test-time augmentation: mean of the logits over an image and its mirror image, or both shifted a little as well."""
    backend: Backend
    """What computes: `torch`, `torch.compile` (takes half a minute to begin), or `openvino` (to be installed)."""
    precision: AnswerPrecision
    """`bf16-mixed`: faster where the device has it; `auto`: that, if it is found to be faster and to decide alike."""
    ece_bins: PositiveInt
    """Bins of confidence in the expected calibration error and the reliability plot."""
    metrics: Metrics
    """Further metrics of torchmetrics, as `train.metrics`; they are written to metrics.json."""
    num_images: PositiveInt
    """Images on each sheet of sample images."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_metric_names("evaluate.metrics", self.metrics, EVALUATED)
        return self


class PredictParams(Section):
    """What is predicted, and how it is written."""

    input: Annotated[str, Field(min_length=1)]
    """`data/split` predicts the test split; else an image or a folder of images, which DVC then watches."""
    batch_size: PositiveInt
    """Images per step; changes speed and memory, not results."""
    tta: Literal["none", "flip", "flip_shift"]
    """Test-time augmentation, as `evaluate.tta`."""
    backend: Backend
    """What computes, as `evaluate.backend`."""
    precision: AnswerPrecision
    """Precision, as `evaluate.precision`."""
    top_k: PositiveInt
    """Number of most probable classes in the CSV and JSON Lines."""
    max_bad: Annotated[int, Field(ge=0)]
    """Number of unreadable images that are skipped and named before predict fails."""
    max_pixels: PositiveInt
    """An image of more pixels counts as unreadable."""


class HardwareParams(Section):
    """The machine. No stage depends on it: moving to another machine leaves results valid."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    """`auto` takes a GPU if there is one; naming one that is missing is an error."""
    devices: Literal["auto"] | PositiveInt
    """Number of devices to train on."""
    num_nodes: PositiveInt
    """Number of machines to train on."""
    strategy: Annotated[str, Field(min_length=1)]
    """Lightning's strategy, such as `auto` or `ddp`."""
    rank_timeout_seconds: PositiveFloat
    """With several devices: end if one of the processes that train together does not answer for this long."""
    worker_timeout_seconds: PositiveFloat
    """Give up on readers, threads or processes, that deliver no batch for this long."""
    num_workers: Literal["auto"] | Annotated[int, Field(ge=0)]
    """Threads that read and augment images, or processes where torchvision's transforms do; `auto`: as many as are of use."""
    cache_images: Literal["auto"] | bool
    """Hold images in memory once they were decoded, a GPU's where it cuts out whole batches; `auto`: in a quarter of it."""
    watch: bool
    """Write what the machine does while it trains (CPU, memory, GPU, images/s) to machine.csv and machine.png in `logs/`."""


class Distribution(Section):
    """What a search tries for one key."""

    distribution: Literal["float", "int", "categorical"]
    """`float` or `int` between `low` and `high`, or one of `choices`."""
    low: int | float | None = None
    """The least value."""
    high: int | float | None = None
    """The greatest value."""
    log: bool = False
    """Whether orders of magnitude are equally likely."""
    step: int | float | None = None
    """Distance between values, from `low` on; null: 1 for `int`, any value for `float`."""
    choices: Annotated[list[Any], AfterValidator(_only_json), Field(min_length=1)] | None = None
    """Values, also whole mappings with `_target_`."""
    when: Arguments = {}
    """Other keys of the space with the choice, or list of choices, for which this key is set; by `_target_` for mappings."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.distribution == "categorical":
            if self.choices is None or self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("categorical has choices, and no low, high, step or log; write {distribution: …, choices: […]}")
            return self
        if self.low is None or self.high is None or self.choices is not None:
            raise ValueError(f"{self.distribution} has low and high, and no choices; write {{distribution: …, low: …, high: …}}")
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}; exchange them")
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
    """The search of `./darkroom tune`. No stage depends on it: a longer search leaves results valid."""

    study: Annotated[str, Field(pattern=STUDY)]
    """Name of the search: its trials are the experiments `<study>-0000`, `<study>-0001`, …"""
    trials: PositiveInt
    """Number of trials in all, with those of earlier runs of the command."""
    metric: Objective | Annotated[list[Objective], Field(min_length=1)]
    """What is made best: a validation metric of the published epoch, `parameters` or `multiply_adds`; or a list of these."""
    direction: Direction | Annotated[list[Direction], Field(min_length=1)]
    """`maximize` or `minimize`; a list if `metric` is one."""
    start: Annotated[str, Field(min_length=1)] | None
    """Commit, branch or experiment whose parameters the trials start from; null: those of params.yaml."""
    search_space: dict[Annotated[str, Field(pattern=DOTTED)], Distribution]
    """Keys of this file with what is tried for them (docs/search.md); the first trial takes their own values."""
    sampler: Target
    """Class of optuna.samplers, such as `TPESampler`, `RandomSampler`, `BruteForceSampler`."""
    pruner: Target | None
    """Class of optuna.pruners, such as `MedianPruner`, that ends poor trials early; null: none is ended."""
    seed: Seed
    """Seed of the sampler: with one job the same trials, however often the search is interrupted."""
    timeout_minutes: PositiveFloat | None
    """No trial begins later than so many minutes after the command; null: only `trials` counts."""
    storage: Annotated[str, Field(min_length=1)] | None
    """Where the study is: a database's address or a journal file, which several machines may share; null: in `search/`."""
    jobs: PositiveInt
    """Number of trials side by side, each with GPUs of its own, and its share of the cores."""

    @property
    def metrics(self) -> list[str]:
        """What is made best, as a list."""
        return self.metric if isinstance(self.metric, list) else [self.metric]

    @property
    def directions(self) -> list[Direction]:
        """The directions, as a list."""
        return self.direction if isinstance(self.direction, list) else [self.direction]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.metrics) != len(self.directions):
            raise ValueError(f"tune.direction: has {len(self.directions)} for {len(self.metrics)} metrics; give one for each")
        if len(self.metrics) > 1 and self.pruner is not None:
            raise ValueError("tune.pruner: cannot compare trials by several metrics; set it to null")
        if self.pruner is not None and not self.metrics[0].startswith("val/"):
            raise ValueError(f"tune.pruner: {self.metrics[0]} is the same in every epoch; set it to null")
        return self


class Params(Section):
    """The whole of params.yaml."""

    base: BaseParams
    download: DownloadParams
    split: SplitParams
    train: TrainParams
    evaluate: EvaluateParams
    predict: PredictParams
    tune: TuneParams
    hardware: HardwareParams

    @model_validator(mode="after")
    def _check_objectives(self) -> Self:
        known = [*(f"val/{name}" for name in (*MEASURED, *self.train.metrics)), "parameters", "multiply_adds"]
        for metric in self.tune.metrics:
            if metric not in known:
                near = difflib.get_close_matches(metric, known, n=1, cutoff=0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"name one of {', '.join(known)}, or add it to train.metrics"
                raise ValueError(f"tune.metric: is {metric}, which nothing writes; {hint}")
        return self
