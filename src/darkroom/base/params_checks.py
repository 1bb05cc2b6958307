"""Rules for params.yaml that concern several keys: combinations that are wrong, and settings that have no effect.

Each function takes the checked types of `params` and raises a `ValueError` that begins with the key.
"""

import re
from collections.abc import Iterable

from darkroom.base.errors import listed, nearest, warn
from darkroom.base.params import (
    BINARY,
    CRITERION,
    EVALUATED,
    MEASURED,
    MEASURED_IN_TRAINING,
    DownloadParams,
    Network,
    Params,
    SplitParams,
    Target,
    TrainParams,
)

# Sources for which a key of `download` has an effect.
SOURCES_OF_KEY = {
    "dataset": ["torchvision", "huggingface"],
    "arguments": ["torchvision", "huggingface"],
    "parts": ["folder"],
    "folders": ["folder"],
    "manifest": ["manifest", "archive"],
    "archive": ["archive"],
    "sha256": ["archive"],
    "more_archives": ["archive"],
}
SPLIT_FOLDERS = ("val", "valid", "validation", "test", "testing")
POS_WEIGHT = "weighs the labels of independent outputs, but each image has one of several classes; set train.class_weights"
NEEDED_KEY = {"torchvision": "dataset", "archive": "archive", "manifest": "manifest"}


def check_combinations(params: Params) -> None:
    """Check every rule, and warn of settings that have no effect.

    Raises
    ------
    ValueError
        Naming the key, its value and what to change.
    """
    _check_download(params.download)
    _check_split(params.split)
    _check_train(params.train)
    _check_task(params.train)
    _check_averages(params.train)
    _check_schedules(params.train)
    _check_init_from(params.train)
    _check_cache_features(params.train)
    _check_fit_head(params.train)
    _check_lora(params.train)
    _check_evaluate(params)
    _check_tune(params)


def _check_download(download: DownloadParams) -> None:
    source = download.source.target if isinstance(download.source, Target) else download.source
    needed = NEEDED_KEY.get(source)
    if needed and getattr(download, needed) is None:
        raise ValueError(f"download.{needed}: is null, but download.source is {source}; set it")
    for key, sources in SOURCES_OF_KEY.items():
        if getattr(download, key) and source not in sources:
            warn(f"params.yaml: download.{key} has no effect while download.source is {source}")
    if download.folders and download.parts:
        raise ValueError("download.folders: names the folders of the splits, but download.parts names others; set parts to []")
    # Merged, they would all be split anew.
    named = [part for part in download.parts if part.rpartition("/")[2].casefold() in SPLIT_FOLDERS]
    if named:
        raise ValueError(
            f"download.parts: '{named[0]}' is named like a split, but parts are merged and split anew; "
            "set download.folders to {train: …, val: …, test: …}, or rename it"
        )
    if download.manifest and (download.parts or download.more_archives):
        raise ValueError(
            "download.manifest: describes one folder or archive, but download.parts or download.more_archives names more; "
            "set these to []"
        )


def _check_split(split: SplitParams) -> None:
    if split.val_fraction + split.test_fraction >= 1:
        wrong = f"are {split.val_fraction} and {split.test_fraction}, which leaves nothing to train on"
        raise ValueError(f"split.val_fraction and split.test_fraction: {wrong}; their sum must be below 1")
    if split.folds is not None and split.fold >= split.folds:
        raise ValueError(f"split.fold: is {split.fold}, but folds are counted from 0 to {split.folds - 1}; lower it")


