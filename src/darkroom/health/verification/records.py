"""What the stages recorded of their results, compared with the workspace, whatever `dvc commit` wrote into dvc.lock."""

import ast
import platform
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.nested import flatten, outputs_of
from darkroom.base.params_file import check_params
from darkroom.health.verification.trained import check_trained, trained_params
from darkroom.health.verification.verified import FAIL, NOTE, OK, Finding
from darkroom.stage.record import RECORD, SEALS, digest, files_in, plain

RECORDS = {
    "download": "data/download.json",
    "split": f"metrics/split/{RECORD}",
    "train": f"models/{RECORD}",
    "evaluate": f"metrics/evaluate/{RECORD}",
    "predict": f"data/predictions/{RECORD}",
}
Json = Mapping[str, Any]


def check_records(root: Path, params: Any, pipeline: Json, ran: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    """Compare every record with parameters, code, inputs and outputs as they are now.

    Parameters
    ----------
    root
        The repository.
    params, pipeline
        Content of params.yaml, and the stages of dvc.yaml.
    ran
        By stage that dvc.lock records: what differs from dvc.lock already, which is not reported twice.
    """
    exported = {stage: f"models/exported/{stage.partition('@')[2]}/{RECORD}" for stage in pipeline if stage.startswith("export@")}
    for stage, name in {**RECORDS, **exported}.items():
        if stage not in ran:
            if (root / name).exists():
                yield Finding(FAIL, name, f"is a result of {stage}, of which dvc.lock records nothing; run 'dvc repro {stage}'")
            elif stage in pipeline:
                yield Finding(NOTE, "dvc.lock", f"{stage} did not run; 'dvc repro' runs it")
            continue
        try:
            record = files.read_sealed_json(root / name)
            if record.get("stage", stage) != stage:
                raise ValueError(f"is the record of {record['stage']}")
            known, again = ran[stage], f"run '{rerun(stage)}'"
            yield from _check_params(name, stage, record, params, known)
            yield from _check_inputs(root, name, stage, record, {path for differing in ran.values() for path in differing})
            yield from _check_outputs(root, name, stage, record, known, pipeline[stage])
            yield from _check_code(root, name, stage, record, known, pipeline[stage], params)
            yield from _check_versions(name, stage, record)
            if stage == "train":
                yield from check_trained(root, record, again)
            yield Finding(OK, name, "as sealed")
        except FileNotFoundError:
            if name not in ran[stage]:
                yield Finding(FAIL, name, f"is missing, which says what {stage} ran with; run '{rerun(stage)}'")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            text = str(error) if isinstance(error, (OSError, ValueError)) else f"lacks {error}"
            yield Finding(FAIL, name, f"{text}; restore it, or run '{rerun(stage)}'")


def rerun(stage: str) -> str:
    """Return the command that computes a result again, of which DVC believes that nothing has changed."""
    return f"dvc repro --force --single-item {stage}"


def _check_params(name: str, stage: str, record: Json, params: Any, known: Collection[str]) -> Iterator[Finding]:
    if "params.yaml" in known:
        return
    content = params if isinstance(params, dict) else {}
    now = {section: plain(content.get(section)) for section in record["params"]}
    if stage == "train":  # it records every value, also that of a key which params.yaml leaves out
        try:
            now = trained_params(check_params(content))
        except InputError as error:
            yield Finding(FAIL, "params.yaml", str(error).removeprefix("params.yaml: "))
            return
    then, current = dict(flatten(record["params"])), dict(flatten(now))
    for key in sorted(then.keys() | current.keys()):
        if then.get(key, ...) != current.get(key, ...):
            values = [f"{each[key]!r}" if key in each else "not set" for each in (current, then)]
            text = f"{key} is {values[0]}, but {stage} ran with {values[1]} ({name}); change it back, or run '{rerun(stage)}'"
            yield Finding(FAIL, "params.yaml", text)


def _check_inputs(root: Path, name: str, stage: str, record: Json, known: Collection[str]) -> Iterator[Finding]:
    for path, recorded in record.get("inputs", {}).items():
        if path in known:
            continue
        right = digest(root, path) == recorded
        text = "as recorded" if right else f"is not what {stage} ran with ({name}); run '{rerun(stage)}'"
        yield Finding(OK if right else FAIL, path, text)


def _check_outputs(root: Path, name: str, stage: str, record: Json, known: Collection[str], declared: Json) -> Iterator[Finding]:
    outs = outputs_of(declared)
    recorded = dict(record["outputs"])
    if stage == "train":
        recorded["models/model.safetensors"] = record["weights_sha256"]
    there = {name}
    for out in outs:
        if out in SEALS:
            there.add(f"{out}/{SEALS[out]}")
        else:
            there |= {
                path.relative_to(root).as_posix() for path in (files_in(root / out) if (root / out).is_dir() else [root / out])
            }
    for path in sorted({*recorded, *there} - {name}):
        if _covers(known, path):
            continue
        if path not in recorded:
            yield Finding(FAIL, path, f"was not written by {stage} ({name}); remove it, or run '{rerun(stage)}'")
        elif not (root / path).is_file():
            yield Finding(FAIL, path, f"is missing, though {stage} wrote it ({name}); run '{rerun(stage)}'")
        else:
            right = files.sha256(root / path) == recorded[path]
            text = "as recorded" if right else f"is not what {stage} wrote ({name}); run '{rerun(stage)}'"
            yield Finding(OK if right else FAIL, path, text)


def _covers(known: Collection[str], path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in known)


def _check_code(
    root: Path, name: str, stage: str, record: Json, known: Collection[str], declared: Json, params: Any
) -> Iterator[Finding]:
    """Check that the code is that of the run, that what was added since has no part in it, and that imports are dependencies."""
    code: dict[str, str] = record["code"]
    sources = {}
    for path, recorded in code.items():
        file = root / path
        right = file.is_file() and files.sha256(file) == recorded
        way_out = "dvc repro" if _covers(known, path) else rerun(stage)
        text = "as recorded" if right else f"is not the code that {stage} ran with ({name}); change it back, or run '{way_out}'"
        yield Finding(OK if right else FAIL, path, text)
        if file.is_file() and file.suffix == ".py":
            sources[path] = file.read_text(encoding="utf-8", errors="replace")
    chosen = {section: params.get(section) for section in record["params"]} if isinstance(params, dict) else {}
    for path in sorted(_code_of(root, declared) - code.keys()):
        text = f"was added since {stage} ran ({name})"
        if _is_named(path, sources, repr(chosen)):
            yield Finding(FAIL, path, f"{text}, and its code may read it; remove it, or run '{rerun(stage)}'")
        else:
            yield Finding(NOTE, path, f"{text}; nothing that ran names it")
    yield from _check_imports(root, stage, sources, chosen)


def _is_named(path: str, sources: Mapping[str, str], settings: str) -> bool:
    """Return whether code or parameters name a file: a module by its name, any other file by its name or ending."""
    place = PurePosixPath(path)
    if place.suffix != ".py":
        texts = [source for each, source in sources.items() if each.startswith("src/plugins/")]
        return any(place.name in text or (place.suffix and f"{place.suffix}" in text) for text in texts)
    module = place.relative_to("src").with_suffix("")
    module = module.parent if module.name == "__init__" else module
    dotted = ".".join(module.parts)
    return any(dotted in text for text in (*sources.values(), settings)) or any(
        each.rpartition(".")[2] == module.name for source in sources.values() for each in _imported(source)
    )


def _code_of(root: Path, declared: Json) -> set[str]:
    found = set()
    for dep in (dep for dep in declared["deps"] if dep.startswith("src/")):
        place = root / dep
        found |= {path.relative_to(root).as_posix() for path in (files_in(place) if place.is_dir() else [place])}
    return found


def _check_imports(root: Path, stage: str, sources: Mapping[str, str], params: Any) -> Iterator[Finding]:
    """Check that modules below src that plug-ins import, or that params.yaml names, are dependencies of the stage."""
    names = {f"params.yaml: {key}": {value} for key, value in flatten(params) if key.endswith("._target_")}
    for path, source in sources.items():
        if path.startswith("src/plugins/"):
            names[path] = _imported(source)
    for importer, imported in names.items():
        for file in sorted(filter(None, {_file_of(root, str(module)) for module in imported})):
            if file not in sources:
                text = f"is used by {importer}, but no dependency of {stage}, so that nothing notices its edits"
                yield Finding(FAIL, file, f"{text}; move it into src/plugins")


def _imported(source: str) -> set[str]:
    found: set[str] = set()
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return found
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {each for alias in node.names for each in (node.module or alias.name, f"{node.module}.{alias.name}")}
    return found


def _file_of(root: Path, module: str) -> str | None:
    """Return the file of a module below src, or of the module that a class is in; None if it is of a package elsewhere."""
    parts = module.split(".")
    if parts[0] == "darkroom":  # tests hold that these are dependencies of the stages that reach them
        return None
    for length in range(len(parts), 0, -1):
        place = root.joinpath("src", *parts[:length])
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if candidate.is_file():
                return candidate.relative_to(root).as_posix()
    return None


def _check_versions(name: str, stage: str, record: Json) -> Iterator[Finding]:
    """Note other versions than are installed here: results of another machine are right, but may differ when computed here."""
    here = {each: _version(each) for each in record["packages"]}
    other = [f"{each} {value}, here {here[each] or 'none'}" for each, value in record["packages"].items() if here[each] != value]
    if record["python"] != platform.python_version():
        other.insert(0, f"Python {record['python']}, here {platform.python_version()}")
    if other:
        more = f" (and {len(other) - 3} more)" if len(other) > 3 else ""
        text = f"{stage} ran with {'; '.join(other[:3])}{more}: another run of it here may give other numbers"
        yield Finding(NOTE, name, text)


@cache  # each stage records the same packages
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
