"""./darkroom predict: classes and probabilities of images, on the terminal or in a file of the user's."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError, nearest_path
from darkroom.base.nested import outputs_of, read_stages
from darkroom.cli import parser_of, suggest
from darkroom.cli.predict.features import add_arguments, check_arguments, near_rows, predict_nearest, write_embeddings

if TYPE_CHECKING:
    from darkroom.base.params import Params
    from darkroom.models.saving import Published
    from darkroom.reporting.predictions import Predictions

SHOWN = 20
MODEL_HELP = (
    "folder of a model.json, commit or experiment, registered model (NAME@v1.0.0, NAME@STAGE), or file of weights "
    "(.safetensors, .ckpt, .pth) for the network of params.yaml"
)


def main(arguments: list[str]) -> None:
    """Print predictions as a table, or write them to a file."""
    parser = parser_of(
        "predict",
        f"It prints a table of the first {SHOWN} images, or writes all to a file. "
        "'dvc repro predict' records predictions in data/predictions.",
        examples=[
            "./darkroom predict photo.jpg",
            "./darkroom predict photo.jpg folder/ --out result.csv",
            "./darkroom predict photo.jpg --model models/checkpoints/epoch_0003",
            "./darkroom predict photo.jpg --model my-experiment",
            "./darkroom predict photo.jpg --model classifier@prod",
            "./darkroom predict photo.jpg --nearest 5",
            "./darkroom predict folder/ --embeddings --out features.parquet",
            "./darkroom predict folder/ --embeddings --backbone pretrained --out features.parquet",
            "./darkroom predict photo.jpg --nearest 5 --among features.parquet",
        ],
    )
    parser.add_argument(
        "images", nargs="*", metavar="PATH", help="images, or folders of them (default: params.yaml: predict.input)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a .csv, .jsonl or .parquet file, not a table")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    add_arguments(parser)
    chosen = parser.parse(arguments)
    check_arguments(chosen)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.reporting.predictions import check_out, write_predictions

    ignore_variables()
    if chosen.out is not None:
        check_out(chosen.out)
        check_place(chosen.out)
    params = load_sections(paths.PARAMS, "base", "predict", "hardware")

    inputs = chosen.images or [paths.ROOT / params.predict.input]

    def model() -> "Published":
        return open_model(chosen.model, params, "predict")

    if chosen.embeddings:
        count = write_embeddings(chosen, inputs, model, params)
        print(f"predict: {count} images -> {chosen.out}")
        return
    if chosen.nearest is not None:
        predictions = predict_nearest(chosen, inputs, model, params)
    else:
        from darkroom.inference.inputs import predict_inputs

        predictions = predict_inputs(inputs, model, params)
    if chosen.out is None:
        print(*table_lines(predictions, params.predict.top_k), sep="\n")
        suggest("predict: nothing was written; '--out result.csv' writes the table to a file")
    else:
        write_predictions(chosen.out, predictions, params.predict.top_k)
        print(f"predict: {len(predictions.paths)} images -> {chosen.out}")


def check_place(out: Path, option: str = "--out") -> None:
    """Refuse a file among the outputs of stages, which DVC removes, or records as what a stage made.

    Raises
    ------
    InputError
        Naming the folder.
    """
    from darkroom.base import paths

    place = out.resolve()
    folders = [paths.ROOT / out for stage in read_stages(paths.PIPELINE).values() for out in outputs_of(stage)]
    for folder in (*folders, paths.MODELS):
        if place.is_relative_to(folder.resolve()):
            raise InputError(f"{option}: {out} is in {paths.shown(folder)}, which stages write; name a file elsewhere")


def table_lines(predictions: "Predictions", top_k: int) -> Iterator[str]:
    """Yield a table of the first images: path, true class where it is known, classes with their probabilities."""
    from darkroom.data.listing import printable
    from darkroom.experiments.text import table

    top_k = min(top_k, len(predictions.classes))
    next_ones = [cell for place in range(2, top_k + 1) for cell in (f"class {place}", "")]
    header = ["path", *(["true"] if predictions.actual else []), *(["classes"] if predictions.multilabel else [])]
    rows = []
    for number, top in zip(range(SHOWN), predictions.most_probable(top_k), strict=False):
        cells = [predictions.paths[number]]
        cells += [printable(predictions.actual[number])] if predictions.actual else []
        if predictions.multilabel:
            cells.append(printable("; ".join(predictions.chosen[number]) or "none"))
        shown = [cell for name, value in top for cell in (printable(name), f"{value:.4f}")]
        if why := predictions.why(number) if top else []:
            kind = " (foreign)" if "foreign" in why else ""
            shown[0] = f"{predictions.named(number, top[0][0])}{kind}: {shown[0]}?"
        shown += [f"{predictions.foreign[number]:.2f}"] if predictions.foreign is not None else []
        shown += [printable("; ".join(predictions.set_of(number)) or "none")] if predictions.sets is not None else []
        rows += near_rows(cells + shown, predictions.near[number]) if predictions.near else [cells + shown]
    header += ["class", "probability", *next_ones] if predictions.classes else []
    header += ["foreign"] if predictions.foreign is not None else []
    header += ["set"] if predictions.sets is not None else []
    yield from table(rows, [*header, *(["nearest", "its class", "similarity"] if predictions.near else [])])
    more = len(predictions.paths) - SHOWN
    if more > 0:
        yield f"... and {more} more; write all of them to a file with '--out result.csv'"


def open_model(name: str | None, params: "Params", command: str) -> "Published":
    """Open the model that `--model` names: a folder, a revision or experiment, a registered model, or a file of weights.

    Raises
    ------
    InputError
        If there is no such model, or it is damaged.
    """
    from darkroom.base import paths
    from darkroom.models.saving import Published, build_published, load_model, open_content, refuse_unsafe_loading
    from darkroom.repository.registry import REGISTERED, find_registered
    from darkroom.versions.models import read_model

    if name is None:
        return _with_calibration(load_model(paths.MODELS, params), paths.MODELS, command)
    path = Path(name).expanduser()
    if path.name == "model.json" or (path.name == "model.safetensors" and (path.parent / "model.json").is_file()):
        path = path.parent
    if path.is_dir():
        epochs = sorted(each.name for each in path.glob("epoch_*"))
        if epochs and not (path / "model.json").exists():
            raise InputError(f"--model: {name} holds several models; name one of {', '.join(epochs)}")
        return _with_calibration(load_model(path.absolute(), params, paths.shown(path.absolute())), path, command)
    if path.is_file():
        return _open_file(name, path, params, command)
    if not REGISTERED.fullmatch(name) and ("/" in name.partition(":")[0] or path.suffix):
        raise InputError(f"--model: {name} does not exist; {nearest_path(name, f'name a {MODEL_HELP}')}")
    refuse_unsafe_loading()
    try:
        registered = find_registered(paths.main_repository(), name)
        revision = f"{registered.commit}:{registered.path}" if registered else name
        shown, content = read_model(paths.ROOT, paths.main_repository(), revision)
    except InputError as error:
        raise InputError(f"--model: {name} is no folder or file, and {error}") from None
    shown = f"{name} ({registered.version}, {registered.commit[:7]})" if registered else shown
    card, weights = open_content("--model", shown, content)
    network = build_published(card, weights, params, where=f"--model: model.json of {shown}", advice="name another model")
    return Published(network, card, shown, _recorded_calibration(revision) if command == "predict" else None)


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


def _open_file(name: str, path: Path, params: "Params", command: str) -> "Published":
    """Build the network of params.yaml with the weights of a file, and the preprocessing and classes of the data."""
    from darkroom.base import paths
    from darkroom.base.params import Network
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.models.initial_weights.pretrained import describe_weights
    from darkroom.models.initial_weights.weights_file import open_file
    from darkroom.models.model_json import Card
    from darkroom.models.networks import without_weights
    from darkroom.models.saving import Published, refuse_unsafe_loading
    from darkroom.models.trainable import build_model

    refuse_unsafe_loading()
    weights = open_file("--model", name, path.read_bytes())
    train = params.train
    if train.init_from is not None:
        raise InputError(
            f"--model: {name} does not say how images are normalised, which train.init_from decides; name a folder or a revision"
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
