"""Training from Python, outside of dvc.yaml: own images, own network, and the loop, resume and records of the stages.

docs/api.md shows it. N images, C channels, H by W pixels, K classes.
"""

import hashlib
import inspect
import json
import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.experiments.overrides import with_settings
from darkroom.experiments.presets import overlaid, read_preset
from darkroom.models.model_json import Card, data_hashes, read_card
from darkroom.sources.own.datasets import Data, examples_of, pixels
from darkroom.sources.own.examples import list_examples
from darkroom.sources.pack_writer import write_pack
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import write_split
from darkroom.stage.state_files import forget_finished


@dataclass(frozen=True)
class TrainedModel:
    """A published model with its records.

    Attributes
    ----------
    folder : Path
        `models/`, `metrics/train/`, `metrics/evaluate/` and `data/` stand in it, as in the repository.
    params : Params
        All settings that it was trained with.
    card : Card
        The content of `models/model.json`.
    metrics : dict
        By split, `val` and `test`, and name, as in `metrics/evaluate.json`.
    """

    folder: Path
    params: Params
    card: Card
    metrics: Mapping[str, Mapping[str, float]]

    def predict(self, images: Sequence[Any]) -> NDArray[np.float64]:
        """Return the calibrated probabilities (N, K) of images, each as a `LabelledImages` returns it; K as `card.classes`."""
        from darkroom.inference.predict import predict_images
        from darkroom.inference.predictor import Predictor

        predictor = Predictor.load(self.folder / "models", self.params, "predict")
        found = predict_images(predictor, [pixels(image) for image in images], batch_size=self.params.predict.batch_size)
        probabilities: NDArray[np.float64] = predictor.rule.predicted(found)["probabilities"]
        return probabilities


