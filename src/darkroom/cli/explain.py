"""./darkroom explain: where in an image its class comes from, and the training images nearest to it, as a sheet or a page."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.api.named_model import MODEL_HELP, open_model
from darkroom.base.errors import InputError, counted, listed, nearest, one_line
from darkroom.cli import parser_of

if TYPE_CHECKING:
    from darkroom.base.params import Params
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.explanation.explained import Explained, Inputs
    from darkroom.inference.predictor import Predictor

DEFAULT_OUT = "explanation.png"
MOST = 200  # images: a sheet or a page of more is of no use
SHOWN = 20
AT_ONCE = 16  # images of a batch


def main(arguments: list[str]) -> None:
    """Write a sheet or a page of explained images, and print their classes."""
    parser = parser_of(
        "explain",
        f"It writes a sheet, {DEFAULT_OUT}: each image, the places that speak for a class, and the nearest training images. "
        "Without images it takes the most confident mistakes on the test split.",
        examples=[
            "./darkroom explain photo.jpg",
            "./darkroom explain photo.jpg folder/ --class daisy --out why.html",
            "./darkroom explain",
            "./darkroom explain --top-losses 20 --split val",
        ],
    )
    parser.add_argument("images", nargs="*", metavar="PATH", help="images, or folders of them (default: mistakes on test)")
    parser.add_argument("--top-losses", type=int, metavar="N", help="instead, the N images with the largest losses")
    parser.add_argument("--split", choices=("val", "test"), help="of this split (default: test)")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="mistakes, if no images are named (default: 16)")
    parser.add_argument(
        "--class", dest="wanted", metavar="NAME", help="what speaks for this class (default: for the predicted one)"
    )
    parser.add_argument("--nearest", type=int, default=5, metavar="N", help="nearest training images, 0 to 12 (default: 5)")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    parser.add_output("--out", default=Path(DEFAULT_OUT), metavar="FILE", help=f"a .png or .html file (default: {DEFAULT_OUT})")
    chosen = parser.parse(arguments)
    _check(chosen)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections

    ignore_variables()
    params = load_sections(paths.PARAMS, "base", "predict", "hardware")
    if chosen.images:
        from darkroom.prediction.find_photos import check_any_image, find_photos

        chosen.images = _few(find_photos(chosen.images))
        check_any_image(chosen.images)

    from darkroom.explanation.explained import Training, explain
    from darkroom.explanation.results import check_ending, write_explained
    from darkroom.inference.predictor import Predictor

    check_ending(chosen.out)
    predictor = Predictor.load(lambda: open_model(chosen.model, params, "predict"), params, "predict")
    wanted = label_of(chosen.wanted, predictor.model.card.classes)
    data = _data(predictor, needed=not chosen.images)
    inputs = _photos(chosen.images, predictor, params) if chosen.images else _recorded(chosen, predictor, data)
    training = Training(*data, chosen.nearest) if data is not None and chosen.nearest else None
    found = explain(predictor, replace(inputs, tta=params.predict.tta), wanted, training)
    write_explained(chosen.out.absolute(), found, predictor.model.name)
    print(*lines(found), sep="\n")
    print(f"explain: {counted(len(found), 'image')} -> {chosen.out}")


def _check(chosen: Namespace) -> None:
    """Refuse arguments that are wrong or contradict each other."""
    for flag, value, least, most in (
        ("--top-losses", chosen.top_losses, 1, MOST),
        ("--count", chosen.count, 1, MOST),
        ("--nearest", chosen.nearest, 0, 12),
    ):
        if value is not None and not least <= value <= most:
            raise InputError(f"{flag}: is {value}, but should be {least} to {most}; give another number")
    if chosen.images and (chosen.top_losses is not None or chosen.split is not None):
        flag = "--split" if chosen.top_losses is None else "--top-losses"
        raise InputError(f"{flag}: chooses among the images of data/split, but images are named as well; leave out one of them")
    if chosen.model is not None and not chosen.images:
        raise InputError("--model: the mistakes and losses that evaluate recorded are those of models; name images as well")


def label_of(name: str | None, classes: Sequence[str]) -> int | None:
    """Return the label of a class by its name.

    Raises
    ------
    InputError
        If the model has no such class.
    """
    if name is None:
        return None
    if name not in classes:
        raise InputError(f"--class: the model has no class {name}; {nearest(name, classes, f'it has {listed(classes)}')}")
    return classes.index(name)


def _few(found: list[Path]) -> list[Path]:
    if len(found) > MOST:
        raise InputError(f"explain: {len(found)} images are more than the {MOST} that fit a sheet; name fewer")
    return found


def _data(predictor: "Predictor", *, needed: bool) -> "tuple[Pack, Split] | None":
    """Return the data that the model was trained on; None with a line if it is not here, which photos do not need."""
    from darkroom.base import paths
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.models.model_json import data_hashes

    try:
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)
        predictor.model.check_data(data_hashes(paths.RAW, split))
    except InputError as error:
        if needed:
            raise
        print(f"explain: no nearest training images, since those of the model are not here ({error})")
        return None
    return pack, split


def _photos(found: list[Path], predictor: "Predictor", params: "Params") -> "Inputs":
    """Read images from files, as predict does."""
    import torch

    from darkroom.base import paths
    from darkroom.data.listing import printable
    from darkroom.explanation.explained import Inputs
    from darkroom.inference.photos import PhotoReader, Photos
    from darkroom.prediction.find_photos import without_arrays

    if predictor.seen.bands is None:
        found = without_arrays(found, found[:1])
    photos = Photos(found, params.predict, PhotoReader.of(predictor.seen, predictor.preprocess))
    batches = [torch.from_numpy(batch).permute(0, 3, 1, 2) for batch in photos]
    photos.check(params.predict.max_bad)
    if not batches:
        raise InputError(f"{found[0]}: cannot be read, nor any other image; name other images")
    return Inputs([printable(paths.shown(path)) for path in photos.read], batches)


def _recorded(chosen: Namespace, predictor: "Predictor", data: "tuple[Pack, Split] | None") -> "Inputs":
    """Return the images with the largest losses, or the most confident mistakes, of what evaluate recorded."""
    import numpy as np
    import torch

    from darkroom.base import paths
    from darkroom.explanation.explained import Inputs
    from darkroom.explanation.features import network_images
    from darkroom.explanation.mistakes import label_texts, worst_mistakes
    from darkroom.metrics.predictions_file import read_predictions

    assert data is not None
    pack, split = data
    name, shown = chosen.split or "test", paths.shown(paths.EVALUATED)
    try:
        recorded = read_predictions(paths.EVALUATED)[name]
    except FileNotFoundError:
        raise InputError(f"{shown}: does not exist; run 'dvc repro evaluate' or 'dvc checkout', or name images") from None
    except (ValueError, KeyError) as error:
        raise InputError(f"{shown}: is damaged ({error}); run 'dvc checkout', or 'dvc repro --force evaluate'") from None
    if recorded.ids != [pack.ids[row] for row in split.rows[name]]:
        raise InputError(f"{shown}: is of other images than data/split; run 'dvc repro evaluate'")
    if chosen.top_losses is not None:
        places = np.argsort(-recorded.losses, kind="stable")[: chosen.top_losses]
    else:
        places = worst_mistakes(recorded, chosen.count)
    if not len(places):
        raise InputError(f"{shown}: has no mistakes on {name}; name images, or --top-losses 16")
    batches = torch.split(network_images(predictor, pack, split.rows[name][places]), AT_ONCE)
    return Inputs([recorded.ids[place] for place in places], batches, [actual for actual, _ in label_texts(recorded, places)])


def lines(found: "Sequence[Explained]") -> Iterator[str]:
    """Yield a table of the first images: classes, and the labels of the nearest training images with their cosines."""
    from darkroom.data.listing import printable
    from darkroom.experiments.text import table

    has_true, has_near = any(each.actual is not None for each in found), any(each.near for each in found)
    rows = []
    for each in found[:SHOWN]:
        near = ", ".join(f"{printable(other.label)} {other.similarity:.3f}" for other in each.near)
        rows.append(
            [
                one_line(each.name),
                *([printable(each.actual or "")] if has_true else []),
                printable(each.predicted),
                *(f"{printable(name)} {value:.4f}" for name, value in each.probable[:2]),
                *([near] if has_near else []),
            ]
        )
    most = len(rows[0]) if rows else 0
    header = ["image", *(["true"] if has_true else []), "predicted", "most probable", "next"]
    header += ["nearest training images"] if has_near else []
    yield from table(rows, header[:most])
    if len(found) > SHOWN:
        yield f"... and {len(found) - SHOWN} more"
