"""Known images, among which the nearest are looked for: those of a training, or of a file. N images, D features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.base.errors import InputError, warn
from darkroom.data.labels import names
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.features import extract
from darkroom.features.backbone import Backbone
from darkroom.features.cache import room
from darkroom.features.neighbours import Features, nearest, unit
from darkroom.prediction.embeddings_file import EmbeddingsFile, FeaturesOf
from darkroom.prediction.further_columns import Neighbour


@dataclass(frozen=True)
class Known:
    """Images with what is known of them.

    Attributes
    ----------
    names : sequence of N str
        Ids or paths.
    labels : sequence of N str
        Classes as text; empty where none is known.
    features : (N, D) float32
        Of length 1; may be mapped from a file.
    """

    names: Sequence[str]
    labels: Sequence[str]
    features: Features

    def nearest(self, queries: Features, count: int) -> list[list[Neighbour]]:
        """Return the nearest of them for each of `queries` (M, D), the nearest first."""
        similarity, rows = nearest(queries, self.features, count)
        return [
            [Neighbour(self.names[row], self.labels[row], value) for value, row in zip(*each, strict=True)]
            for each in zip(similarity.tolist(), rows.tolist(), strict=True)
        ]


def training_images(backbone: Backbone, pack: Pack, split: Split) -> Known:
    """Return the images of the split `train`; their features are kept for the next time.

    Raises
    ------
    InputError
        If the network has no last layer of its own, or an image is damaged.
    """
    rows = split.rows["train"]
    return Known(
        [pack.ids[row] for row in rows], names(pack.labels[rows], pack.classes), extract.pack_features(backbone, pack, rows)
    )


def images_of_file(path: Path, of: FeaturesOf, where: str = "--among") -> Known:
    """Return the images of a file that `./darkroom predict --embeddings` has written.

    Parameters
    ----------
    path
        The file.
    of
        What the features are of that the images are compared with.
    where
        The flag that names it, for messages.

    Raises
    ------
    InputError
        If it holds no features, or those of another network.
    """
    file = EmbeddingsFile(path, where)
    if file.of.weights_sha256 != of.weights_sha256:
        named = f"{file.of.network} ({file.of.model}, {file.of.weights_sha256[:8]})"
        raise InputError(
            f"{where}: {path}: its embeddings are of {named}, not of {of.network} ({of.model}, {of.weights_sha256[:8]}); "
            "write it again with the same model, or name that one"
        )
    if not len(file):
        raise InputError(f"{where}: {path}: holds no images; name another file")
    if "actual" not in file.names and "class" in file.names:
        warn(f"{where}: {path} has no true classes; those of its images are what the model predicted")
    features, done = room(extract.features_dir(), len(file), file.num_features), 0
    for block in file.blocks():
        features[done : done + len(block)] = unit(block)
        done += len(block)
    return Known(file.column("path"), file.labels(), features)
