"""A user's own source: a function or a data set of torch in src/plugins/sources that `download.source` names by `_target_`."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.base.errors import InputError
from darkroom.base.instantiate import Builder
from darkroom.base.params import Target
from darkroom.data.bands import CONVERTED, STORED
from darkroom.data.images import Decoded, ImageError
from darkroom.data.labels import clean_name
from darkroom.data.listing import SPLITS, Data, Example, Item, Label, Listing, Sample, ordered_classes, printable
from darkroom.sources.entries import read_file
from darkroom.sources.own.datasets import LabelledImages, examples_of

KEY = "params.yaml: download.source"
PLACE = "plugins.sources"
# Of pixels; all but uint8 only with download.channels.
TYPES = (*STORED, *CONVERTED)


def list_plugin(target: Target) -> Listing:
    """List the examples that a function in src/plugins/sources returns or yields, or the items of a data set.

    Raises
    ------
    InputError
        If it is elsewhere, cannot be called with its arguments, returns anything but examples, or repeats an id.
    """
    where = target.target
    if not where.startswith(f"{PLACE}."):
        raise InputError(f"{KEY}._target_: {where} is not in {PLACE}, which DVC watches for this stage; move it there")
    made = Builder("download.source", (Iterable, LabelledImages)).build(target)
    is_dataset = isinstance(made, LabelledImages) and not isinstance(made, list | tuple)
    examples = list(examples_of("train", made, getattr(made, "classes", None)) if is_dataset else made)
    seen: set[str] = set()
    for example in examples:
        _check(example, where)
        if example.id in seen:
            raise InputError(f"{KEY}: {where} returns the id '{printable(example.id)}' twice; use a unique id for every image")
        seen.add(example.id)
    return list_examples(examples, where, {"source": "own", "name": where, "arguments": target.arguments, "licence": None})


def list_examples(examples: Sequence[Example], where: str, info: dict[str, Any]) -> Listing:
    """List examples that were checked.

    Parameters
    ----------
    examples
        With unique ids.
    where
        Name of the source in error messages.
    info
        What dataset.json records of the source.
    """
    multilabel = any(not isinstance(example.label, str) for example in examples)
    classes = ordered_classes({name for example in examples for name in _names(example)})
    labels = {name: label for label, name in enumerate(classes)}
    items = []
    for each in examples:
        own = tuple(sorted({labels[name] for name in _names(each)}))
        read = partial(_read, each.data, own if multilabel else own[0])
        items.append(Item(printable(each.id), each.split, read, each.group, each.extra))

    def name_classes(present: Sequence[int]) -> list[str]:
        return [printable(classes[label]) for label in present]

    return Listing(where, items, name_classes, info, multilabel=multilabel)


def _names(example: Example) -> Sequence[str]:
    return [clean_name(name) for name in ([example.label] if isinstance(example.label, str) else example.label)]


def _check(example: Any, where: str) -> None:
    if not isinstance(example, Example):
        raise InputError(f"{KEY}: {where} returns a {type(example).__name__}; return objects of darkroom.data.listing.Example")
    wrong = [
        name
        for name, right in {
            "id": isinstance(example.id, str) and bool(example.id),
            "data": isinstance(example.data, bytes | Path | np.ndarray) or callable(example.data),
            "label": isinstance(example.label, str | list | tuple)
            and example.label != ""
            and all(isinstance(name, str) and name for name in example.label)
            and all(_names(example)),
            "split": example.split in SPLITS,
            "group": isinstance(example.group, str | None),
            "extra": example.extra is None or all(isinstance(text, str) for pair in example.extra.items() for text in pair),
        }.items()
        if not right
    ]
    if wrong:
        value = getattr(example, wrong[0])
        raise InputError(f"{KEY}: {where} returns an example with {wrong[0]} {value!r:.80}; see src/plugins/sources/README.md")


def _read(data: Data, label: Label) -> Sample:
    if isinstance(data, Path):
        return read_file(data), label
    try:
        content = data() if callable(data) else data
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from error
    if isinstance(content, bytes):
        return content, label
    if isinstance(content, np.ndarray) and content.dtype.name in TYPES and content.ndim in (2, 3):
        if 0 in content.shape:
            raise ImageError("has no pixels")
        return Decoded(np.ascontiguousarray(content[..., 0] if content.shape[2:] == (1,) else content)), label
    found = f"{content.dtype} {content.shape}" if isinstance(content, np.ndarray) else type(content).__name__
    raise ImageError(f"is returned as {found}, not as bytes or as uint8, uint16 or float32 (H, W) or (H, W, bands)")
