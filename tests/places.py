"""A small project of DVC in every place where Git may put it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from repositories import shell, write

CONTENT = b"what the stage made"
DIGEST = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
FILES = {
    "params.yaml": "train: {lr: 0.01}\n",
    "dvc.yaml": "stages:\n  train:\n    cmd: python make.py\n    outs:\n    - models/model.json\n",
    "dvc.lock": "schema: '2.0'\nstages:\n  train:\n    cmd: python make.py\n    outs:\n"
    f"    - {{path: models/model.json, hash: md5, md5: {DIGEST}, size: {len(CONTENT)}}}\n",
    ".dvc/config": "[core]\n    analytics = false\n",
    ".dvc/.gitignore": "/tmp\n/cache\n/config.local\n",
    "models/.gitignore": "/model.json\n",
}
AWKWARD = "Doe, Jo #1; 50% of \"é\" [x] * 'y' $HOME & more "


def make_project(folder: Path) -> Path:
    write(folder, FILES)
    return folder


def add_cache(cache: Path) -> None:
    stored = cache / "files" / "md5" / DIGEST[:2] / DIGEST[2:]
    stored.parent.mkdir(parents=True)
    stored.write_bytes(CONTENT)


def at_the_top(folder: Path) -> Path:
    project = make_project(folder / "darkroom")
    shell("git init -q && git add -A && git commit -qm start && git commit -q --allow-empty -m second", project)
    return project


def in_a_folder(folder: Path) -> Path:
    project = make_project(folder / "all" / "ml, [1]" / "darkroom #2")
    (folder / "all" / "params.yaml").write_text("of: another project\n")
    shell("git init -q && git add -A && git commit -qm start", folder / "all")
    return project


def awkward(folder: Path) -> Path:
    return at_the_top(folder / AWKWARD)


def in_a_worktree(folder: Path) -> Path:
    shell("git worktree add -q -b other ../other", at_the_top(folder))
    return folder / "other"


def in_a_submodule(folder: Path) -> Path:
    source = at_the_top(folder)
    (folder / "all").mkdir()
    add = f"git -c protocol.file.allow=always submodule --quiet add {source} vision"
    shell(f"git init -q && {add} && git commit -qm vision", folder / "all")
    return folder / "all" / "vision"


def shallow(folder: Path) -> Path:
    shell(f"git clone -q --depth 1 file://{at_the_top(folder)} shallow", folder)
    return folder / "shallow"


def detached(folder: Path) -> Path:
    project = at_the_top(folder)
    shell("git checkout -q --detach", project)
    return project


PLACES: list[Callable[[Path], Path]] = [at_the_top, in_a_folder, awkward, in_a_worktree, in_a_submodule, shallow, detached]
