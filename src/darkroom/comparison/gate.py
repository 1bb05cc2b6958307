"""Gates: conditions on a metric, such as `test.accuracy >= main - 0.005`, and how they are read."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from darkroom.base.errors import InputError, nearest
from darkroom.metrics.measures import HIGHER_IS_BETTER, LOWER_IS_BETTER

SPLITS = ("test", "val")
GRAMMAR = "write 'SPLIT.METRIC >= REV - MARGIN', 'SPLIT.METRIC >= NUMBER', or <= for what is better when smaller"
CONDITION = re.compile(r"\s*(?P<metric>[^\s<>=]+)\s*(?P<sign>=[<>]|[<>]=?|==?)\s*(?P<limit>.*?)\s*", re.DOTALL)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# Digits alone may be the beginning of a commit.
COMMIT = re.compile(r"[0-9a-f]{7,40}")
# A name of Git may hold signs and digits: a margin stands after a sign between spaces.
RELATIVE = re.compile(r"(?P<name>\S+)(?:\s+(?P<sign>[+-])\s*(?P<margin>\S+))?")
GLUED = re.compile(r"(?P<name>.+?)(?P<sign>[+-])(?P<margin>[\d.]+)")


@dataclass(frozen=True)
class Gate:
    """A condition on a metric of a revision.

    Attributes
    ----------
    text : str
        As it was written.
    split, metric : str
    at_least : bool
        Whether the metric is to be at least the limit, or else at most.
    revision : str or None
        The revision that it is compared with; None: the limit is a number.
    limit : float
        What is added to the metric of that revision, or the limit itself.
    """

    text: str
    split: str
    metric: str
    at_least: bool
    revision: str | None
    limit: float

    @property
    def allowed(self) -> float:
        """How much worse than the revision the metric may be; negative: it is to be better."""
        return (-self.limit if self.at_least else self.limit) + 0.0  # no negative zero


def read_gate(text: str) -> Gate:
    """Read a gate.

    Raises
    ------
    InputError
        If it cannot be read, or can only be a mistake.
    """
    match = CONDITION.fullmatch(text)
    if not match or not match["limit"]:
        raise InputError(f"--gate: {text!r} is no condition; {GRAMMAR}")
    sign = match["sign"]
    if sign not in (">=", "<="):
        other = ">=" if ">" in sign else "<=" if "<" in sign else ">= or <="
        raise InputError(f"--gate: {text!r} has the sign {sign}; write {other}")
    split, metric = _split_and_metric(match["metric"])
    revision, limit = _limit(match["limit"])
    gate = Gate(text.strip(), split, metric, sign == ">=", revision, limit)
    if metric in (LOWER_IS_BETTER if gate.at_least else HIGHER_IS_BETTER):
        better = "smaller" if gate.at_least else "larger"
        raise InputError(f"--gate: {text!r} would refuse what is better, since a {better} {metric} is; write '{_turned(gate)}'")
    return gate


def _split_and_metric(name: str) -> tuple[str, str]:
    split, dot, metric = name.partition(".")
    if not dot:
        written = f"{name}.accuracy" if name in SPLITS else f"test.{name}"
        raise InputError(f"--gate: '{name}' is not SPLIT.METRIC; write '{written}'")
    if split not in SPLITS:
        raise InputError(f"--gate: {name}: there is no split '{split}'; {nearest(split, SPLITS, 'there are test and val')}")
    if not metric:
        raise InputError(f"--gate: {name}: names no metric; write '{split}.accuracy'")
    return split, metric


def _turned(gate: Gate) -> str:
    """Return the condition with the other sign, which allows as much on the other side."""
    start = f"{gate.split}.{gate.metric} {'<=' if gate.at_least else '>='}"
    if gate.revision is None:
        return f"{start} {gate.limit:g}"
    sign = "+" if gate.at_least else "-"
    return f"{start} {gate.revision}" + (f" {sign} {abs(gate.limit):g}" if gate.limit else "")


def _limit(text: str) -> tuple[str | None, float]:
    """Return the revision and what is added to its metric; or None and a number."""
    if NUMBER.fullmatch(text) and not COMMIT.fullmatch(text):
        return None, float(text)
    match = RELATIVE.fullmatch(text)
    if not match:
        raise InputError(f"--gate: '{text}' is neither a number nor a revision with a margin; {GRAMMAR}")
    if match["margin"] is None:
        return match["name"], 0.0
    if not NUMBER.fullmatch(match["margin"]) or match["margin"][0] in "+-":
        raise InputError(f"--gate: the margin '{match['margin']}' is no number; write it as 0.005")
    return match["name"], float(match["sign"] + match["margin"])


@contextmanager
def check_revision(gate: Gate) -> Iterator[None]:
    """Say of a revision that cannot be opened that a gate names it, and that margins stand apart: `main-0.005` is a name."""
    try:
        yield
    except InputError as error:
        match = GLUED.fullmatch(gate.revision or "")
        if match and NUMBER.fullmatch(match["margin"]):
            apart = f"{match['name']} {match['sign']} {match['margin']}"
            raise InputError(f"--gate: {gate.revision}: is not a revision; write spaces around the sign: '{apart}'") from None
        raise InputError(f"--gate: {error}") from None


def check_metric(gate: Gate, name: str, metrics: Iterable[str]) -> None:
    """Raise InputError if a revision has no such metric, with the nearest name."""
    metrics = list(metrics)
    if gate.metric in metrics:
        return
    if not metrics:
        raise InputError(f"--gate: {name} has no metrics on {gate.split}; write '{_other(gate.split)}.{gate.metric}'")
    hint = nearest(gate.metric, metrics, f"there are {', '.join(metrics)}", f"'{gate.split}.{{}}'")
    raise InputError(f"--gate: {name} has no metric '{gate.metric}' on {gate.split}; {hint}")


def _other(split: str) -> str:
    return SPLITS[1 - SPLITS.index(split)]
