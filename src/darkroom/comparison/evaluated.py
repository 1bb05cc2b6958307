"""Revisions that were evaluated: what they recorded, their predictions or why there are none."""

from functools import cached_property
from pathlib import Path

from darkroom.base.errors import InputError
from darkroom.metrics.predictions_file import EvaluatedSplit
from darkroom.repository.git import commit_of, text_in
from darkroom.versions.datasets import RAW, SPLIT
from darkroom.versions.mismatches import mismatches
from darkroom.versions.parameters import Params
from darkroom.versions.recorded import METRICS, PREDICTIONS, Metrics
from darkroom.versions.results import Results
from darkroom.versions.revisions import Revision, open_revision

BINS = 15
OUTS = (PREDICTIONS, RAW, SPLIT)


class Evaluated(Results):
    """The records of a revision that was evaluated; what is not there, or damaged, is empty.

    Attributes
    ----------
    without : str
        Why there are no predictions, once they were asked for; empty if there are.
    command : str
        The line that makes them, if there is one.
    """

    def __init__(self, revision: Revision, root: Path):
        super().__init__(revision, root)
        self.without = self.command = ""
        if PREDICTIONS not in revision.outs:
            self.without, self.command = f"{revision.name} has no {PREDICTIONS}", line_for(root, revision)

    @cached_property
    def predictions(self) -> dict[str, EvaluatedSplit]:
        """By split."""
        if self.without:
            return {}
        try:
            return super().predictions
        except InputError as error:
            self.without = str(error)
            return {}

    def __str__(self) -> str:
        return str(self.revision)

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics of each split, as evaluate wrote them."""
        try:
            return super().metrics
        except InputError:
            return {}

    @cached_property
    def params(self) -> Params:
        """The parameters that the stages ran with, by dotted key: those of dvc.lock, or else of params.yaml."""
        return super().params or self.written_params

    @cached_property
    def notes(self) -> list[str]:
        """What says that the metrics do not belong to what lies beside them."""
        way_out = "" if self.revision.commit else "; run 'dvc repro'"
        return [f"{self.name}: {text}{way_out}" for text in mismatches(self)]


def open_evaluated(root: Path, name: str) -> Evaluated:
    """Open a revision, or the workspace, with its metrics, and its predictions if it has them.

    Raises
    ------
    InputError
        If there is no such revision, or it was never evaluated.
    """
    found = Evaluated(open_revision(root, name, OUTS), root)
    if not found.predictions and not found.metrics:
        way_out = "name another one" if found.revision.commit else "run 'dvc repro evaluate'"
        raise InputError(f"{name}: was never evaluated: it has neither {METRICS[0]} nor {PREDICTIONS}; {way_out}")
    return found


def line_for(root: Path, revision: Revision) -> str:
    """Return the commands that make the predictions of a revision."""
    if revision.commit is None:
        return "dvc repro evaluate"
    short = revision.commit[:10]
    if PREDICTIONS in (text_in(root, revision.commit, "dvc.yaml") or ""):
        return f"git switch --detach {short} && dvc checkout && dvc repro evaluate"
    # Its own code does not write them, and Git tracked what DVC caches now: the code of now runs with its parameters.
    now = commit_of(root, "HEAD")[:10]
    code = f"git switch -c again-{short} {short} && git checkout {now} -- src dvc.yaml"
    untracked = "git rm -rq --cached --ignore-unmatch metrics/split metrics/train metrics/evaluate"
    return f"{code} && {untracked} && dvc repro && git add -A && git commit -m again"