def _check_train(train: TrainParams) -> None:
    measured = _measured(train)
    _check_metric_names("train.metrics", train.metrics, (*measured, CRITERION))
    known = [f"val/{name}" for name in (*measured, *train.metrics)]
    if train.monitor.startswith("train/"):
        raise ValueError(
            f"train.monitor: is {train.monitor}, which is not measured with the weights that are published; "
            f"use one such as val/{train.monitor.removeprefix('train/')}, or set train.early_stopping.monitor to it"
        )
    if train.monitor not in known:
        raise ValueError(f"train.monitor: is {train.monitor}, which is not measured; {_hint(train.monitor, known)}")
    stopping, known = train.early_stopping, [*known, *(f"train/{name}" for name in MEASURED_IN_TRAINING)]
    if stopping and stopping.monitor and stopping.monitor not in known:
        wrong = f"is {stopping.monitor}, which is not measured"
        raise ValueError(f"train.early_stopping.monitor: {wrong}; {_hint(stopping.monitor, known)}")
    if "lr" in train.optimizer.arguments:
        raise ValueError("train.optimizer.lr: is not allowed here; set train.lr")
    if train.trainer.gradient_clip_algorithm and train.gradient_clip is None:
        warn("params.yaml: train.trainer.gradient_clip_algorithm has no effect while train.gradient_clip is null")
    if train.unfreeze_epoch is not None and not train.freeze:
        warn("params.yaml: train.unfreeze_epoch has no effect while train.freeze is 0")


def _measured(train: TrainParams) -> tuple[str, ...]:
    """Return the validation metrics that this training always logs."""
    return (*MEASURED, BINARY[0]) if train.task == "binary" else MEASURED


def _check_task(train: TrainParams) -> None:
    if train.positive_class is not None and train.task != "binary":
        warn(f"params.yaml: train.positive_class has no effect while train.task is {train.task}")
    if train.pos_weight is not None and train.class_weights is not None:
        wrong = f"are {train.pos_weight} and {train.class_weights}, but the loss takes one of them"
        raise ValueError(f"train.pos_weight and train.class_weights: {wrong}; set the other to null")
    if train.pos_weight is not None and train.task == "multiclass":
        raise ValueError(f"train.pos_weight: {POS_WEIGHT}")


def _check_averages(train: TrainParams) -> None:
    if train.ema is not None and train.swa is not None:
        wrong = f"are {train.ema} and {train.swa}, but only one average can be published"
        raise ValueError(f"train.ema and train.swa: {wrong}; set one of them to null")


def _check_schedules(train: TrainParams) -> None:
    if train.image_sizes and 0 not in train.image_sizes:
        raise ValueError("train.image_sizes: has no size for epoch 0; add it, as in {0: 128, 20: 192}")
    if train.lr_table and 0 not in train.lr_table:
        raise ValueError("train.lr_table: has no rate for epoch 0; add it, as in {0: 0.01, 40: 0.1}")
    for pattern in train.lr_factors or {}:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"train.lr_factors: '{pattern}' is not a regular expression ({error}); correct it") from None
    needed = {key: max(getattr(train, key) or [-1]) + 1 for key in ("image_sizes", "lr_table")}
    needed["unfreeze_epoch"] = 0 if train.unfreeze_epoch is None else train.unfreeze_epoch + 1
    needed |= {key: getattr(train, key) or 0 for key in ("keep_every", "test_every")}
    for key, epochs in needed.items():
        if epochs > train.epochs:
            warn(f"params.yaml: train.{key} needs {epochs} epochs to have its effect, but train.epochs is {train.epochs}")


def _check_init_from(train: TrainParams) -> None:
    file = train.model.weights
    if file is not None and (train.init_from is not None or (isinstance(train.model, Network) and train.model.pretrained)):
        other = "train.init_from" if train.init_from is not None else "train.model.pretrained"
        raise ValueError(f"train.model.weights: is {file}, and {other} names other weights; set one of the two to null or false")
    if isinstance(train.model, Network) and file is None and train.model.weights_sha256 is not None:
        warn("params.yaml: train.model.weights_sha256 has no effect while train.model.weights is null")
    if train.resume_from is None and train.resume_sha256 is not None:
        warn("params.yaml: train.resume_sha256 has no effect while train.resume_from is null")
    if train.init_from is not None and isinstance(train.model, Network) and train.model.pretrained:
        raise ValueError(
            f"train.init_from: is {train.init_from}, but train.model.pretrained is true, and training starts from one of them; "
            "set train.model.pretrained to false, or train.init_from to null"
        )


