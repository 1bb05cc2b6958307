"""The data card: what to know about the images before training on them, as Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from darkroom.reporting.card_text import code, document, items, licence_id, short_name, table, words
from darkroom.reporting.contents import SPLITS, Contents, channel_names, count_classes, count_images

# Of more classes only the largest and smallest are shown; more skipped images are only counted.
MAX_CLASSES, SHOWN_ENDS = 50, 10
MAX_SKIPPED = 20
MAX_CORRECTED = 50
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
        **({"Corrected labels": corrected} if (corrected := _corrections(dataset)) else {}),
        "Duplicates": _duplicates(split),
        "Split": _split(split),
        "Hashes": _hashes(dataset, split),
    }
    intro = "The images in `data/raw`, and how the stage split divides them. Written by `dvc repro`; do not edit."
    return document(_metadata(dataset), f"Data card: {code(short_name(dataset))}", intro, sections)


def _metadata(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return what the Hugging Face hub reads of the card of a data set.

    References
    ----------
    https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
    """
    return {
        "pretty_name": words(short_name(dataset)),
        "license": licence_id(dataset.get("licence")),
        "task_categories": ["image-classification"],
    }


def _source(dataset: dict[str, Any]) -> str:
    known = {key: dataset.get(key) for key in SOURCE_KEYS} | {"licence": dataset.get("licence") or "unknown"}
    rows = [
        (SOURCE_KEYS[key], code(short_name(dataset)) if key == "name" else code(value)) for key, value in known.items() if value
    ]
    return items(rows)


def _images(contents: Contents) -> str:
    counts = count_images(contents)
    rows = [(split, count, f"{count / sum(counts):.1%}") for split, count in zip(SPLITS, counts, strict=True)]
    return table(("split", "images", "share"), [*rows, ("total", sum(counts), "100.0%")])


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
    rows = [(code(contents.classes[label]), *counts[label].tolist()) for label in labels]
    return f"{note}\n\n{table(('class', *SPLITS), rows)}"


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
    return f"{sizes}, {kind}.\n\n{measured}\n\n{table(('channel', 'mean', 'std'), rows)}"


def _exceptions(dataset: dict[str, Any]) -> str:
    skipped, ignored = dataset["skipped"], dataset["ignored"]
    lines = [f"- {code(kind)}: {count} converted" for kind, count in dataset["converted"].items()]
    lines += [f"- {code(each['id'])}: skipped, {code(each['reason'])}" for each in skipped[:MAX_SKIPPED]]
    if len(skipped) > MAX_SKIPPED:
        lines.append(f"- and {len(skipped) - MAX_SKIPPED} more skipped, see `data/raw/dataset.json`")
    if ignored:
        lines.append(f"- {len(ignored)} files ignored, see `data/raw/dataset.json`")
    return "\n".join(lines) or "None."


def _corrections(dataset: dict[str, Any]) -> str:
    """Return what `download.corrections` changed; nothing if it changed nothing."""
    corrected, removed = dataset.get("corrected", []), dataset.get("removed", [])
    if not (corrected or removed):
        return ""
    lines = [f"- {code(each['id'])}: {code(each['given'])} -> {code(each['label'])}" for each in corrected]
    lines += [f"- {code(name)}: left out" for name in removed]
    if len(lines) > MAX_CORRECTED:
        lines = [*lines[:MAX_CORRECTED], f"- and {len(lines) - MAX_CORRECTED} more, see `data/raw/dataset.json`"]
    note = (
        f"`download.corrections` changed {len(corrected)} label(s) and left {len(removed)} image(s) out; the source is unchanged."
    )
    return f"{note}\n\n" + "\n".join(lines)


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
    return f"{items(rows)}\n\n`data/split/duplicates.csv` lists them, `images/duplicates.png` shows some."


def _split(split: dict[str, Any]) -> str:
    params = [(key, code("null" if value is None else value)) for key, value in split["params"].items()]
    return items([*params, ("seed", code(split["seed"]))])


def _hashes(dataset: dict[str, Any], split: dict[str, Any]) -> str:
    raw = [(f"data/raw/{name}", code(digest)) for name, digest in dataset["files"].items()]
    return items([*raw, ("data/split/manifest.csv", code(split["files"]["manifest.csv"]))])
