"""Verdicts on gates: whether a revision is worse than it may be, beyond what chance explains, and how much worse it could be.

A gate fails if the whole 95 % interval is on the wrong side of the limit, and, of a difference, if chance alone makes it in at
most 5 % of cases as well: where few images differ, the interval alone promises too much. `benchmarks/gates.py` measures how
often this errs, and docs/decisions/0030 says why.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from darkroom.base.errors import InputError
from darkroom.comparison.evaluated import Evaluated
from darkroom.comparison.gate import Gate, check_metric
from darkroom.comparison.matching import whole
from darkroom.comparison.measured import Measured, MetricChange
from darkroom.comparison.resampling import metrics_of
from darkroom.metrics.bootstrap import Interval, intervals_of
from darkroom.metrics.predictions_file import EvaluatedSplit

SIGNIFICANT = 0.05
Measure = Callable[[Evaluated, Evaluated, str], Measured | None]
"""Returns the metrics of two revisions on a split; None if they cannot be compared image by image."""


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a revision.

    Attributes
    ----------
    gate : Gate
    name : str
        The revision.
    passed : bool
    values : str
        What was measured.
    reason : str
        Why it passed or failed, and by how much it could be worse.
    commands : list of str
        Lines to type that make what is missing.
    """

    gate: Gate
    name: str
    passed: bool
    values: str
    reason: str
    commands: list[str] = field(default_factory=list)


def judge(gate: Gate, candidate: Evaluated, reference: Evaluated | None, measure: Measure, *, bins: int) -> Verdict:
    """Judge a revision by a gate; `reference` is the revision that the gate names.

    Raises
    ------
    InputError
        If one of them has no such metric.
    """
    known = {}
    for each in filter(None, (candidate, reference)):
        split = each.predictions.get(gate.split)
        computed = {} if split is None else metrics_of(whole(split).outcomes(bins=bins))
        values = {**each.metrics.get(gate.split, {}), **computed}
        check_metric(gate, each.name, values)
        known[each.name] = values[gate.metric]
    value = known[candidate.name]
    if reference is None:
        return _absolute(gate, candidate, value, bins=bins)
    measured = measure(reference, candidate, gate.split)
    change = next((each for each in measured.metrics if each.name == gate.metric), None) if measured else None
    if measured and change:
        return _relative(gate, candidate, reference, change, len(measured.matched))
    return _by_value(gate, candidate, value, known[reference.name] + gate.limit, reference)


def is_worse(gate: Gate, change: MetricChange) -> bool:
    """Return whether a metric is worse than it may be, beyond noise."""
    return _is_beyond(gate, change.low, change.high) and change.p <= SIGNIFICANT


def _is_beyond(gate: Gate, low: float, high: float) -> bool:
    """Return whether the whole interval is on the wrong side of the limit."""
    return high < gate.limit if gate.at_least else low > gate.limit


def _relative(gate: Gate, candidate: Evaluated, reference: Evaluated, change: MetricChange, num_images: int) -> Verdict:
    failed = is_worse(gate, change)
    best, worst = (change.high, change.low) if gate.at_least else (change.low, change.high)
    values = (
        f"{change.second:.4f}, {reference.name} {change.first:.4f}: {change.difference:+.4f}, "
        f"95 % interval {change.low:+.4f} to {change.high:+.4f}, {num_images} images"
    )
    # Positive: worse.
    least, most = (-best, -worst) if gate.at_least else (best, worst)
    reason = (
        _reason(gate.allowed, least, most, failed=failed)
        if gate.allowed >= 0
        else _gain(-gate.allowed, least, most, failed=failed)
    )
    return Verdict(gate, candidate.name, not failed, values, reason)


def _reason(allowed: float, least: float, most: float, *, failed: bool) -> str:
    """Return why a metric that is worse by something between `least` and `most` is accepted, or not."""
    if failed:
        return f"worse beyond noise, by {max(0, least):.4f} to {most:.4f}, where {allowed:g} is allowed"
    if most <= 0:
        return "not worse, also at the worse end of the interval"
    if most <= allowed:
        return f"worse by {most:.4f} at most, where {allowed:g} is allowed"
    return f"not worse beyond noise, but it could be worse by {most:.4f}: so few images do not tell"


def _gain(wanted: float, least: float, most: float, *, failed: bool) -> str:
    """Return the same where it is to be better by so much."""
    if failed:
        return (
            f"better by {-least:.4f} at most, where {wanted:g} is wanted"
            if least < 0
            else f"not better, where {wanted:g} is wanted"
        )
    if -most >= wanted:
        return f"better by {-most:.4f} at least, where {wanted:g} is wanted"
    return f"not short of the wanted {wanted:g} beyond noise, but better by {-most:+.4f} only at the worse end of the interval"


def _absolute(gate: Gate, candidate: Evaluated, value: float, *, bins: int) -> Verdict:
    split = candidate.predictions.get(gate.split)
    found = None if split is None else _interval(split, gate.metric, bins=bins)
    if split is None or found is None or found.low is None or found.high is None:
        return _by_value(gate, candidate, value, gate.limit)
    failed = _is_beyond(gate, found.low, found.high)
    worst = found.low if gate.at_least else found.high
    values = f"{value:.4f}, 95 % interval {found.low:.4f} to {found.high:.4f}, {len(split)} images"
    if failed:
        reason = f"{'below' if gate.at_least else 'above'} {gate.limit:g} beyond noise; it could be {worst:.4f}"
    elif _is_met(gate, worst, gate.limit):
        reason = f"{worst:.4f} at worst, within {gate.limit:g}"
    else:
        reason = f"not beyond {gate.limit:g} by more than noise, but it could be {worst:.4f}: so few images do not tell"
    return Verdict(gate, candidate.name, not failed, values, reason)


def _interval(split: EvaluatedSplit, metric: str, *, bins: int) -> Interval | None:
    """Return a metric of all images of a split with its interval, as intervals.json has it; None if there is none."""
    outcomes = whole(split).outcomes(bins=bins)
    return intervals_of(outcomes, split.columns.get("group"), only=[metric]).overall.get(metric)


def _is_met(gate: Gate, value: float, limit: float) -> bool:
    return value >= limit if gate.at_least else value <= limit


def _by_value(gate: Gate, candidate: Evaluated, value: float, limit: float, reference: Evaluated | None = None) -> Verdict:
    """Return the verdict where noise is unknown: what passes by its value alone passes with noise as well."""
    if math.isnan(value) or math.isnan(limit):
        raise InputError(f"--gate: {gate.text}: {gate.metric} is undefined in one of both; name another metric")
    passed = _is_met(gate, value, limit)
    sides = [each for each in (candidate, reference) if each and each.without]
    why = [each.without for each in sides]
    known = "; ".join(why) or f"{gate.metric} is not computed from predictions, or not of the same images"
    values = f"{value:.4f}, limit {limit:.4f}"
    reason = f"by its value alone it is {'met' if passed else 'missed'}; what is noise is unknown: {known}"
    return Verdict(gate, candidate.name, passed, values, reason, [each.command for each in sides if each.command])
