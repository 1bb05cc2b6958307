"""The section that maps test images by their features: those that look alike to the network lie near each other."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.pages.charts import NUM_COLOURS
from darkroom.pages.document import Html, columns, element, figure, join, missing, paragraph
from darkroom.pages.scatter import Spot, map_chart
from darkroom.pages.sections.words import each, readable
from darkroom.versions.damage import reading
from darkroom.versions.recorded import EVALUATE
from darkroom.versions.results import Results

FILE = f"{EVALUATE}/features.parquet"
# A map of 1000 takes two seconds; several share that.
MAX_POINTS, FEWEST_SHARED = 1000, 250
MAX_LABELS = 30  # classes whose names are written on the map
COMPONENTS = 30
PERPLEXITY = 30.0
# Between 500 and 1000 the maps of digits hardly change, and 500 take half the time.
STEPS = 500
FEWEST = 10
NOTE = (
    "Features of test images before the last layer, by PCA and t-SNE. Near ones look alike to the network; distances between "
    "groups mean little. Mistakes have rings."
)


def embedding(found: Sequence[Results]) -> Html:
    """Draw a map for each revision."""
    there, sentences = readable(found, _features)
    most = max(FEWEST_SHARED, MAX_POINTS // len(found))
    return join(
        *sentences,
        paragraph(NOTE) if there else None,
        columns(*(element("div", drawn) for drawn in each(there, lambda results: _one(results, most), named=len(found) > 1))),
    )


def _one(results: Results, most: int) -> Html:
    ids, features = _features(results)
    step = max(1, -(-len(ids) // most))
    ids, features = ids[::step], features[::step]
    if len(features) < FEWEST:
        return missing(f"There are features of {len(features)} images, too few for a map.")
    labels, right = _labels(results, ids)
    places = plane(features)
    spots = [
        Spot(x, y, max(label, 0) % NUM_COLOURS, label >= 0 and not is_right)
        for (x, y), label, is_right in zip(places.tolist(), labels.tolist(), right.tolist(), strict=True)
    ]
    names: list[tuple[float, float, str]] = []
    if len(results.classes) <= MAX_LABELS:
        for label in np.unique(labels[labels >= 0]).tolist():
            x, y = np.median(places[labels == label], axis=0).tolist()
            names.append((x, y, results.classes[label]))
    drawn = figure(map_chart(spots, names, label="map of test images"), class_="chart")
    return join(drawn, None if (labels >= 0).any() else missing("Without readable predictions there are no classes on it."))


def _labels(results: Results, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the label of each image, the first one of several, -1 if it is unknown; and whether its prediction is right."""
    labels, right = np.full(len(ids), -1), np.ones(len(ids), np.bool_)
    try:
        test = results.predictions.get("test")
    except InputError:
        return labels, right
    if test is not None:
        rows = {name: row for row, name in enumerate(test.ids)}
        first = test.labels.argmax(axis=1) if test.labels.ndim == 2 else test.labels
        for place, row in enumerate(map(rows.get, ids)):
            if row is not None:
                labels[place], right[place] = first[row], test.right[row]
    return labels, right


def _features(results: Results) -> tuple[list[str], NDArray[np.float32]]:
    """Return ids and features (n, D) of test images, where all of them are finite."""
    content = results.bytes_of(FILE)
    with reading(FILE, results.revision), pq.ParquetFile(pa.BufferReader(content)) as file:
        table = file.read().slice(0, MAX_POINTS)
        column = table["features"].combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(table), -1)
        ids = table["id"].to_pylist()
    finite = np.isfinite(values).all(axis=1)
    return [name for name, is_finite in zip(ids, finite.tolist(), strict=True) if is_finite], values[finite]


def plane(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return places (n, 2) of images on a plane; the same for equal features.

    References
    ----------
    L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008); PCA first as there.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    centred = features - features.mean(axis=0)
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        _, scales, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
        kept = min(COMPONENTS, int((scales > 1e-9 * max(scales[0], 1e-300)).sum()))
        if kept < 2:  # all alike, or on a line
            only = centred @ directions[0] if kept else np.zeros(len(features))
            return np.stack([only, np.zeros(len(features))], axis=1)
        reduced = centred @ directions[:kept].T
        tsne = TSNE(perplexity=min(PERPLEXITY, (len(features) - 1) / 3), init="pca", random_state=0, max_iter=STEPS, n_jobs=1)
        places: NDArray[np.float64] = tsne.fit_transform(reduced).astype(np.float64)
    return places