def _check_cache_features(train: TrainParams) -> None:
    """Refuse what would change the input of the frozen layers between epochs, or needs the images themselves."""
    if not train.cache_features:
        return
    required = {
        "freeze": (train.freeze == 1, "true"),
        "unfreeze_epoch": (train.unfreeze_epoch is None, "null"),
        "augment": (not train.augment, "[]"),
        "mixup": (train.mixup is None, "null"),
        "cutmix": (train.cutmix is None, "null"),
        "image_sizes": (not train.image_sizes, "null"),
        "teacher": (train.teacher is None, "null"),
        "lora": (train.lora is None, "null"),
        "module": (train.module is None, "null"),
        "inspect": ("inputs" not in train.inspect, "without inputs"),
    }
    for key, (is_met, value) in required.items():
        if not is_met:
            raise ValueError(
                f"train.{key}: must be {value} while train.cache_features is true, because the network then sees each image "
                "once, unchanged; change one of the two"
            )


def _check_fit_head(train: TrainParams) -> None:
    _warn_of_random_weights(train, "fit_head", "fits the last layer on features of")
    later = ("unfreeze_epoch", "lora", "teacher", "layer_decay", "lr_table", "augment", "mixup", "cutmix", "ema", "swa")
    if train.fit_head is not None and train.epochs == 1 and (idle := [f"train.{key}" for key in later if getattr(train, key)]):
        warn(f"params.yaml: {listed(idle)}: no effect while train.fit_head is set and train.epochs is 1; raise train.epochs")


def _check_lora(train: TrainParams) -> None:
    if train.lora is None:
        return
    for key, nothing in {"freeze": "0", "layer_decay": "null"}.items():
        if getattr(train, key):
            raise ValueError(
                f"train.lora and train.{key}: cannot be combined, because adapters freeze all layers before the head; "
                f"set train.lora to null, or train.{key} to {nothing}"
            )
    _warn_of_random_weights(train, "lora", "freezes layers with")


def _warn_of_random_weights(train: TrainParams, key: str, what: str) -> None:
    has_weights = train.init_from is not None or train.resume_from is not None or train.model.weights is not None
    if getattr(train, key) and not has_weights and isinstance(train.model, Network) and not train.model.pretrained:
        warn(f"params.yaml: train.{key}: {what} random weights; set train.model.pretrained to true, or set train.init_from")


def _check_evaluate(params: Params) -> None:
    taken = (*EVALUATED, *BINARY) if params.train.task == "binary" else EVALUATED
    _check_metric_names("evaluate.metrics", params.evaluate.metrics, taken)


def _check_tune(params: Params) -> None:
    tune = params.tune
    if len(tune.metrics) != len(tune.directions):
        raise ValueError(f"tune.direction: has {len(tune.directions)} for {len(tune.metrics)} metrics; give one for each")
    if len(tune.metrics) > 1 and tune.pruner is not None:
        raise ValueError("tune.pruner: cannot compare trials by several metrics; set it to null")
    if tune.pruner is not None and not tune.metrics[0].startswith("val/"):
        raise ValueError(f"tune.pruner: {tune.metrics[0]} is the same in every epoch; set it to null")
    known = [*(f"val/{name}" for name in (*_measured(params.train), *params.train.metrics)), "parameters", "multiply_adds"]
    for metric in tune.metrics:
        if metric not in known:
            raise ValueError(f"tune.metric: is {metric}, which is not measured; {_hint(metric, known)}")


def _check_metric_names(key: str, names: Iterable[str], taken: tuple[str, ...]) -> None:
    for name in names:
        if name.lower() in taken:
            raise ValueError(f"{key}.{name}: is the name of a metric that is always measured; choose another name")


def _hint(metric: str, known: list[str]) -> str:
    prefix, _, name = metric.rpartition("/")  # which alone makes no name similar
    names = [each.removeprefix(f"{prefix}/") for each in known if each.startswith(f"{prefix}/")]
    otherwise = f"use one of {listed(known)}, or add it to train.metrics"
    return nearest(name, names, otherwise, f"'{prefix}/{{}}'")
