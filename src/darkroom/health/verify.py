"""Compare the workspace and DVC's cache with what was recorded. Every file is hashed; DVC trusts file times and its cache.

Two things were recorded independently: dvc.lock by DVC, which also `dvc commit` and editors write, and the records of the stages
(health/records.py). Both are compared with the workspace, so that they are compared with each other.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.base.nested import flatten
from darkroom.base.params_file import read_yaml
from darkroom.health.dvc_setup import cache_dir
from darkroom.health.records import check_records
from darkroom.health.verified import FAIL, NOTE, OK, Finding
from darkroom.stage.inputs import fill_in
from darkroom.stage.record import files_in, plain

# What a stage that did not run has in dvc.lock after a search (darkroom.experiments.slots).
EMPTY_MD5 = "d751713988987e9331980363e24189ce.dir"


def verify(root: Path) -> Iterator[Finding]:
    """Compare parameters, code, data and outputs with dvc.lock and the stages' records, and cache objects with their names.

    Raises
    ------
    InputError
        If there is no dvc.lock, or it cannot be read.
    """
    stages = _read_lock(root)
    params, pipeline = read_yaml(root / "params.yaml"), read_yaml(root / "dvc.yaml")["stages"]
    recorded = {name: _Entry.read(name, stage) for name, stage in stages.items() if not _never_ran(stage)}
    yield from _check_chain(recorded)
    hashes, cache = _Hashes(root), cache_dir(root) / "files" / "md5"
    found: dict[str, list[Finding]] = {name: [] for name in pipeline}
    for name, entry in recorded.items():
        of_stage = found.setdefault(name, [])
        of_stage += _check_declared(entry, pipeline.get(name), params)
        of_stage += _check_params(entry, params)
        for path, item in entry.deps.items():
            if path != "params.yaml":
                made = any(path in other.outs for other in recorded.values())
                otherwise = f"has changed since {name} ran; run '{'dvc checkout --force' if made else 'dvc repro'}'"
                of_stage.append(_compare(hashes, path, item, otherwise))
            elif (now := hashes.of(path)) is not None and now.md5 != item["md5"]:
                # The stage check depends on the whole file; what results depend on is compared section by section.
                yield Finding(NOTE, path, "has another text than when check ran; what no result depends on may differ")
        for path, item in entry.outs.items():
            of_stage.append(_compare(hashes, path, item, f"differs from the output of {name}; run 'dvc checkout --force {path}'"))
            yield from _check_cache(cache, entry, path, str(item["md5"]))
    yield from _check_seals(root)
    ran = {name: {each.what for each in found[name] if each.mark == FAIL} for name in pipeline if name in recorded}
    of_records = list(check_records(root, params, pipeline, ran))
    named = {each.what for each in of_records if each.mark == FAIL}
    for each in (each for of_stage in found.values() for each in of_stage):
        # A record names the file in a folder of code.
        if each.mark != FAIL or not any(path.startswith(f"{each.what}/") for path in named if path.startswith("src/")):
            yield each
    yield from of_records


def _read_lock(root: Path) -> dict[str, Any]:
    path = root / "dvc.lock"
    if not path.is_file():
        raise InputError(
            "dvc.lock: does not exist, so nothing is recorded here; run 'dvc repro', or check out a commit that has it"
        )
    try:
        content = read_yaml(path)
        stages: dict[str, Any] = content["stages"]
        if content["schema"] != "2.0":
            raise ValueError(f"its schema is {content['schema']}, not 2.0")
        for name, stage in stages.items():
            _Entry.read(name, stage)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"dvc.lock: is damaged ({type(error).__name__}: {error}); run 'git checkout -- dvc.lock'") from None
    return stages


def _never_ran(stage: Mapping[str, Any]) -> bool:
    return "deps" not in stage and all(out["md5"] == EMPTY_MD5 for out in stage["outs"])


class _Entry(NamedTuple):
    """A stage in dvc.lock."""

    stage: str
    cmd: str
    params: dict[str, Any]
    deps: dict[str, dict[str, Any]]
    outs: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, name: str, stage: Mapping[str, Any]) -> "_Entry":
        deps, outs = ({item["path"]: {"md5": item["md5"], **item} for item in stage.get(kind, [])} for kind in ("deps", "outs"))
        return cls(name, stage["cmd"], dict(stage.get("params", {}).get("params.yaml", {})), deps, outs)


class _Measured(NamedTuple):
    md5: str
    size: int
    nfiles: int | None


class _Hashes:
    """MD5 and size of files and folders as DVC computes them, each only once."""

    def __init__(self, root: Path):
        self.root = root
        self.known: dict[str, _Measured | None] = {}

    def of(self, name: str) -> _Measured | None:
        """Return the hash of a file, or of a folder with `.dir` appended; None if there is neither."""
        if name not in self.known:
            path = self.root / name
            self.known[name] = _measure(path) if path.exists() else None
        return self.known[name]


def _compare(hashes: _Hashes, name: str, item: Mapping[str, Any], otherwise: str) -> Finding:
    if "://" in name:
        return Finding(OK, name, "is not on this machine and was not checked; 'dvc status' checks it")
    found = hashes.of(name)
    if found is None:
        return Finding(FAIL, name, "is missing; run 'dvc checkout', or 'dvc repro'")
    if found.md5 != item["md5"]:
        return Finding(FAIL, name, otherwise)
    for key, value in (("hash", "md5"), ("size", found.size), ("nfiles", found.nfiles)):
        if key in item and item[key] != value:
            text = f"has as {key} of {name} {item[key]}, but it is {value}; run 'git checkout -- dvc.lock'"
            return Finding(FAIL, "dvc.lock", text)
    return Finding(OK, name, "as recorded")


def _check_chain(recorded: Mapping[str, _Entry]) -> Iterator[Finding]:
    """Check that each input of a stage is the output of the stage that made it."""
    made = {name: (entry.stage, item["md5"]) for entry in recorded.values() for name, item in entry.outs.items()}
    for entry in recorded.values():
        for name, item in entry.deps.items():
            if name in made and made[name][1] != item["md5"]:
                text = f"{entry.stage} ran on another version of {name} than {made[name][0]} made"
                yield Finding(FAIL, "dvc.lock", f"{text}; run 'dvc repro', or 'git checkout -- dvc.lock'")


def _check_declared(entry: _Entry, stage: Mapping[str, Any] | None, params: Any) -> Iterator[Finding]:
    """Check that dvc.lock has of a stage what dvc.yaml declares, no more and no less."""
    way_out = f"run 'dvc repro {entry.stage}', or 'git checkout -- dvc.lock'"
    if stage is None:
        yield Finding(
            FAIL, "dvc.lock", f"has a stage {entry.stage}, which dvc.yaml does not have; run 'git checkout -- dvc.lock'"
        )
        return
    outs = [next(iter(out)) if isinstance(out, dict) else out for out in stage.get("outs", [])]
    declared = {
        "cmd": ([stage["cmd"]], [entry.cmd]),
        "dependency": ([fill_in(dep, params) for dep in stage.get("deps", [])], list(entry.deps)),
        "section of params.yaml": (stage.get("params", []), list(entry.params)),
        "output": (outs, list(entry.outs)),
    }
    for kind, (named, locked) in declared.items():
        for each in sorted({*named} ^ {*locked}):
            text = f"lacks the {kind} {each} of {entry.stage}" if each in named else f"has {kind} {each}, unlike dvc.yaml"
            yield Finding(FAIL, "dvc.lock", f"{text}; {way_out}")


def _check_params(entry: _Entry, params: Any) -> Iterator[Finding]:
    for section, value in entry.params.items():
        now = plain(params.get(section) if isinstance(params, dict) else None)
        if now == plain(value):
            yield Finding(OK, "params.yaml", f"{section} as recorded by {entry.stage}")
            continue
        then, current = (dict(flatten(each, section)) for each in (plain(value), now))
        keys = sorted(key for key in then.keys() | current.keys() if then.get(key, ...) != current.get(key, ...))
        named = f"{keys[0]}" + (f" (and {len(keys) - 1} more)" if len(keys) > 1 else "") if keys else section
        yield Finding(
            FAIL, "params.yaml", f"{section} has changed since {entry.stage} ran: {named}; run 'dvc repro', or change it back"
        )


def _check_cache(cache: Path, entry: _Entry, name: str, digest: str) -> Iterator[Finding]:
    """Hash the cache objects of an output; metrics, which are in Git, have none."""
    entries = [(name, digest)]
    listing = _object(cache, digest)
    if digest.endswith(".dir") and listing.is_file() and _md5(listing) == digest.removesuffix(".dir"):
        entries += [(f"{name}/{item['relpath']}", item["md5"]) for item in json.loads(listing.read_bytes())]
    for path, known in entries:
        stored = _object(cache, known)
        if stored.is_file():
            right = _md5(stored) == known.removesuffix(".dir")
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


def _measure(path: Path) -> _Measured:
    """Return hash and size of a file, or of a folder's listing, as DVC computes them."""
    if path.is_file():
        return _Measured(_md5(path), path.stat().st_size, None)
    found = [each for each in files_in(path, follow=False)]
    entries = [{"md5": _md5(each), "relpath": each.relative_to(path).as_posix()} for each in found]
    entries.sort(key=lambda entry: entry["relpath"].split("/"))
    listing = hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return _Measured(listing + ".dir", sum(each.stat().st_size for each in found), len(found))


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
