"""Revisions compared with the first of them, and judged by gates: everything that a terminal, a pull request or a page shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from darkroom.base.errors import InputError, nearest
from darkroom.comparison.changes import DataChanges, FileChange, ParameterChange, code_changes, data_changes, parameter_changes
from darkroom.comparison.cost import Cost, costs
from darkroom.comparison.evaluated import BINS, Evaluated, open_evaluated
from darkroom.comparison.gate import Gate, check_revision
from darkroom.comparison.matching import match
from darkroom.comparison.measured import Measured, MetricChange
from darkroom.comparison.verdict import Verdict, judge


@dataclass(frozen=True)
class Comparison:
    """A revision compared with another one.

    Attributes
    ----------
    root, logs : Path
        The repository, and the folder with the logs of trainings.
    split : str
        `test` or `val`.
    first, second : Evaluated
    measured : Measured or None
        Metrics on the images of both; None if they cannot be compared image by image.
    why_not : str
        Why not, if so.
    """

    root: Path
    logs: Path
    split: str
    first: Evaluated
    second: Evaluated
    measured: Measured | None
    why_not: str

    @cached_property
    def metrics(self) -> list[MetricChange]:
        """All metrics: those with noise first, then those that are recorded alone, such as those of `evaluate.metrics`."""
        found = self.measured.metrics if self.measured else []
        known = {change.name for change in found}
        first, second = (each.metrics.get(self.split, {}) for each in (self.first, self.second))
        names = [name for name in dict.fromkeys([*second, *first]) if name not in known]
        return [*found, *(MetricChange(name, first.get(name, NAN), second.get(name, NAN)) for name in names)]

    @cached_property
    def params(self) -> list[ParameterChange]:
        """The parameters that differ."""
        return parameter_changes(self.first, self.second)

    @cached_property
    def data(self) -> DataChanges:
        """What differs in the data."""
        return data_changes(self.first, self.second)

    @cached_property
    def code(self) -> list[FileChange]:
        """The files of code that differ."""
        return code_changes(self.root, self.first, self.second)

    @cached_property
    def costs(self) -> list[Cost]:
        """What both cost."""
        return costs(self.first, self.second, self.logs)


NAN = float("nan")


class Comparer:
    """Opens each revision once, and compares pairs of them once.

    Parameters
    ----------
    root, logs
        The repository, and the folder with the logs of trainings.
    """

    def __init__(self, root: Path, logs: Path):
        self.root, self.logs = root, logs
        self._opened: dict[str, Evaluated] = {}
        self._compared: dict[tuple[str, str, str], Comparison] = {}

    def open(self, name: str) -> Evaluated:
        """Return a revision by its name.

        Raises
        ------
        InputError
            If there is none, or it was never evaluated.
        """
        if name not in self._opened:
            self._opened[name] = open_evaluated(self.root, name)
        return self._opened[name]

    def compare(self, first: str, second: str, split: str) -> Comparison:
        """Compare two revisions on a split.

        Raises
        ------
        InputError
            If there is no such revision, or it was never evaluated on this split.
        """
        key = (first, second, split)
        if key not in self._compared:
            sides = [self.open(name) for name in (first, second)]
            for each in sides:
                _check_split(each, split)
            measured, why = _measure(sides[0], sides[1], split)
            self._compared[key] = Comparison(self.root, self.logs, split, sides[0], sides[1], measured, why)
        return self._compared[key]

    def judge(self, gate: Gate, name: str) -> Verdict:
        """Judge a revision by a gate.

        Raises
        ------
        InputError
            If the gate names a revision or metric that does not exist.
        """
        candidate = self.open(name)
        reference = None
        if gate.revision is not None:
            with check_revision(gate):
                reference = self.open(gate.revision)
        return judge(gate, candidate, reference, self._measured, bins=_bins(candidate))

    def _measured(self, first: Evaluated, second: Evaluated, split: str) -> Measured | None:
        return self.compare(first.name, second.name, split).measured


def _check_split(each: Evaluated, split: str) -> None:
    if split in each.metrics or split in each.predictions:
        return
    known = [name for name in dict.fromkeys([*each.metrics, *each.predictions])]
    raise InputError(f"--split: {each.name} was not evaluated on {split}; {nearest(split, known, _others(known), '--split {}')}")


def _others(known: Sequence[str]) -> str:
    return f"write --split {known[0]}" if known else "run 'dvc repro evaluate'"


def _bins(each: Evaluated) -> int:
    bins = each.params.get("evaluate.ece_bins")
    return bins if isinstance(bins, int) and bins > 0 else BINS


def _measure(first: Evaluated, second: Evaluated, split: str) -> tuple[Measured | None, str]:
    """Return the metrics on the images of both, or why there are none."""
    sides = [each.predictions.get(split) for each in (first, second)]
    if sides[0] is None or sides[1] is None:
        missing = [each.without or f"{each.name} has no predictions on {split}" for each in (first, second)]
        return None, "; ".join(why for why, side in zip(missing, sides, strict=True) if side is None)
    if (sides[0].task == "multilabel") != (sides[1].task == "multilabel"):
        return (
            None,
            f"{first.name} is {sides[0].task} and {second.name} is {sides[1].task}",
        )
    matched = match(sides[0], sides[1])
    if not len(matched):
        return None, f"no image of {split} is in both with the same label"
    return Measured(matched, _bins(second)), ""
