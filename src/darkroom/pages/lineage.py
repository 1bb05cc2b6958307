"""What a revision started from, and when it was made, as Git knows it."""

from typing import NamedTuple

from darkroom.repository.git import commit_of, experiments, git, text_in
from darkroom.versions.lock import parse_lock
from darkroom.versions.parameters import Differing, differing, params_in
from darkroom.versions.results import Results
from darkroom.versions.revisions import LOCK

# Message of an experiment, which says no more.
OF_DVC = "dvc: commit experiment"


class Lineage(NamedTuple):
    """Where a revision stands in the history."""

    commit: str
    """Its commit, or the one that the workspace is based on; empty without one."""
    about: str
    """Date and first line of the commit's message; empty for the workspace."""
    baseline: str
    """What it is compared with: of an experiment the commit that it started from, of a commit the one before; empty: none."""
    changed: Differing
    """Parameters that differ from the baseline's, with both values; `...` where there is none."""


def lineage(results: Results) -> Lineage:
    """Look up what a revision started from."""
    root, commit = results.root, results.revision.commit
    head = commit_of(root, "HEAD")
    about, baseline = "", head
    if commit is not None:
        about = git(root, "show", "-s", "--format=%cs %s", commit).stdout.strip()
        about = about.partition(f" {OF_DVC}")[0]
        started = [experiment.baseline for experiment in experiments(root) if experiment.commit == commit]
        baseline = started[0] if started else commit_of(root, f"{commit}~1")
    lock = text_in(root, baseline, LOCK) if baseline else None
    if lock is None:
        return Lineage(commit or head, about, "", {})
    shown = f"HEAD ({baseline[:7]})" if baseline == head else baseline[:7]
    return Lineage(commit or head, about, shown, differing(params_in(parse_lock(lock)), results.params))
