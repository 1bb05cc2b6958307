"""Whether the metrics of a revision belong to the parameters and the model beside them."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from darkroom.base.errors import InputError
from darkroom.versions.lock import broken_chain, outputs
from darkroom.versions.parameters import outdated, value_text
from darkroom.versions.recorded import METRICS, PREDICTIONS
from darkroom.versions.results import Results


def mismatches(results: Results) -> list[str]:
    """Return what says that the metrics do not belong to what lies beside them."""
    if not results.lock:
        return ["dvc.lock does not say what they were made with"]
    chain = [f"{stage} ran with another {path} than the one recorded" for stage, path in broken_chain(results.lock)]
    return [*_changed_params(results), *_other_files(results), *chain]


def _changed_params(results: Results) -> Iterator[str]:
    changed = {key: pair for _, found in outdated(results.lock, results.written_params) for key, pair in found.items()}
    for key, (now, ran) in sorted(changed.items()) if results.written_params else []:
        yield f"params.yaml has {key} = {value_text(now)}, but the results were made with {value_text(ran)}"


def _other_files(results: Results) -> Iterator[str]:
    """Yield what is not as dvc.lock has it; of a commit, predictions are read by the hash that it has."""
    for path in METRICS[:1] if results.revision.commit else (METRICS[0], PREDICTIONS):
        recorded = outputs(results.lock).get(path)
        with suppress(InputError):
            if recorded and hashlib.md5(results.bytes_of(path), usedforsecurity=False).hexdigest() != recorded:
                yield f"{path} is not the file that dvc.lock records"
