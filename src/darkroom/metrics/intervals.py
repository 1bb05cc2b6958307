"""The content of metrics/evaluate/intervals.json: every metric of a split, of each class, and of the values of each column."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.bootstrap import LEVEL, Interval, Intervals, Units, intervals_of, means_of, selective
from darkroom.metrics.calibrator import Calibrator
from darkroom.metrics.outcomes import MOST_CLASSES, Outcomes

# Values of a column that are measured: with at least so many images, and at most so many values and columns.
FEWEST_IMAGES, MOST_VALUES, MOST_COLUMNS = 5, 50, 10
# Of the metrics of all images those that a part of them is measured by.
OF_PARTS = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "brier", "ece", "top5_accuracy")
# What calibrated probabilities change, and what fitted thresholds change.
CALIBRATED = ("loss", "brier", "ece")
DECIDED = ("accuracy", "balanced_accuracy", "f1_macro", "precision", "recall", "f1")


def values_of(column: Sequence[str | None]) -> tuple[dict[str, NDArray[np.intp]], int]:
    """Return the rows of each value of a column that is measured, the most frequent first, and the number of other values."""
    frequent = Counter(value for value in column if value is not None and value != "").most_common()
    chosen = [value for value, number in frequent[:MOST_VALUES] if number >= FEWEST_IMAGES]
    places: dict[str, list[int]] = {value: [] for value in chosen}
    for row, value in enumerate(column):
        if value in places:
            places[value].append(row)
    return {value: np.array(rows, np.intp) for value, rows in places.items()}, len(frequent) - len(chosen)


def by_column(
    outcomes: Outcomes, columns: Mapping[str, Sequence[str | None]], groups: Sequence[str | None] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metrics of the images that share a value, by column and value, and what is left out of each column.

    A column of one value, or of values that nearly every image has for itself, says nothing and is left out.
    """
    found: dict[str, Any] = {}
    left_out: dict[str, Any] = {}
    for name, column in columns.items():
        places, others = values_of(column)
        if len(places) + others < 2 or not places:
            left_out[name] = "has one value" if places or not others else f"no value has {FEWEST_IMAGES} images"
            continue
        if len(found) == MOST_COLUMNS:
            left_out[name] = f"only the first {MOST_COLUMNS} columns are measured"
            continue
        if outcomes.predicted is None:
            left_out[name] = f"several labels of more than {MOST_CLASSES} classes"
            continue
        found[name] = {}
        for value, rows in places.items():
            part = outcomes.take(rows)
            of_part = None if groups is None or name == "group" else [groups[row] for row in rows.tolist()]
            each = intervals_of(part, of_part, only=OF_PARTS)
            found[name][value] = {"images": len(rows), **{key: one.as_json() for key, one in each.overall.items()}}
        if others:
            left_out[name] = f"{others} value(s) with fewer than {FEWEST_IMAGES} images, or beyond the first {MOST_VALUES}"
    return found, left_out


def intervals_json(
    splits: Mapping[str, Outcomes],
    classes: Sequence[str],
    columns: Mapping[str, Sequence[str | None]],
    groups: Mapping[str, Sequence[str | None]],
    calibrator: Calibrator | None = None,
    calibrated: Mapping[str, Outcomes] | None = None,
) -> dict[str, Any]:
    """Return the content of intervals.json: the metrics of each split; of `test` also of each class and each column's values.

    Parameters
    ----------
    splits
        Outcomes of each split.
    classes
        The K class names.
    columns
        Of the images of `test` the columns of the source, by name.
    groups
        Of each split the group of each image, where the source has groups.
    calibrator, calibrated
        What was fitted on validation, and the outcomes of each split with calibrated probabilities.
    """
    measured = {name: intervals_of(each, groups.get(name)) for name, each in splits.items()}
    content: dict[str, Any] = {}
    for name, each in measured.items():
        after = (calibrated or {}).get(name)
        more = {} if calibrator is None or after is None else _after(splits[name], calibrator, after, groups.get(name))
        of_images = {} if calibrator is None else calibrator.per_image.get(name, {})
        for values in ({key: value} for key, value in of_images.items()):
            number = len(next(iter(values.values())))
            more |= means_of(values, groups.get(name) if number == len(splits[name]) else None)
        content[name] = {key: one.as_json() for key, one in (each.overall | more).items()}
    test = splits.get("test")
    per_class: dict[str, Any] = {}
    by: dict[str, Any] = {}
    left_out: dict[str, Any] = {}
    if test is not None:
        named = measured["test"].per_class
        support = test.counts[2].tolist()
        per_class = {
            classes[label]: {"images": support[label], **{key: each[label].as_json() for key, each in named.items()}}
            for label in range(len(classes) if named else 0)
        }
        by, left_out = by_column(test, columns, groups.get("test"))
        left_out |= {} if per_class else {"per_class": f"more than {MOST_CLASSES} classes"}
    return {"about": _about(splits, measured, groups, left_out), **content, "per_class": per_class, "by": by}


def _after(
    outcomes: Outcomes, calibrator: Calibrator, after: Outcomes, groups: Sequence[str | None] | None
) -> dict[str, Interval]:
    """Return the metrics that calibration changes, under names of their own."""
    groups = groups if groups is not None and len(after) == len(outcomes) else None
    found = {f"{name}_calibrated": each for name, each in intervals_of(after, groups, only=CALIBRATED).overall.items()}
    fitted = calibrator.fitted(outcomes)
    if fitted is not None:
        decided = intervals_of(fitted, groups, only=DECIDED).overall
        found |= {f"{name}_fitted": each for name, each in decided.items()}
    if calibrator.calibration.abstain is not None:
        found |= selective(after, calibrator.calibration.abstain, groups)
    return found


def _about(
    splits: Mapping[str, Outcomes],
    measured: Mapping[str, Intervals],
    groups: Mapping[str, Sequence[str | None]],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """Say how the intervals were computed, and what of which there are none."""
    in_groups = {name: Units.of(len(each), groups.get(name)).member is not None for name, each in splits.items()}
    return {
        "level": LEVEL,
        "method": "percentile bootstrap; Wilson where every draw is 0 or 1",
        "resampled": {name: "groups" if each else "images" for name, each in in_groups.items()},
        "images": {name: len(each) for name, each in splits.items()},
        "draws": {name: each.num_draws[0] for name, each in measured.items()},
        "draws_of_curves": {name: each.num_draws[1] for name, each in measured.items()},
        "left_out": left_out,
    }
