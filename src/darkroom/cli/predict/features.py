"""./darkroom predict --embeddings and --nearest: features before the last layer, and the known images nearest by them."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError, listed, nearest, one_line

if TYPE_CHECKING:
    from darkroom.base.command import Parser
    from darkroom.base.params import Params
    from darkroom.batch.blocks import Blocks
    from darkroom.features.backbone import Backbone
    from darkroom.features.known import Known
    from darkroom.inference.predictor import Predictor
    from darkroom.prediction.embeddings_file import FeaturesOf
    from darkroom.prediction.further_columns import Neighbour
    from darkroom.prediction.predictions import Predictions

MOST = 100
PRETRAINED = "pretrained"


def add_arguments(parser: "Parser") -> None:
    """Add the flags."""
    parser.add_argument("--embeddings", action="store_true", help="write the features before the last layer, to a .parquet file")
    parser.add_argument("--nearest", type=int, metavar="N", help=f"name the N nearest training images, 1 to {MOST}")
    parser.add_argument(
        "--among", type=Path, metavar="FILE", help="the nearest of a file of --embeddings, not of the training images"
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help=f"features of a pretrained network, before any training: '{PRETRAINED}', the best that is installed, or timm's name",
    )


def check_arguments(chosen: Namespace) -> None:
    """Refuse flags that contradict each other."""
    if chosen.embeddings and (chosen.out is None or chosen.folder or chosen.out.suffix.lower() != ".parquet"):
        named = "needs a file" if chosen.out is None else f"is written as one Parquet file, but --out is {chosen.out}"
        raise InputError(f"--embeddings: {named}; give --out features.parquet")
    if chosen.nearest is not None and not 1 <= chosen.nearest <= MOST:
        raise InputError(f"--nearest: is {chosen.nearest}, but should be 1 to {MOST}; give another number")
    if chosen.among is not None and chosen.nearest is None:
        raise InputError("--among: names the images among which the nearest are looked for; give --nearest 5 as well")
    if chosen.among is not None:
        from darkroom.prediction.embeddings_file import EmbeddingsFile

        EmbeddingsFile(chosen.among, "--among")  # refuses another file before a model is loaded
    if chosen.backbone is not None:
        _check_backbone(chosen)


def _check_backbone(chosen: Namespace) -> None:
    """Refuse what is about classes, which a pretrained network does not predict."""
    if chosen.model is not None:
        raise InputError("--backbone: cannot be given together with --model; leave out one of them")
    if not chosen.embeddings and chosen.nearest is None:
        raise InputError("--backbone: a pretrained network predicts no classes of yours; add --embeddings or --nearest 5")
    for name in ("sheet", "top_k", "threshold", "temperature", "unknown"):
        if getattr(chosen, name) is not None:
            raise InputError(f"--{name.replace('_', '-')}: is about classes, and --backbone predicts none; leave out one of them")
    if chosen.folder:
        raise InputError(f"--out: {chosen.out} is a folder, but --backbone writes one file; name a file")


def write_embeddings(out: Path, parts: "Iterator[Predictions]") -> int:
    """Write the file of `--embeddings`, as the features are computed, and return the number of images."""
    from darkroom.prediction.embeddings_file import writing_embeddings

    with writing_embeddings(out) as writer:
        for part in parts:
            writer.add(part)
    return writer.count


def near_rows(cells: Sequence[str], near: "Sequence[Neighbour]") -> list[list[str]]:
    """Return rows of a table: what is known of an image, and below each other the images nearest to it."""
    from darkroom.data.listing import printable

    found = [[printable(each.name), printable(each.label), f"{each.similarity:.4f}"] for each in near]
    return [[*(cells if not place else [""] * len(cells)), *row] for place, row in enumerate(found)]


def with_features(chosen: Namespace, blocks: "Blocks") -> "Blocks":
    """Return predictions of a model with the nearest images, if they are asked for.

    Raises
    ------
    InputError
        If the training images are not those of the model, or the file of `--among` is wrong.
    """
    if chosen.nearest is None:
        return blocks

    from darkroom.features.backbone import backbone_of
    from darkroom.prediction.inputs import features_of

    predictor = blocks.predictor
    if chosen.among is None:
        known = _training_images(backbone_of(predictor), predictor)
    else:
        known = _images_of_file(chosen.among, features_of(predictor))
    return replace(blocks, further=partial(_with_nearest, known, chosen))


def iterate_with_features(blocks: "Blocks") -> "Iterator[Predictions]":
    """Yield predictions with embeddings, some images at a time.

    Raises
    ------
    InputError
        If more than `predict.max_bad` images cannot be read, at the end.
    """
    from darkroom.batch.blocks import check_unreadable
    from darkroom.sources.progress import progress_bar

    bad = list[tuple[str, str]]()
    with progress_bar("predict", blocks.inputs.total(blocks.predictor)) as advance:
        for block in blocks.iterate():
            bad += block.bad
            yield block.predictions
            advance(len(block))
    check_unreadable(len(bad), bad[0] if bad else None, blocks.params.predict.max_bad)


def iterate_backbone(chosen: Namespace, inputs: Sequence[str | Path], params: "Params") -> "Iterator[Predictions]":
    """Yield features of a pretrained network as predictions without classes, with the nearest images if they are asked for.

    Raises
    ------
    InputError
        If an image, the network or the file of `--among` is wrong.
    """
    from darkroom.batch.listing import Listing
    from darkroom.prediction.inputs import is_test_split

    files: Sequence[str | Path] = inputs
    listing = None if is_test_split(inputs) else Listing(inputs, params.download.columns)
    backbone = _open_backbone(chosen.backbone, params)

    from darkroom.features.untrained import features_of, iterate_features

    if listing is not None:
        files = listing.files(arrays=backbone.preprocessing.bands is not None)
    parts = iterate_features(backbone, files, params)
    if chosen.nearest is None:
        return parts
    known = _training_images(backbone) if chosen.among is None else _images_of_file(chosen.among, features_of(backbone))
    return (_with_nearest(known, chosen, part) for part in parts)


def _with_nearest(known: "Known", chosen: Namespace, part: "Predictions") -> "Predictions":
    assert part.embeddings is not None
    near = known.nearest(part.embeddings.values, chosen.nearest) if part.paths else []
    return replace(part, near=near, embeddings=part.embeddings if chosen.embeddings else None)


def _images_of_file(among: Path, of: "FeaturesOf") -> "Known":
    from darkroom.features.known import images_of_file

    return images_of_file(among, of)


def _training_images(backbone: "Backbone", predictor: "Predictor | None" = None) -> "Known":
    """Return the images of data/raw in the split `train`, which must be those of the model."""
    from darkroom.base import paths
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.features.known import training_images
    from darkroom.models.model_json import data_hashes

    try:
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)
        if predictor is not None:
            predictor.model.check_data(data_hashes(paths.RAW, split))
    except InputError as error:
        raise InputError(f"{error}, or name a file of embeddings with --among") from None
    return training_images(backbone, pack, split)


def _open_backbone(name: str, params: "Params") -> "Backbone":
    """Open a pretrained network by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    from darkroom.features.backbone import installed, open_backbone

    if name != PRETRAINED and name not in installed():
        import timm

        if not timm.is_model(name):
            known = f"'{PRETRAINED}' takes the best that is installed of {listed(installed())}"
            advice = nearest(name, [PRETRAINED, *installed()], nearest(name, timm.list_models(), known))
            raise InputError(f"--backbone: timm has no network {one_line(name)}; {advice}")
    return open_backbone(None if name == PRETRAINED else name, hardware=params.hardware)
