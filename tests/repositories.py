"""Repositories and what DVC keeps in them, made by hand: commits, a cache, a dvc.lock; no stage runs."""

import hashlib
import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

IDENTITY = ("-c", "user.name=Tester", "-c", "user.email=tester@localhost")


def git(folder: Path, *arguments: str, given: bytes = b"") -> str:
    """Return what Git prints in a folder; commits are Tester's."""
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, input=given, capture_output=True, check=True)
    return done.stdout.decode().strip()


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        (folder / name).write_bytes(data)


def cache(project: Path, content: bytes, *, suffix: str = "") -> str:
    """Put a file into DVC's cache, and return its MD5; the list of a folder has the suffix `.dir`."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    write(project, {f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}": content})
    return md5


def lock_text(stages: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return a dvc.lock as DVC writes it; of a stage `params` are those of params.yaml, `deps` and `outs` have MD5s by path."""

    def written(kind: str, values: Mapping[str, Any]) -> Any:
        if kind == "params":
            return {"params.yaml": dict(values)}
        return [{"path": path, "hash": "md5", "md5": md5, "size": 1} for path, md5 in values.items()]

    content = {
        name: {"cmd": f"python src/{name}.py"}
        | {kind: written(kind, stage[kind]) for kind in ("deps", "params", "outs") if kind in stage}
        for name, stage in stages.items()
    }
    text = io.StringIO()
    YAML().dump({"schema": "2.0", "stages": content}, text)
    return text.getvalue()


def shell(command: str, folder: Path) -> str:
    """Return what commands print; they end with the first that fails."""
    return subprocess.run(["bash", "-ec", command], cwd=folder, check=True, capture_output=True, text=True).stdout
