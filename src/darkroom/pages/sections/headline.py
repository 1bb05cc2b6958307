"""The top of a report: how good it is, what it is, what was changed, on which data; and all metrics."""

import math
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from darkroom.base.errors import InputError
from darkroom.pages.document import Content, Html, described, element, folded, join, listed, name_of, paragraph, table
from darkroom.pages.lineage import lineage
from darkroom.pages.sections.words import (
    ABSENT,
    SPLITS,
    between,
    decimal,
    difference,
    metric_name,
    ordered,
    readable,
    sentence,
    with_interval,
)
from darkroom.versions import parameters
from darkroom.versions.mismatches import mismatches
from darkroom.versions.parameters import Differing, differing
from darkroom.versions.results import Results

OTHER_DATA = "They were not measured on the same images: images or split differ, and differences may come from that."
MAX_CHANGED = 10  # parameters; of more the rest is folded
MAX_VALUE = 80  # characters
LARGE = ("balanced_accuracy", "f1_macro", "f1", "auroc", "mean_average_precision", "top5_accuracy", "ece", "loss")
MAX_LARGE = 4


def headline(found: Sequence[Results]) -> Html:
    """Draw the headline of one revision, or the table of several."""
    return element("div", *(_single(found[0]) if len(found) == 1 else _several(found)), class_="headline")


def split_of(results: Results) -> str:
    """Return the split that a headline speaks of: test, or validation where test was not measured."""
    return "test" if results.metrics.get("test") else "val"


def _single(results: Results) -> list[Content]:
    facts = element("div", described(_facts(results)))
    try:
        metrics = results.metrics
    except InputError as error:
        return [sentence(error), facts]
    split = split_of(results)
    values = metrics.get(split, {})
    accuracy = results.interval(split, "accuracy")
    text = between(accuracy)
    shown = [("accuracy", element("b", decimal(accuracy.value)), f"{SPLITS[split]} accuracy" + (f", {text}" if text else ""))]
    others = [name for name in LARGE if name in values][:MAX_LARGE]
    shown += [(name, element("b", decimal(values[name])), metric_name(name)) for name in others]
    numbers = element("div", *(element("div", value, element("span", words)) for _, value, words in shown), class_="numbers")
    note = None if split == "test" else paragraph("The test split was not measured in this revision.")
    return [numbers, note, *_warnings(results), facts, folded("All metrics", _all_metrics(results))]


def summary(results: Results) -> str:
    """Return the headline on one line of text."""
    try:
        split = split_of(results)
    except InputError as error:
        return f"{results.name}: {error}"
    found = results.interval(split, "accuracy")
    text = between(found)
    return f"{results.name}: {SPLITS[split]} accuracy {decimal(found.value)}" + (f" ({text})" if text else "")


def _facts(results: Results) -> list[tuple[Content, Content]]:
    line = lineage(results)
    what: Content = name_of(results.name)
    if line.commit and not line.commit.startswith(results.name):
        what = join(what, " " if results.revision.commit else ", based on ", element("code", line.commit[:10]))
    facts: list[tuple[Content, Content]] = [("Revision", what)]
    if line.about:
        facts.append(("Committed", name_of(line.about)))
    if line.baseline:
        facts.append(("Changed parameters", _changed(line.changed, line.baseline)))
    facts += [("Data", _data(results)), *_training(results)]
    return facts


def _changed(changed: Differing, baseline: str) -> Html:
    if not changed:
        return join(f"none against {baseline}")
    rows = [
        join(element("code", key), " ", value_text(pair[1]), element("small", f" instead of {value_text(pair[0])}"))
        for key, pair in changed.items()
    ]
    more = folded(f"{len(rows) - MAX_CHANGED} more", listed(rows[MAX_CHANGED:])) if len(rows) > MAX_CHANGED else None
    return join(listed(rows[:MAX_CHANGED]), more, element("small", f"against {baseline}"))


