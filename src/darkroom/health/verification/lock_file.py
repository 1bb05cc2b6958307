"""dvc.lock compared with dvc.yaml and with the workspace, every file of which is hashed: DVC trusts file times."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base.errors import InputError
from darkroom.base.nested import flatten, outputs_of, read_stages
from darkroom.base.yaml_file import read_yaml
from darkroom.health.verification.verified import FAIL, NOTE, OK, Finding
from darkroom.repository.dvc import EMPTY
from darkroom.stage.inputs import fill_in
from darkroom.stage.record import files_in, plain


class Entry(NamedTuple):
    """A stage in dvc.lock: parameters by section, dependencies and outputs by path."""

    stage: str
    cmd: str
    params: dict[str, Any]
    deps: dict[str, dict[str, Any]]
    outs: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, name: str, stage: Mapping[str, Any]) -> "Entry":
        """Take what dvc.lock has of a stage."""
        deps, outs = ({item["path"]: {"md5": item["md5"], **item} for item in stage.get(kind, [])} for kind in ("deps", "outs"))
        params = dict(stage.get("params", {}).get("params.yaml", {}))
        hashes = [item["md5"] for item in (*deps.values(), *outs.values())]
        command = command_of(stage)
        if not all(isinstance(text, str) for text in (name, command, *deps, *outs, *params, *hashes)):
            raise TypeError("a name or a hash in it is no text")
        return cls(name, command, params, deps, outs)


class Measured(NamedTuple):
    """Hash and size of a file or folder; `nfiles` is that of a folder."""

    md5: str
    size: int
    nfiles: int | None


class Hashes:
    """MD5 and size of files and folders as DVC computes them, each only once."""

    def __init__(self, root: Path):
        self.root = root
        self.known: dict[str, Measured | None] = {}

    def of(self, name: str) -> Measured | None:
        """Return the hash of a file, or of a folder with `.dir` appended; None if there is neither."""
        if name not in self.known:
            path = self.root / name
            # os.path.exists, since it accepts what is not a path at all, such as one that is too long.
            self.known[name] = measure(path) if os.path.exists(path) else None  # noqa: PTH110
        return self.known[name]


def read_lock(root: Path) -> dict[str, Entry]:
    """Return the stages of dvc.lock that ran.

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
        wanted = read_stages(root / "dvc.yaml")
        # Of a format that params.yaml no longer names DVC keeps what it wrote of it.
        return {name: each for name, each in entries_of(read_yaml(path)).items() if "@" not in name or name in wanted}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"dvc.lock: is damaged ({type(error).__name__}: {error}); run 'git checkout HEAD -- dvc.lock'") from None


def entries_of(content: Any) -> dict[str, Entry]:
    """Return the stages of a dvc.lock that ran; `KeyError`, `TypeError`, `AttributeError` or `ValueError` if it is damaged."""
    if content["schema"] != "2.0":
        raise ValueError(f"its schema is {content['schema']}, not 2.0")
    return {name: Entry.read(name, stage) for name, stage in content["stages"].items() if not _never_ran(stage)}


def _never_ran(stage: Mapping[str, Any]) -> bool:
    return "deps" not in stage and all(out["md5"] in EMPTY for out in stage["outs"])


def check_lock(
    entries: Mapping[str, Entry], pipeline: Mapping[str, Any], params: Any, hashes: Hashes
) -> dict[str, list[Finding]]:
    """Compare every stage of dvc.lock with dvc.yaml, params.yaml and the files, and return what was found by stage."""
    found: dict[str, list[Finding]] = {name: [] for name in {**pipeline, **entries}}
    for name, entry in entries.items():
        found[name] += check_chain(entry, entries)
        found[name] += check_declared(entry, pipeline.get(name), params)
        found[name] += check_params(entry, params)
        for path, item in entry.deps.items():
            if path != "params.yaml":
                finding = compare(hashes, path, item, f"has changed since {name} ran; run 'dvc repro'")
                # What another stage made is compared as its output, and in the chain.
                if finding.what != path or not any(path in other.outs for other in entries.values()):
                    found[name].append(finding)
            # The stage check depends on the whole file; what results depend on is compared section by section.
            elif compare(hashes, path, item, "").mark == FAIL:
                text = f"is not as {name} read it, in comments or in what no result depends on; 'dvc repro {name}' checks it"
                found[name].append(Finding(NOTE, path, text))
        for path, item in entry.outs.items():
            otherwise = f"differs from the output of {name}; run 'dvc checkout --force {path}'"
            found[name].append(compare(hashes, path, item, otherwise))
    return found


