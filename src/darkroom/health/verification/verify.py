"""Compare the workspace and DVC's cache with what was recorded. Every file is hashed; DVC trusts file times and its cache.

Two things were recorded independently: dvc.lock by DVC, which also `dvc commit` and editors write (lock_file.py), and the
records of the stages (records.py). Both are compared with the workspace, so that they are compared with each other.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.nested import read_stages
from darkroom.base.yaml_file import read_yaml
from darkroom.health.verification.lock_file import Entry, Hashes, check_lock, md5_of, read_lock
from darkroom.health.verification.records import check_records
from darkroom.health.verification.verified import FAIL, OK, Finding
from darkroom.repository.dvc import cache_dir


def verify(root: Path) -> Iterator[Finding]:
    """Compare parameters, code, data and outputs with dvc.lock and the stages' records, and cache objects with their names.

    Raises
    ------
    InputError
        If there is no dvc.lock, or it cannot be read.
    """
    entries = read_lock(root)
    params, pipeline = read_yaml(root / "params.yaml"), read_stages(root / "dvc.yaml")
    found = check_lock(entries, pipeline, params, Hashes(root))
    ran = {name: {each.what for each in found[name] if each.mark == FAIL} for name in entries}
    of_records = list(check_records(root, params, pipeline, ran))
    # Where code has changed, a record names the file in the folder that dvc.lock has.
    named = {each.what for each in of_records if each.mark == FAIL and each.what.startswith("src/")}
    for each in (each for of_stage in found.values() for each in of_stage):
        if each.mark != FAIL or not any(path == each.what or path.startswith(f"{each.what}/") for path in named):
            yield each
    yield from of_records
    yield from _check_seals(root)
    cache = cache_dir(root) / "files" / "md5"
    for entry in entries.values():
        for name, item in entry.outs.items():
            yield from _check_cache(cache, entry, name, str(item["md5"]))


def _check_cache(cache: Path, entry: Entry, name: str, digest: str) -> Iterator[Finding]:
    """Hash the cache objects of an output; metrics, which are in Git, have none."""
    entries = [(name, digest)]
    listing = _object(cache, digest)
    if digest.endswith(".dir") and listing.is_file() and md5_of(listing) == digest.removesuffix(".dir"):
        entries += [(f"{name}/{item['relpath']}", item["md5"]) for item in json.loads(listing.read_bytes())]
    for path, known in entries:
        stored = _object(cache, known)
        if stored.is_file():
            right = md5_of(stored) == known.removesuffix(".dir")
            shown = paths.shown(stored)
            way_out = f"rm -f {shown}, then 'dvc pull {name}', or 'dvc repro --force {entry.stage}'"
            text = f"holds {path}" if right else f"is damaged, and should hold {path}; {way_out}"
            yield Finding(OK if right else FAIL, shown, text)


def _check_seals(root: Path) -> Iterator[Finding]:
    """Check the hashes that the project's own files record, independently of DVC."""
    for sealed, way_out in (
        ("data/raw/dataset.json", "dvc repro --force download"),
        ("data/split/split.json", "dvc repro --force split"),
        ("models/model.json", "dvc repro --force train"),
        ("models/checkpoints/index.json", "dvc repro --force train"),
    ):
        path = root / sealed
        if path.is_file():
            try:
                problem = _mismatch(path)
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                problem = str(error)
            text = f"{problem}; run 'dvc checkout --force', or '{way_out}'" if problem else "as sealed"
            yield Finding(FAIL if problem else OK, sealed, text)


def _mismatch(path: Path) -> str | None:
    content = files.read_sealed_json(path)
    named = content["files"] if "files" in content else {"model.safetensors": content["weights_sha256"]}
    for name, digest in named.items():
        if files.sha256(path.parent / name) != digest:
            return f"{name} does not have the hash recorded in it"
    return None


def _object(cache: Path, digest: str) -> Path:
    return cache / digest[:2] / digest[2:]
