"""Small repositories with results, made by hand: commits, experiments, a cache, logs; no stage runs."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repositories import cache, git, lock_text, write

from darkroom.history.overview import Overview, Request, read_overview
from darkroom.repository.git import reference
from darkroom.versions.recorded import EVALUATE, RUN, WEIGHTS
from darkroom.versions.yaml_blocks import read_mapping

NOW = 1_800_000_000
PARAMS = """\
# Comments stay.
base:
  seed: 0
train:
  lr: 0.01                  # of the optimizer
  batch_size: 64
  optimizer:
    _target_: torch.optim.AdamW
    weight_decay: 0.01
  augment:
  - _target_: darkroom.input.augment.RandomShift
    pixels: 1
  monitor: val/accuracy
evaluate:
  batch_size: 256
hardware:
  watch: true
tune:
  trials: 20
"""


def params_with(**changes: Any) -> str:
    """Return the parameters with others in place: `lr=0.1`, of any section."""
    text = PARAMS
    for key, value in changes.items():
        start = text.index(f"  {key}: ")
        text = f"{text[:start]}  {key}: {value}\n{text[text.index(chr(10), start) + 1 :]}"
    return text


def lock_of(params: str, weights: str, *, stages: tuple[str, ...] = ("train", "evaluate"), **extra: str) -> str:
    """Return a dvc.lock as DVC writes it."""
    content = read_mapping(params)
    train = {"data/raw": extra.get("raw", "0" * 32), "src/train.py": extra.get("code", "1" * 32)}
    locked = {
        "train": {"deps": train, "outs": {WEIGHTS: weights, RUN: extra.get("run", "2" * 32)}},
        "evaluate": {
            "deps": {WEIGHTS: extra.get("measured", weights)},
            "outs": {EVALUATE: extra.get("evaluated", "3" * 32 + ".dir")},
        },
    }
    sections = {"train": ("base", "train"), "evaluate": ("evaluate",)}
    return lock_text(
        {name: locked[name] | {"params": {section: content[section] for section in sections[name]}} for name in stages}
    )


def results(val: float, test: float | None = None, *, params: str = PARAMS, **extra: str) -> dict[str, str]:
    """Return the files that a state of the project has; without `test` those of a trial."""
    weights = extra.pop("weights", hashlib.md5(f"{val} {test} {params}".encode(), usedforsecurity=False).hexdigest())
    published = {"published": {"epoch": 3, "accuracy": val, "loss": 0.5}}
    evaluated = {} if test is None else {"val": {"accuracy": val, "loss": 0.2}, "test": {"accuracy": test, "loss": 0.3}}
    return {
        "params.yaml": params,
        "dvc.lock": lock_of(params, weights, stages=("train",) if test is None else ("train", "evaluate"), **extra),
        "metrics/train.json": json.dumps(published),
        "metrics/evaluate.json": json.dumps(evaluated),
    }


class Work:
    """A repository in which somebody works, made by `git fast-import`.

    Parameters
    ----------
    folder
        The project, at the top of its repository or below.
    prefix
        Its path in the repository.
    """

    def __init__(self, top: Path, prefix: str = ""):
        self.top, self.prefix = top, prefix
        self.root = top / prefix
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        (self.root / ".dvc").mkdir()
        self.commit({"params.yaml": PARAMS, "README.md": "the template"}, "The template", age=900_000)

    def git(self, *arguments: str, given: bytes = b"") -> str:
        return git(self.top, *arguments, given=given)

    def commit(self, files: Mapping[str, str | None], message: str, *, age: float = 3600, branch: str = "main") -> str:
        """Commit files on a branch, which may be the one that is checked out; None removes one."""
        self._import([self._stream(f"refs/heads/{branch}", files, message, age, self._tip(branch))])
        if self.git("symbolic-ref", "--short", "HEAD") == branch:
            self.git("reset", "-q", "--hard")
        return self.git("rev-parse", branch)

    def experiment(self, name: str, files: Mapping[str, str], *, message: str = "dvc: commit experiment", age: float = 60) -> str:
        """Record an experiment that starts from HEAD."""
        self.experiments({name: files}, message=message, age=age)
        return self.git("rev-parse", reference(self.git("rev-parse", "HEAD"), name))

    def experiments(self, named: Mapping[str, Mapping[str, str]], *, message: str | None = None, age: float = 60) -> None:
        """Record many; by default with the message of a trial."""
        head = self.git("rev-parse", "HEAD")
        self._import(
            [self._stream(reference(head, name), files, message or f"{name}: lr", age, head) for name, files in named.items()]
        )

    def write(self, files: Mapping[str, str]) -> None:
        """Change the workspace."""
        write(self.root, files)

    def cache(self, content: Any, *, suffix: str = "") -> str:
        """Put JSON into DVC's cache, and return its MD5."""
        return cache(self.root, json.dumps(content).encode(), suffix=suffix)

    def cache_folder(self, name: str, content: Any) -> str:
        """Put a folder of one file into DVC's cache, and return its MD5."""
        return self.cache([{"md5": self.cache(content), "relpath": name}], suffix=".dir")

    def show(self, *names: str, **request: Any) -> Overview:
        return read_overview(self.root, self.root / "logs", Request(names=names, **request), NOW)

    def _tip(self, branch: str) -> str:
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def _stream(self, ref: str, files: Mapping[str, str | None], message: str, age: float, parent: str) -> bytes:
        text = message.encode(errors="surrogateescape")
        lines = [f"commit {ref}\ncommitter T <t@x> {int(NOW - age)} +0000\n".encode(), b"data %d\n%b\n" % (len(text), text)]
        lines += [f"from {parent}\n".encode()] if parent else []
        for name, content in files.items():
            if content is None:
                lines.append(f"D {json.dumps(name)}\n".encode())
                continue
            data = content.encode(errors="surrogateescape")
            path = json.dumps(f"{self.prefix}/{name}" if self.prefix else name)
            lines.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data))
        return b"".join(lines)

    def _import(self, streams: list[bytes]) -> None:
        self.git("fast-import", "--quiet", given=b"".join(streams))
