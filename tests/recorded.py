"""A repository with an experiment that was recorded before the modules moved (tests/fixtures/recorded), and today's code above it."""

import tarfile
from pathlib import Path

from clones import ROOT, Clone, copy_files

FIXTURE = ROOT / "tests" / "fixtures" / "recorded"
# The branch of the recorded run, and the experiment that started from it.
BASELINE, EXPERIMENT = "recorded", "reference"
# What the recorded run changed in its params.yaml, by today's names.
CHANGES = {
    "source: digits": "source: folder",
    "kwargs: {}": "kwargs: {width: 4}",
    "epochs: 20": "epochs: 3",
    "batch_size: 64": "batch_size: 16",
    "num_images: 32": "num_images: 4",
}


def make_recorded_clone(path: Path) -> Clone:
    """Return a repository whose branch `main` has today's files in one commit above `recorded`; its cache is DVC's of that run."""
    path.mkdir(parents=True)
    clone = Clone(path)
    clone.run("git init -q -b main")
    clone.run(f"git fetch -q {FIXTURE / 'history.bundle'} main:refs/heads/{BASELINE} 'refs/exps/*:refs/exps/*'")
    clone.run(f"git reset -q --soft {BASELINE}")
    copy_files(path)
    with tarfile.open(FIXTURE / "files.tar.xz") as archive:
        # Python 3.11.2, which Debian 12 has, knows no filters; the archive is the repository's own.
        archive.extractall(path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    clone.edit(CHANGES)
    clone.run("git add -A && git commit -q -m today")
    return clone
