"""./darkroom evaluate: the metrics of any model on val and test or on other labelled images; nothing that is recorded changes."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.api.named_model import MODEL_HELP, open_model
from darkroom.base.errors import InputError, listed, nearest, nearest_path
from darkroom.cli import parser_of

if TYPE_CHECKING:
    from darkroom.base.params import DownloadParams, Params
    from darkroom.data.pack import Pack
    from darkroom.evaluation.evaluate import Evaluation
    from darkroom.models.saving import Published

SPLITS = ("train", "val", "test")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def main(arguments: list[str]) -> None:
    """Print the metrics of the validation and the test split, or of other images."""
    parser = parser_of(
        "evaluate",
        "It validates without training, and prints the metrics; 'dvc repro evaluate' records them in metrics/evaluate.",
        examples=[
            "./darkroom evaluate",
            "./darkroom evaluate --model my-experiment --split val",
            "./darkroom evaluate --model models/checkpoints/epoch_0003",
            "./darkroom evaluate --data photos/ --out measured.json",
        ],
    )
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    parser.add_argument("--data", metavar="DATA", help="other labelled images: folder, table or archive (default: data/split)")
    parser.add_argument("--split", choices=SPLITS, help="only this split (default: val and test; of --data all images)")
    parser.add_output("--out", metavar="FILE", help="also write the metrics to a .json file")
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections

    ignore_variables()
    if chosen.out is not None and chosen.out.suffix != ".json":
        raise InputError(f"--out: {chosen.out} does not end with .json; name a .json file")
    params = load_sections(paths.PARAMS, "base", "evaluate", "hardware")
    about: dict[str, Any] = {}
    with ExitStack() as stack:
        if chosen.data is None:
            found = _of_recorded_data(chosen.model, params, [chosen.split] if chosen.split else ["val", "test"])
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="darkroom-")))
            found, about = _of_other_data(chosen.model, params, chosen.data, chosen.split, folder)
    print(*found.lines(), sep="\n")
    if chosen.out is None:
        print("evaluate: nothing was written; '--out FILE.json' keeps it, 'dvc repro evaluate' records the model in models")
    else:
        from darkroom.base import files

        images = {name: len(each.labels) for name, each in found.predictions.items()}
        content = {
            "model": chosen.model or "models",
            **about,
            "images": images,
            "metrics": found.metrics,
            "backend": found.backend,
        }
        files.write_json(chosen.out.absolute(), content)
        print(f"evaluate: metrics -> {chosen.out}")


def _of_recorded_data(model: str | None, params: "Params", splits: Sequence[str]) -> "Evaluation":
    from darkroom.base import paths
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.evaluation.evaluate import evaluate_model

    return evaluate_model(lambda: open_model(model, params, "evaluate"), params, pack, split, splits)


def _of_other_data(
    model: str | None, params: "Params", data: str, split: str | None, folder: Path
) -> tuple["Evaluation", dict[str, Any]]:
    """Measure a model on images from elsewhere, which are packed into a temporary folder as the training images were."""
    source = source_of(data, params.download, split)

    from darkroom.evaluation.evaluate import evaluate_images
    from darkroom.inference.predictor import Predictor

    predictor = Predictor.load(lambda: open_model(model, params, "evaluate"), params, "evaluate")
    kept = {"resize": predictor.seen.resize, "format": predictor.seen.stored or "encoded"}
    pack = pack_images(source.model_copy(update=kept), folder)
    images, left_out = known_images(pack, predictor.model, data, split)
    if left_out:
        told = ", ".join(f"{name} ({count})" for name, count in left_out.items())
        print(f"evaluate: {sum(left_out.values())} images are left out, since the model does not know their classes: {told}")
    return evaluate_images(predictor, params, {split or "data": images}), {"data": data, "left_out": left_out}


def source_of(data: str, download: "DownloadParams", split: str | None) -> "DownloadParams":
    """Return the section `download` that reads a folder, a table or an archive.

    Raises
    ------
    InputError
        If it does not exist or is none of these.
    """
    from darkroom.base import files
    from darkroom.base.params import Columns

    path = Path(data).expanduser().absolute()
    if not path.exists():
        raise InputError(f"--data: {data} does not exist; {nearest_path(data, 'name a folder, a table or an archive')}")
    unset: dict[str, Any] = {"manifest": None, "parts": [], "more_archives": [], "archive": None, "sha256": None, "dataset": None}
    usual = Columns(path=None, label=None, group=None, split=None, separator=None)
    known = download.columns if download.manifest else usual
    # Without --split all images are measured, whatever the table says of them.
    columns = known.model_copy(update={"group": False, "split": (known.split or None) if split else False})
    base = download.model_copy(update=unset | {"columns": columns, "format": "encoded"})
    if path.is_dir():
        return base.model_copy(update={"source": "folder", "folder": str(path)})
    if path.suffix.lower() in TABLES:
        return base.model_copy(update={"source": "manifest", "folder": str(path.parent), "manifest": path.name})
    return base.model_copy(update={"source": "archive", "archive": str(path), "sha256": files.sha256(path)})


def pack_images(source: "DownloadParams", folder: Path) -> "Pack":
    """Pack the images of a source, as the stage download does."""
    from darkroom.data.pack import Pack
    from darkroom.sources.pack_writer import write_pack
    from darkroom.sources.read import read_source

    (folder / "raw").mkdir()
    with read_source(source, folder) as listing:
        write_pack(listing, folder / "raw", source)
    return Pack.open(folder / "raw", verify=False)


def known_images(pack: "Pack", model: "Published", data: str, split: str | None) -> tuple[Any, dict[str, int]]:
    """Return the images whose classes the model knows, and the number of images of each class that it does not.

    Raises
    ------
    InputError
        If no image is left, or the labels are of another kind.
    """
    import numpy as np

    from darkroom.data.labels import count_labels, is_multilabel, matching, relabelled
    from darkroom.evaluation.written_predictions import Images

    if is_multilabel(pack.labels) != model.multilabel:
        kind = "any number of classes" if model.multilabel else "one class"
        raise InputError(f"--data: the model predicts {kind} per image, unlike the labels of {data}; name other images")
    rows = np.arange(len(pack)) if split is None else np.flatnonzero(pack.splits == split)
    if not len(rows):
        raise InputError(f"--split: {data} has no images in {split}; it has {', '.join(sorted(set(pack.splits.tolist())))}")
    try:
        places = matching(pack.classes, model.card.classes)
    except ValueError as error:
        raise InputError(f"--data: {data}: {error}; rename one of them") from None
    is_known, labels = relabelled(pack.labels[rows], places, len(model.card.classes))
    counts = count_labels(pack.labels[rows], len(pack.classes)).tolist()
    unknown = {name: count for name, place, count in zip(pack.classes, places, counts, strict=True) if place is None and count}
    if not is_known.any():
        first, known = next(iter(unknown)), model.card.classes
        hint = nearest(first, known, f"it knows {listed(known)}")
        raise InputError(f"--data: the model knows no class of {data}, such as '{first}'; {hint}")
    return Images(pack, rows[is_known], labels), unknown