def train(
    folder: str | Path,
    images: Data,
    *,
    val: Data | None = None,
    test: Data | None = None,
    network: Callable[..., nn.Module] | None = None,
    arguments: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainedModel:
    """Train, evaluate and record in a folder; the same call resumes what was interrupted, and trains nothing twice.

    Parameters
    ----------
    folder
        For data, states, model and metrics.
    images
        To train on.
    val, test
        To choose the best epoch by, and to measure it on; None: taken from `images`, as section `split` says.
    network
        A class or function at the top level of a module, called with `num_classes` and `in_channels` if it takes them; None: the
        one that `train.model` names.
    arguments
        Further arguments of `network`.
    classes
        Names of the classes, where labels are numbers; None: the numbers.
    preset
        One of `conf/`, or the path of a .yaml file.
    settings
        Values by dotted key, such as `{"train.epochs": 5}`, as after `-S`; all others are those of params.yaml.

    Raises
    ------
    InputError
        Naming the setting, image or argument that is wrong; nothing was trained.
    RunError
        If the training fails.
    """
    place = Path(folder)
    params, code = _settings(network, arguments, preset, settings)
    pack, split = _write_data(place / "data", params, {"train": images, "val": val, "test": test}, classes)
    _fit(place, params, code, pack, split)
    return TrainedModel(place, params, read_card(place / "models" / "model.json"), _evaluate(place, params, pack, split))


def _settings(
    network: Callable[..., nn.Module] | None,
    arguments: Mapping[str, Any] | None,
    preset: str | None,
    settings: Mapping[str, Any] | None,
) -> tuple[Params, dict[str, str]]:
    """Return all settings, and the hashes of the code that a result depends on."""
    if "download.corrections" in (settings or {}):
        raise InputError(
            "download.corrections: names files, which images in Python are not; correct their labels, and leave it out"
        )
    content = read_yaml(paths.PARAMS)
    if preset is not None:
        content = overlaid(content, read_preset(paths.PRESETS, preset))
    content = with_settings(content, dict(settings or {}))
    code = {paths.shown(path): files.sha256(path) for path in sorted((paths.ROOT / "src").rglob("*.py"))}
    if network is not None:
        name, source = named_source(network)
        content["base"]["allow_targets"] = [*content["base"]["allow_targets"], network.__module__.partition(".")[0]]
        content["train"]["model"] = {"_target_": name, **(arguments or {})}
        code["network"] = source
    elif arguments:
        raise InputError("arguments: are those of a network, but no network is given; set train.model in settings")
    params = check_params(content)
    if params.hardware.devices not in (1, "auto") or params.hardware.num_nodes > 1:
        raise InputError("hardware.devices: must be 1 in Python, whose script would be started once for each; use dvc repro")
    return params, code


def named_source(network: Callable[..., nn.Module]) -> tuple[str, str]:
    """Return the import path of a network, and a hash of its source."""
    name = getattr(network, "__qualname__", "")
    if not name.isidentifier():
        raise InputError(f"network: {name or network!r} is no class or function at the top level of a module; move it there")
    # By the code of a function: a class of a notebook knows no file, and linecache has the text of its cell.
    functions = (
        [network] if inspect.isfunction(network) else [each for each in vars(network).values() if inspect.isfunction(each)]
    )
    source = "".join(linecache.getlines(functions[0].__code__.co_filename)) if functions else ""
    if not source:
        raise InputError(f"network: the source of {name} cannot be read, so it cannot be recorded; write it to a file")
    return f"{network.__module__}.{name}", hashlib.sha256(source.encode()).hexdigest()


def _write_data(
    folder: Path, params: Params, parts: Mapping[str, Data | None], classes: Sequence[str] | None
) -> tuple[Pack, Split]:
    """Pack the images and split them, as the stages download and split do."""
    examples = [each for part, data in parts.items() if data is not None for each in examples_of(part, data, classes)]
    listing = list_examples(examples, "images", {"source": "python", "name": "images", "licence": None})
    with files.replaced_dir(folder / "raw") as directory:
        write_pack(listing, directory, params.download)
    pack = Pack.open(folder / "raw")
    assignment = assign_splits(pack, params.split, params.base.seed)
    with files.replaced_dir(folder / "split") as directory:
        write_split(directory, pack, assignment, params.split, params.base.seed)
    return pack, Split.open(folder / "split", pack)


def _fit(place: Path, params: Params, code: dict[str, str], pack: Pack, split: Split) -> None:
    """Train as the stage train does, unless the folder holds the result already."""
    from darkroom.hardware import startup

    startup.prepare()
    from darkroom.training.auto_precision import resolve_auto
    from darkroom.training.checkpoints.saved_states import StateStore, depends_on
    from darkroom.training.fit import fit
    from darkroom.training.plan import make_plan
    from darkroom.training.publish import publish

    hashes = data_hashes(pack.directory, split)
    plan = make_plan(params, pack, split.rows["train"])
    store = StateStore(place / ".resume", depends_on(code, params, hashes, plan.about["origin"]))
    models, metrics = place / "models", place / "metrics" / "train"
    if _is_published(models, store.about):
        return
    print(*(f"train: {line}" for line in plan.lines()), sep="\n", flush=True)
    with store.held(params.hardware):
        plan = resolve_auto(plan, store.folder / "auto.json")
        best = fit(plan, split, store, logs=place / "logs")
        models.mkdir(parents=True, exist_ok=True)
        with files.replaced_dir(models / "checkpoints") as checkpoints, files.replaced_dir(metrics) as measured:
            publish(plan, best, split, hashes, store, (models, checkpoints, measured), metrics.with_suffix(".json"))
    forget_finished(place / ".resume", models / "run.json")
    print(f"train: published {best.name} with {best.monitor} {best.score:.4f}")


def _is_published(models: Path, about: Mapping[str, Any]) -> bool:
    try:
        run = json.loads((models / "run.json").read_text(encoding="utf-8"))
        versions = {name.lower(): version for name, version in run["packages"].items()}
        # run.json lists all that is installed.
        same = all(run.get(key) == value for key, value in about.items() if key != "packages")
        same &= all(versions.get(name.lower()) == version for name, version in about["packages"].items())
        return same and bool(run["weights_sha256"] == files.sha256(models / "model.safetensors"))
    except (OSError, ValueError, KeyError):
        return False


def _evaluate(place: Path, params: Params, pack: Pack, split: Split) -> Mapping[str, Mapping[str, float]]:
    from darkroom.evaluation.evaluate import evaluate_model, write_results

    metrics = place / "metrics"
    with (
        files.replaced_dir(metrics / "evaluate") as directory,
        files.replaced_file(metrics / "predictions.parquet") as predictions,
    ):
        found = evaluate_model(place / "models", params, pack, split, predictions=predictions)
        files.write_json(metrics / "evaluate.json", found.metrics)
        files.write_sealed_json(place / "models" / "calibration.json", found.calibration)
        write_results(directory, found, params.evaluate)
    return found.metrics
