"""dvc.lock compared with params.yaml, dvc.yaml, the code and itself: all that a clone has before data is pulled."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.base.nested import OUTPUTS, read_stages
from darkroom.base.yaml_file import read_yaml
from darkroom.health.verification.lock_file import (
    Entry,
    Hashes,
    check_chain,
    check_declared,
    check_params,
    compare,
    read_lock,
)
from darkroom.health.verification.verified import FAIL, NOTE, OK, Finding
from darkroom.stage.inputs import fill_in


def verify_lock(root: Path) -> Iterator[Finding]:
    """Compare dvc.lock with all that Git has, without a look at data, to see whether `dvc repro` would run a stage.

    `dvc repro --dry --allow-missing` stops at the first stage that would run, as its data is missing, and says not what changed.

    Raises
    ------
    InputError
        If there is no dvc.lock, or it cannot be read.
    """
    entries = read_lock(root)
    params, pipeline, hashes = read_yaml(root / "params.yaml"), read_stages(root / "dvc.yaml"), Hashes(root)
    for name, stage in pipeline.items():
        if name not in entries:
            yield Finding(FAIL, "dvc.lock", f"has nothing of {name}, which did not run; run 'dvc repro'")
            continue
        entry = entries[name]
        yield from check_chain(entry, entries)
        yield from check_declared(entry, stage, params)
        yield from check_params(entry, params)
        yield from _check_deps(root, entry, stage, params, entries, hashes)
        yield from _check_outs(entry, stage, hashes)
    for name in entries.keys() - pipeline.keys():
        yield from check_declared(entries[name], None, params)


def _check_deps(
    root: Path, entry: Entry, stage: Mapping[str, Any], params: Any, entries: Mapping[str, Entry], hashes: Hashes
) -> Iterator[Finding]:
    """Compare the code of a stage, and whatever else of its dependencies is in Git, or pinned by a .dvc file."""
    made = {path for other in entries.values() for path in other.outs}
    data = {fill_in(dep, params) for dep in stage.get("deps", []) if dep.startswith("${")}
    for path, item in entry.deps.items():
        if path in made:  # compared in the chain
            continue
        pin = root / f"{path}.dvc"
        if pin.is_file():
            yield _compare_pin(pin, path, entry, item)
        elif path in data or "://" in path:
            yield Finding(OK, path, f"is data, which was not read; 'dvc status {entry.stage}' compares it where it is")
        elif path == "params.yaml":
            yield _compare_whole(entry, path, item, hashes)
        else:
            yield compare(hashes, path, item, f"has changed since {entry.stage} ran; run 'dvc repro'", "run 'dvc repro'")


def _compare_pin(pin: Path, path: str, entry: Entry, item: Mapping[str, Any]) -> Finding:
    """Compare the hash in a .dvc file (`dvc add`) with that of the data that a stage read."""
    outs = (read_yaml(pin) or {}).get("outs") or [{}]
    if outs[0].get("md5") == item["md5"]:
        return Finding(OK, f"{path}.dvc", "as recorded")
    return Finding(FAIL, f"{path}.dvc", f"names another version of {path} than {entry.stage} read; run 'dvc repro'")


def _compare_whole(entry: Entry, path: str, item: Mapping[str, Any], hashes: Hashes) -> Finding:
    """Compare params.yaml, which the stage check depends on as a whole; what results depend on is compared by section."""
    found = compare(hashes, path, item, f"is not as {entry.stage} read it, in comments or in what no result depends on")
    return found if found.mark == OK else Finding(NOTE, path, f"{found.text}; 'dvc repro {entry.stage}' checks it")


def _check_outs(entry: Entry, stage: Mapping[str, Any], hashes: Hashes) -> Iterator[Finding]:
    """Compare the outputs that Git has in place of DVC's cache, such as metrics."""
    for path in _in_git(stage):
        if path in entry.outs:
            again = f"run 'git checkout HEAD -- {path}', or 'dvc repro --force {entry.stage}'"
            yield compare(hashes, path, entry.outs[path], f"differs from the output of {entry.stage}; {again}", again)


def _in_git(stage: Mapping[str, Any]) -> Iterator[str]:
    """Yield the outputs of a stage that are declared as `cache: false`."""
    for item in (each for kind in OUTPUTS for each in stage.get(kind, []) if isinstance(each, dict)):
        for path, options in item.items():
            if options.get("cache") is False:
                yield path
