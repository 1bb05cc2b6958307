"""Whether the metrics of a revision belong to the parameters and the model beside them."""

import hashlib
from collections.abc import Iterator

from darkroom.base.errors import InputError
from darkroom.base.nested import flatten
from darkroom.pages.damage import reading
from darkroom.pages.lock import mapping_in, outs_in, sections_in
from darkroom.pages.results import METRICS, Results


def mismatches(results: Results) -> list[str]:
    """Return what says that the metrics do not belong to what lies beside them."""
    if not results.lock:
        return ["dvc.lock does not say what they were made with"]
    return [*_changed_params(results), *_other_metrics(results), *_broken_chain(results)]


def _changed_params(results: Results) -> Iterator[str]:
    try:
        with reading("params.yaml", results.revision):
            written = mapping_in(results.bytes_of("params.yaml"))
            now = {key: value for name in sections_in(results.lock) for key, value in flatten(written.get(name), name)}
    except InputError:
        return
    for key in sorted(now.keys() | results.params.keys()):
        if now.get(key, ...) != results.params.get(key, ...):
            values = [repr(each[key]) if key in each else "not set" for each in (now, results.params)]
            yield f"params.yaml has {key} = {values[0]}, but the results were made with {values[1]}"


def _other_metrics(results: Results) -> Iterator[str]:
    outs = {out.get("path"): out for out in outs_in(results.lock)}
    for path in METRICS[:1]:
        recorded = outs.get(path, {}).get("md5")
        if recorded and hashlib.md5(results.bytes_of(path), usedforsecurity=False).hexdigest() != recorded:
            yield f"{path} is not the file that dvc.lock records"


def _broken_chain(results: Results) -> Iterator[str]:
    made = {out.get("path"): out.get("md5") for out in outs_in(results.lock)}
    for name, stage in results.lock.items():
        for dep in stage.get("deps", []):
            path = dep.get("path")
            if path in made and dep.get("md5") != made[path]:
                yield f"{name} ran with another {path} than the one recorded"
