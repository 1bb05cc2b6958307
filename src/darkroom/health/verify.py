"""Compare the workspace and DVC's cache with what was recorded. Every file is hashed; DVC trusts file times and its cache."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.base.params_file import read_yaml
from darkroom.repository.dvc import cache_dir


class Finding(NamedTuple):
    """The result of one comparison."""

    right: bool
    what: str
    """A path."""
    text: str
    """The result, and if it is not right how to restore the file."""


def verify(root: Path) -> Iterator[Finding]:
    """Compare parameters, code, data and outputs with dvc.lock, cache objects with their names, files with recorded hashes.

    Raises
    ------
    InputError
        If there is no dvc.lock, or it cannot be read.
    """
    path = root / "dvc.lock"
    if not path.is_file():
        raise InputError(
            "dvc.lock: does not exist, so nothing is recorded here; run 'dvc repro', or check out a commit that has it"
        )
    try:
        stages = read_yaml(path)["stages"]
        recorded = {name: _Record.read(name, stage) for name, stage in stages.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"dvc.lock: is damaged ({type(error).__name__}: {error}); run 'git checkout HEAD -- dvc.lock'") from None
    yield from _check_chain(recorded)
    hashes, cache = _Hashes(root), cache_dir(root) / "files" / "md5"
    params = read_yaml(root / "params.yaml")
    for record in recorded.values():
        yield from _check_params(record, params)
        for name, digest in record.deps.items():
            # The stage check depends on the whole file; what results depend on is compared section by section.
            if name not in {"params.yaml", *(out for other in recorded.values() for out in other.outs)}:
                yield _compare(hashes, name, digest, f"has changed since {record.stage} ran; run 'dvc repro'")
        for name, digest in record.outs.items():
            yield _compare(hashes, name, digest, f"differs from the output of {record.stage}; run 'dvc checkout --force {name}'")
            yield from _check_cache(cache, record, name, digest)
    yield from _check_seals(root)


class _Record(NamedTuple):
    stage: str
    params: dict[str, Any]
    deps: dict[str, str]
    outs: dict[str, str]

    @classmethod
    def read(cls, name: str, stage: Mapping[str, Any]) -> "_Record":
        deps, outs = ({item["path"]: item["md5"] for item in stage.get(kind, [])} for kind in ("deps", "outs"))
        params = dict(stage.get("params", {}).get("params.yaml", {}).items())
        if not all(isinstance(text, str) for text in (name, *deps, *deps.values(), *outs, *outs.values(), *params)):
            raise TypeError("a name or a hash in it is no text")
        return cls(name, params, deps, outs)


class _Hashes:
    """MD5 of files and folders as DVC computes them, each only once."""

    def __init__(self, root: Path):
        self.root = root
        self.known: dict[str, str | None] = {}

    def of(self, name: str) -> str | None:
        """Return the hash of a file, or of a folder with `.dir` appended; None if there is neither."""
        if name not in self.known:
            path = self.root / name
            self.known[name] = _folder_md5(path) if path.is_dir() else _md5(path) if path.is_file() else None
        return self.known[name]


def _compare(hashes: _Hashes, name: str, digest: str, otherwise: str) -> Finding:
    if "://" in name:
        return Finding(True, name, "is not on this machine and was not checked; 'dvc status' checks it")
    found = hashes.of(name)
    if found is None:
        return Finding(False, name, "is missing; run 'dvc checkout', or 'dvc repro'")
    return Finding(found == digest, name, "as recorded" if found == digest else otherwise)


def _check_chain(recorded: Mapping[str, _Record]) -> Iterator[Finding]:
    """Check that each input of a stage is the output of the stage that made it."""
    made = {name: (record.stage, digest) for record in recorded.values() for name, digest in record.outs.items()}
    for record in recorded.values():
        for name, digest in record.deps.items():
            if name in made and made[name][1] != digest:
                text = f"{record.stage} ran on another version of {name} than {made[name][0]} made"
                yield Finding(False, "dvc.lock", f"{text}; run 'dvc repro', or 'git checkout HEAD -- dvc.lock'")


def _check_params(record: _Record, params: Any) -> Iterator[Finding]:
    for section, value in record.params.items():
        now = params.get(section) if isinstance(params, dict) else None
        text = (
            "as recorded"
            if now == value
            else f"{section} has changed since {record.stage} ran; run 'dvc repro', or change it back"
        )
        yield Finding(now == value, "params.yaml", text)


def _check_cache(cache: Path, record: _Record, name: str, digest: str) -> Iterator[Finding]:
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
            way_out = f"rm -f {shown}, then 'dvc pull {name}', or 'dvc repro --force {record.stage}'"
            yield Finding(right, shown, f"holds {path}" if right else f"is damaged, and should hold {path}; {way_out}")


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
            yield Finding(
                not problem, sealed, f"{problem}; run 'dvc checkout --force', or '{way_out}'" if problem else "as sealed"
            )


def _mismatch(path: Path) -> str | None:
    content = files.read_sealed_json(path)
    named = content["files"] if "files" in content else {"model.safetensors": content["weights_sha256"]}
    for name, digest in named.items():
        if files.sha256(path.parent / name) != digest:
            return f"{name} does not have the hash recorded in it"
    return None


def _object(cache: Path, digest: str) -> Path:
    return cache / digest[:2] / digest[2:]


def _folder_md5(folder: Path) -> str:
    """Return the hash of a folder's listing, as DVC computes it."""
    found = [path for path in folder.rglob("*") if path.is_file() and not paths.is_left_behind(path.relative_to(folder))]
    entries = [{"md5": _md5(path), "relpath": path.relative_to(folder).as_posix()} for path in found]
    entries.sort(key=lambda entry: entry["relpath"].split("/"))
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
