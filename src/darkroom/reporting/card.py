"""The data card: what to know about the images before training on them, as Markdown."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from darkroom.base.errors import one_line
from darkroom.reporting.contents import SPLITS, Contents, channel_names, count_classes, count_images

# Of more classes only the largest and smallest are shown; more skipped images are only counted.
MAX_CLASSES, SHOWN_ENDS = 50, 10
MAX_SKIPPED = 20
MAX_LENGTH = 200  # characters of a name
# Characters that end a code span or a table cell, or that some renderers take for HTML.
LOOKALIKES = str.maketrans({"`": "'", "|": "¦", "<": "\u2039", ">": "\u203a"})
SOURCE_KEYS = {
    "name": "Name",
    "source": "Source",
    "arguments": "Arguments",
    "url": "Address",
    "licence": "Licence",
    "citation": "Citation",
    "sha256": "SHA-256",
}


def data_card(contents: Contents, dataset: dict[str, Any], split: dict[str, Any]) -> str:
    """Return the card. It has no times and nothing about the machine, so it is the same for the same data.

    Parameters
    ----------
    contents
        The images.
    dataset, split
        The contents of dataset.json and split.json.
    """
    sections = {
        "Source": _source(dataset),
        "Images": _images(contents),
        "Classes": _classes(contents),
        "Sizes and colours": _sizes(contents, dataset),
        "Skipped and converted": _exceptions(dataset),
        "Duplicates": _duplicates(split),
        "Split": _split(split),
        "Hashes": _hashes(dataset, split),
    }
    intro = "The images in `data/raw`, and how the stage split divides them. Written by `dvc repro`; do not edit."
    return (
        "\n\n".join([f"# Data card: {_name(dataset)}", intro, *(f"## {title}\n\n{text}" for title, text in sections.items())])
        + "\n"
    )


def _source(dataset: dict[str, Any]) -> str:
    known = {key: dataset.get(key) for key in SOURCE_KEYS} | {"licence": dataset.get("licence") or "unknown"}
    rows = [(SOURCE_KEYS[key], _name(dataset) if key == "name" else _code(value)) for key, value in known.items() if value]
    return _items(rows)


def _name(dataset: dict[str, Any]) -> str:
    """Return the name of the data set; for a folder on this machine, its last part."""
    name = str(dataset.get("name") or dataset.get("source") or "images")
    return _code(PurePath(name).name or name if PurePath(name).is_absolute() else name)


def _images(contents: Contents) -> str:
    counts = count_images(contents)
    rows = [(split, count, f"{count / sum(counts):.1%}") for split, count in zip(SPLITS, counts, strict=True)]
    return _table(("split", "images", "share"), [*rows, ("total", sum(counts), "100.0%")])


def _classes(contents: Contents) -> str:
    counts = count_classes(contents)
    labels: Sequence[int] = range(len(contents.classes))
    note = f"{len(labels)} classes; the largest has {_ratio(counts[:, 0])} times as many training images as the smallest."
    if contents.labels.ndim == 2:
        each = contents.labels.sum(axis=1)
        note += f" An image may have any number of classes, {each.mean():.2f} on average; {(each == 0).sum()} images have none."
    if len(labels) > MAX_CLASSES:
        order = np.argsort(-counts[:, 0], kind="stable").tolist()
        labels = [*order[:SHOWN_ENDS], *order[-SHOWN_ENDS:]]
        note += f" The {SHOWN_ENDS} largest and the {SHOWN_ENDS} smallest are shown; all are in `classes.csv`."
    rows = [(_code(contents.classes[label]), *counts[label].tolist()) for label in labels]
    return f"{note}\n\n{_table(('class', *SPLITS), rows)}"


def _ratio(counts: Any) -> str:
    return f"{counts.max() / max(1, counts.min()):.2f}"


def _sizes(contents: Contents, dataset: dict[str, Any]) -> str:
    height, width = contents.sizes.T
    if dataset["width"]:
        sizes = f"All images are {dataset['width']} x {dataset['height']} pixels"
    else:
        sizes = (
            f"Images are {width.min()} to {width.max()} pixels wide and {height.min()} to {height.max()} pixels high, "
            f"with a median shorter side of {np.median(contents.sizes.min(axis=1)):g} pixels"
        )
    channels = channel_names(dataset, len(contents.mean))
    kind = "greyscale" if len(channels) == 1 else "in colour, or converted to it"
    if dataset.get("bands"):
        kind = f"with {len(channels)} band(s) of {dataset['dtype']}"
    rows = zip(channels, *([f"{value:.4f}" for value in values] for values in (contents.mean, contents.std)), strict=True)
    scale = "of the values as they are" if dataset.get("dtype") == "float32" else "on a scale from 0 to 1"
    measured = f"Mean and standard deviation of the pixels of {contents.num_measured} training images, {scale}:"
    return f"{sizes}, {kind}.\n\n{measured}\n\n{_table(('channel', 'mean', 'std'), rows)}"


def _exceptions(dataset: dict[str, Any]) -> str:
    skipped, ignored = dataset["skipped"], dataset["ignored"]
    lines = [f"- {_code(kind)}: {count} converted" for kind, count in dataset["converted"].items()]
    lines += [f"- {_code(each['id'])}: skipped, {_code(each['reason'])}" for each in skipped[:MAX_SKIPPED]]
    if len(skipped) > MAX_SKIPPED:
        lines.append(f"- and {len(skipped) - MAX_SKIPPED} more skipped, see `data/raw/dataset.json`")
    if ignored:
        lines.append(f"- {len(ignored)} files ignored, see `data/raw/dataset.json`")
    return "\n".join(lines) or "None."


def _duplicates(split: dict[str, Any]) -> str:
    found, left_out = split["duplicates"], split["images"]["left_out"]
    if not (found["equal"] or found["near"] or left_out):
        return "None."
    rows = [
        ("Pairs of identical images", found["equal"]),
        ("Pairs of near duplicates", found["near"]),
        ("Pairs across two splits", found["across_splits"]),
        ("Pairs with different labels", found["conflicts"]),
        ("Images left out", left_out),
    ]
    return f"{_items(rows)}\n\n`data/split/duplicates.csv` lists them, `images/duplicates.png` shows some."


def _split(split: dict[str, Any]) -> str:
    params = [(key, _code("null" if value is None else value)) for key, value in split["params"].items()]
    return _items([*params, ("seed", _code(split["seed"]))])


def _hashes(dataset: dict[str, Any], split: dict[str, Any]) -> str:
    raw = [(f"data/raw/{name}", _code(digest)) for name, digest in dataset["files"].items()]
    return _items([*raw, ("data/split/manifest.csv", _code(split["files"]["manifest.csv"]))])


def _items(rows: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose first column is text and whose others are numbers."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _code(value: object) -> str:
    """Return a text as a code span on one line, so that no name is rendered as markup, a link or HTML."""
    text = one_line(str(value)).translate(LOOKALIKES)
    return f"`{text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + '…'}`"
