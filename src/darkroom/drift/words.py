"""The answer in sentences, for the terminal and the page."""

from darkroom.drift.check import Drift
from darkroom.drift.foreign import FALSE_DISCOVERIES
from darkroom.drift.judgement import FALSE_ALARMS, Finding
from darkroom.drift.power import percent

HEADER = ("compared", "difference", "p", "certain", "could have been found")


def answer(drift: Drift) -> str:
    """Return whether there is drift; never that there is none."""
    judgement = drift.judgement
    said = "yes" if judgement.is_drift else "none was found"
    return (
        f"{said}, at {percent(FALSE_ALARMS, 0)} false alarms (p {_p(judgement.p)} of all tests together): "
        f"{judgement.num_photos} photos beside {judgement.num_reference} images of data/raw"
    )


def row(drift: Drift, finding: Finding) -> tuple[str, ...]:
    """Return the cells of a finding under `HEADER`."""
    certain = "yes" if drift.judgement.is_certain(finding) else "no"
    return finding.name, finding.found, _p(finding.p), certain, finding.detectable


def foreign(drift: Drift) -> str:
    """Return how many photos are foreign, and which are called so."""
    found, total = drift.foreign, len(drift.paths)
    interval = f"{percent(found.share)}; {percent(found.low)} to {percent(found.high)} with 95 %"
    estimate = f"about {round(found.share * total)} of {total} photos ({interval})"
    count = int(found.is_foreign.sum())
    if not count:
        return f"{estimate} are foreign, but none stands out enough to be named"
    return f"{estimate} are foreign; {count} stand out, of which at most one in {round(1 / FALSE_DISCOVERIES)} is not"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