def compare(
    hashes: Hashes, name: str, item: Mapping[str, Any], otherwise: str, way_back: str = "run 'dvc checkout', or 'dvc repro'"
) -> Finding:
    """Compare a file or folder with what dvc.lock has; `otherwise` says what is wrong, `way_back` what to do if it is gone."""
    if "://" in name:
        return Finding(OK, name, "is not on this machine and was not checked; 'dvc status' checks it")
    found = hashes.of(name)
    if found is None:
        return Finding(FAIL, name, f"is missing; {way_back}")
    if found.md5 != item["md5"]:
        return Finding(FAIL, name, otherwise)
    for key, value in (("hash", "md5"), ("size", found.size), ("nfiles", found.nfiles)):
        if key in item and item[key] != value:
            text = f"has as {key} of {name} {item[key]}, but it is {value}; run 'git checkout HEAD -- dvc.lock'"
            return Finding(FAIL, "dvc.lock", text)
    return Finding(OK, name, "as recorded")


def check_chain(entry: Entry, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """Check that each input of a stage is the output of the stage that made it."""
    made = {name: (other.stage, item["md5"]) for other in entries.values() for name, item in other.outs.items()}
    for name, item in entry.deps.items():
        if name in made and made[name][1] != item["md5"]:
            text = f"{entry.stage} ran on another version of {name} than {made[name][0]} made"
            yield Finding(FAIL, "dvc.lock", f"{text}; run 'dvc repro', or 'git checkout -- dvc.lock'")


def check_declared(entry: Entry, stage: Mapping[str, Any] | None, params: Any) -> Iterator[Finding]:
    """Check that dvc.lock has of a stage what dvc.yaml declares, no more and no less."""
    way_out = f"run 'dvc repro {entry.stage}', or 'git checkout -- dvc.lock'"
    if stage is None:
        yield Finding(
            FAIL, "dvc.lock", f"has a stage {entry.stage}, which dvc.yaml does not have; run 'git checkout HEAD -- dvc.lock'"
        )
        return
    declared = {
        "command": ([_filled(command_of(stage), params)], [entry.cmd]),
        "dependency": ([fill_in(dep, params) for dep in stage.get("deps", [])], list(entry.deps)),
        "section of params.yaml": (stage.get("params", []), list(entry.params)),
        "output": (outputs_of(stage), list(entry.outs)),
    }
    for kind, (named, locked) in declared.items():
        for each in sorted({*named} ^ {*locked}):
            text = f"lacks the {kind} {each}" if each in named else f"has the {kind} {each}, unlike dvc.yaml"
            yield Finding(FAIL, "dvc.lock", f"{entry.stage} {text}; {way_out}")


def _filled(command: str, params: Any) -> str:
    """Return a command with the values of its `${…}`, as DVC fills them in."""

    def value(match: re.Match[str]) -> str:
        found = params
        for key in match[1].strip().split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return str(found).lower() if isinstance(found, bool) else str(found)

    return re.sub(r"\$\{([^}]+)\}", value, command)


def command_of(stage: Mapping[str, Any]) -> str:
    """Return the command of a stage; of several, one a line."""
    command = stage["cmd"]
    return "\n".join(command) if isinstance(command, list) else command


def check_params(entry: Entry, params: Any) -> Iterator[Finding]:
    """Check that a stage ran with the parameters that params.yaml has now."""
    for section, value in entry.params.items():
        now = plain(params.get(section) if isinstance(params, dict) else None)
        if now == plain(value):
            yield Finding(OK, "params.yaml", f"{section} as recorded by {entry.stage}")
            continue
        then, current = (dict(flatten(each, section)) for each in (plain(value), now))
        keys = sorted(key for key in then.keys() | current.keys() if then.get(key, ...) != current.get(key, ...))
        named = keys[0] + (f" (and {len(keys) - 1} more)" if len(keys) > 1 else "")
        text = f"{named} has changed since {entry.stage} ran; run 'dvc repro', or change it back"
        yield Finding(FAIL, "params.yaml", text)


def measure(path: Path) -> Measured:
    """Return hash and size of a file, or of a folder's listing, as DVC computes them."""
    if path.is_file():
        return Measured(md5_of(path), path.stat().st_size, None)
    found = [each for each in files_in(path, follow=False)]
    entries = [{"md5": md5_of(each), "relpath": each.relative_to(path).as_posix()} for each in found]
    entries.sort(key=lambda entry: entry["relpath"].split("/"))
    listing = hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return Measured(listing + ".dir", sum(each.stat().st_size for each in found), len(found))


def md5_of(path: Path) -> str:
    """Return the MD5 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