def value_text(value: Any) -> str:
    """Return the value of a parameter on one line."""
    text = parameters.value_text(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _data(results: Results) -> Content:
    parts: list[str] = []
    try:
        dataset = results.json_of("data/raw/dataset.json")
        source = str(dataset.get("name") or dataset.get("source") or "images").rstrip("/")
        parts.append(source.rpartition("/")[2] if source.startswith("/") else source)
        parts.append(f"licence {dataset.get('licence') or 'unknown'}")
    except InputError:
        pass
    counts = {split: results.num_images(split) for split in ("train", "val", "test")}
    if any(counts.values()):
        parts.append(", ".join(f"{count} {SPLITS[split]}" for split, count in counts.items() if count))
    with suppress(InputError):
        parts.append(f"{len(results.classes)} classes")
    return name_of("; ".join(parts)) if parts else ABSENT


def _training(results: Results) -> list[tuple[Content, Content]]:
    published = results.published
    facts: list[tuple[Content, Content]] = []
    if "epoch" in published:
        facts.append(("Published epoch", str(published["epoch"])))
    network = results.params.get("train.model._target_", results.params.get("train.model"))
    if network is not None:
        size = published.get("parameters")
        facts.append(("Network", f"{value_text(network)}" + (f", {size:,} parameters" if isinstance(size, int) else "")))
    return facts


def _warnings(results: Results) -> list[Content]:
    wrong = mismatches(results)
    if not wrong:
        return []
    text = "These numbers do not belong to all that lies beside them; run "
    return [element("p", element("b", text), element("code", "dvc repro", class_="command"), class_="bad"), listed(wrong)]


def _all_metrics(results: Results) -> Html:
    splits = [split for split in ("test", "val") if split in results.metrics]
    names = ordered(name for split in splits for name in results.metrics[split])
    rows: list[list[Content]] = [
        [metric_name(name), *(with_interval(results.interval(split, name)) for split in splits)] for name in names
    ]
    return table(["metric", *(SPLITS[split] for split in splits)], rows)


def _several(found: Sequence[Results]) -> list[Content]:
    there, sentences = readable(found, lambda results: results.metrics)
    return [
        *sentences,
        _beside(there) if there else None,
        element("p", OTHER_DATA, class_="bad") if len({each.data_version for each in there}) > 1 else None,
        *(element("div", element("h3", name_of(each.name)), *wrong) for each in there if (wrong := _warnings(each))),
        _differing(found),
        *(folded(join("About ", name_of(each.name)), described(_facts(each))) for each in found),
    ]


def _beside(found: Sequence[Results]) -> Html:
    """Return the metrics of several revisions beside each other, with differences to the first one."""
    # The same split for all of them.
    split = "test" if all(split_of(each) == "test" for each in found) else "val"
    names = ordered(name for each in found for name in each.metrics.get(split, {}))
    rows: list[list[Content]] = []
    for name in names:
        values = [each.interval(split, name) for each in found]
        first = values[0].value
        cells = [with_interval(values[0])]
        for value in values[1:]:
            text = difference(value.value, first) if math.isfinite(value.value) else None
            cells.append(join(with_interval(value), element("br") if text else None, element("b", text) if text else None))
        rows.append([metric_name(name), *cells])
    epochs = [str(each.published.get("epoch", ABSENT)) for each in found]
    rows.append(["published epoch", *epochs])
    note = f"On the {SPLITS[split]} split. In bold: the difference to {found[0].name}. " if len(found) > 1 else None
    names_of = shlex.join(each.name for each in found)
    hint = paragraph(note, "Whether a difference is more than chance says ", element("code", f"./darkroom compare {names_of}"))
    return join(table(["", *(name_of(each.name) for each in found)], rows), hint if len(found) > 1 else None)


def _differing(found: Sequence[Results]) -> Html | None:
    """Return the parameters that differ between revisions."""
    pairs = differing(*(each.params for each in found))
    rows: list[list[Content]] = [[element("code", key), *map(value_text, values)] for key, values in pairs.items()]
    if not rows:
        return paragraph("All ran with the same parameters.")
    shown = table(["parameter", *(name_of(each.name) for each in found)], rows[:MAX_CHANGED])
    rest = table(["parameter", *(name_of(each.name) for each in found)], rows[MAX_CHANGED:])
    return join(shown, folded(f"{len(rows) - MAX_CHANGED} more", rest) if len(rows) > MAX_CHANGED else None)
