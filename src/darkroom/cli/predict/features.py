"""./darkroom predict --embeddings and --nearest: features before the last layer, and the known images nearest by them."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError, listed, nearest, one_line

if TYPE_CHECKING:
    from darkroom.base.command import Parser
    from darkroom.base.params import Params
    from darkroom.features.backbone import Backbone
    from darkroom.features.known import Known
    from darkroom.inference.inputs import Model, Opened
    from darkroom.reporting.further_columns import Neighbour
    from darkroom.reporting.predictions import Predictions

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
    if chosen.embeddings and (chosen.out is None or chosen.out.suffix.lower() != ".parquet"):
        named = "needs a file" if chosen.out is None else f"is written as Parquet, but --out is {chosen.out}"
        raise InputError(f"--embeddings: {named}; give --out features.parquet")
    if chosen.nearest is not None and not 1 <= chosen.nearest <= MOST:
        raise InputError(f"--nearest: is {chosen.nearest}, but should be 1 to {MOST}; give another number")
    if chosen.among is not None and chosen.nearest is None:
        raise InputError("--among: names the images among which the nearest are looked for; give --nearest 5 as well")
    if chosen.backbone is not None:
        if chosen.model is not None:
            raise InputError("--backbone: cannot be given together with --model; leave out one of them")
        if not chosen.embeddings and chosen.nearest is None:
            raise InputError("--backbone: a pretrained network predicts no classes of yours; add --embeddings or --nearest 5")


def write_embeddings(chosen: Namespace, inputs: Sequence[str | Path], model: "Model", params: "Params") -> int:
    """Write the file of `--embeddings`, as the features are computed, and return the number of images."""
    from darkroom.reporting.embeddings_file import writing_embeddings

    parts = iterate_parts(chosen, inputs, model, params)
    with writing_embeddings(chosen.out) as writer:
        for part in parts:
            writer.add(part)
    return writer.count


def predict_nearest(chosen: Namespace, inputs: Sequence[str | Path], model: "Model", params: "Params") -> "Predictions":
    """Return predictions with the nearest images."""
    from darkroom.reporting.predictions import Predictions

    return Predictions.joined([replace(part, embeddings=None) for part in iterate_parts(chosen, inputs, model, params)])


def near_rows(cells: Sequence[str], near: "Sequence[Neighbour]") -> list[list[str]]:
    """Return rows of a table: what is known of an image, and below each other the images nearest to it."""
    from darkroom.data.listing import printable

    found = [[printable(each.name), printable(each.label), f"{each.similarity:.4f}"] for each in near]
    return [[*(cells if not place else [""] * len(cells)), *row] for place, row in enumerate(found)]


def iterate_parts(chosen: Namespace, inputs: Sequence[str | Path], model: "Model", params: "Params") -> "Iterator[Predictions]":
    """Yield predictions with embeddings, and with the nearest images where they are asked for, some images at a time.

    Raises
    ------
    InputError
        If an image, the model, the network or the file of `--among` is wrong.
    """
    asked = "--embeddings" if chosen.embeddings else "--nearest"
    if chosen.backbone is not None:
        backbone = _open_backbone(chosen.backbone, params)

        from darkroom.features.untrained import features_of, iterate_features

        parts, of, opened = iterate_features(backbone, inputs, params), features_of(backbone), None
    else:
        from darkroom.inference.inputs import features_of as features_of_model
        from darkroom.inference.inputs import open_inputs

        opened = open_inputs(inputs, model, params, asked=(asked, "name another model"))

        from darkroom.features.backbone import backbone_of

        parts, of, backbone = opened.parts, features_of_model(opened.predictor), backbone_of(opened.predictor)
    if chosen.nearest is None:
        return parts

    from darkroom.features.known import images_of_file

    known = images_of_file(chosen.among, of) if chosen.among is not None else _training_images(backbone, opened)
    return (_with_nearest(part, known, chosen.nearest) for part in parts)


def _with_nearest(part: "Predictions", known: "Known", count: int) -> "Predictions":
    assert part.embeddings is not None
    return replace(part, near=known.nearest(part.embeddings.values, count))


def _training_images(backbone: "Backbone", opened: "Opened | None") -> "Known":
    """Return the images of data/raw in the split `train`, which must be those of the model."""
    from darkroom.base import paths
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.features.known import training_images
    from darkroom.models.model_json import data_hashes

    try:
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)
        if opened is not None:
            opened.predictor.model.check_data(data_hashes(paths.RAW, split))
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
