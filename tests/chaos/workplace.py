"""A copy of this repository in which every stage is run again and again, with a fault, or from what a crash has left."""

import hashlib
import io
import shutil
import zipfile
from functools import cache
from pathlib import Path

from chaos import saboteur
from chaos.recorder import WATCHED
from chaos.saboteur import Fault
from clones import make_clone
from forked_stages import ForkedStages, Result

from darkroom.data.images import encode
from darkroom.sources.digits import list_digits

OUTS = {
    "download": ["data/download.json", "data/raw"],
    "split": ["data/split", "metrics/split"],
    # The weights and their card are one unit only by the hash in the card.
    "train": ["models/checkpoints", "models/model.json", "models/model.safetensors", "models/run.json", "metrics/train"],
    "evaluate": ["metrics/evaluate"],
    "predict": ["data/predictions"],
}
STATES = ".resume"
IMAGES_PER_CLASS = 20

Tree = dict[str, bytes]
"""Files and their content by relative path, and folders, whose path ends with a slash."""


class Workplace:
    """A copy of this repository in which every stage can be run again and again on the results of the stages before it."""

    def __init__(self, folder: Path):
        clone = make_clone(folder / "darkroom")
        clone.env["DVC_SITE_CACHE_DIR"] = str(folder / "site")
        archive = folder / "digits.zip"
        archive.write_bytes(digits())
        clone.edit({"source: digits": "source: archive", "archive: null": f"archive: {archive}", "epochs: 3": "epochs: 2"})
        clone.edit({"sha256: null": f"sha256: {hashlib.sha256(archive.read_bytes()).hexdigest()}"})
        clone.edit({"kwargs: {width: 8}": "kwargs: {width: 4, stages: 2}"})
        clone.edit({"watch: true": "watch: false"})  # its thread writes at any time, and faults come at the n-th write
        self.root = clone.path
        self.forked = ForkedStages(clone, saboteur.__file__)
        for stage in OUTS:
            assert self.run(stage).status == 0
        self.finished = self.tree()
        clone.edit({"lr: 0.01": "lr: 0.02"})
        assert self.run("train").status == 0
        self.other_model = models(self.tree())
        clone.edit({"lr: 0.02": "lr: 0.01"})
        files = [path for name in WATCHED for path in self._below(self.root / name) if path.is_file()]
        kept = {str(path.relative_to(self.root)): path.read_bytes() for path in files}
        self.outside = {path: content for path, content in kept.items() if path not in self.finished and STATES not in path}
        """What stands beside the outputs of the stages: .gitignore and the like."""

    def run(self, stage: str, fault: Fault | None = None) -> Result:
        return self.forked.run(stage, fault)

    def record(self, stage: str) -> Result:
        """Run a stage; the events of the result are what tests/chaos/recorder.py has recorded."""
        return self.forked.run(stage, "record")

    @cache  # noqa: B019 - there is one of them
    def undisturbed(self, stage: str) -> int:
        """Run a stage over what an earlier run has made, and return how often it writes."""
        self.restore(self.before(stage, first=False))
        result = self.run(stage)
        assert result.status == 0, result.err
        assert all(part(self.tree(), out) == part(self.finished, out) for out in OUTS[stage])
        return len(result.events)

    def tree(self) -> Tree:
        """Return what all stages have made, and the states of trainings."""
        found = (
            path for top in (*(out for outs in OUTS.values() for out in outs), STATES) for path in self._below(self.root / top)
        )
        return {
            str(path.relative_to(self.root)) + "/" * path.is_dir(): b"" if path.is_dir() else path.read_bytes() for path in found
        }

    def _below(self, path: Path) -> list[Path]:
        return [path, *sorted(path.rglob("*"))] if path.exists() else []

    def restore(self, tree: Tree) -> None:
        for path in sorted(self.tree(), reverse=True):
            (self.root / path).rmdir() if path.endswith("/") else (self.root / path).unlink()
        for path, content in sorted(tree.items()):
            if path.endswith("/"):
                (self.root / path).mkdir(parents=True)
            else:
                (self.root / path).write_bytes(content)
        for rest in self.rests():
            (self.root / rest).unlink()

    def rebuild(self, tree: Tree) -> None:
        """Let the folders that stages write to hold nothing but this."""
        for name in WATCHED:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for path, content in sorted(tree.items()):
            if path.endswith("/"):
                (self.root / path).mkdir(parents=True, exist_ok=True)
            else:
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                (self.root / path).write_bytes(content)

    def rests(self) -> list[str]:
        return [str(path.relative_to(self.root)) for path in self.root.rglob(".writing-*")]

    def before(self, stage: str, *, first: bool) -> Tree:
        """Return the files there are when a stage starts: none of its own at first, else those of an earlier run."""
        tree = {path: content for path, content in self.finished.items() if not path.startswith(STATES) or stage == "evaluate"}
        own = {path: content for path, content in tree.items() if belongs(path, OUTS[stage])}
        for path in own:
            del tree[path]
        if first:
            return tree
        old = {path: content if path.endswith("/") else content + b"old" for path, content in own.items()}
        more = {f"{out}/old": b"old" for out in OUTS[stage] if f"{out}/" in own}
        return tree | old | more | (self.other_model if stage == "train" else {})


def belongs(path: str, outs: list[str]) -> bool:
    return any(path == out or path.startswith(f"{out}/") for out in outs)


def part(tree: Tree, out: str) -> Tree:
    return {path: content for path, content in tree.items() if belongs(path, [out])}


def models(tree: Tree) -> Tree:
    """Return the files that are opened; run.json names its weights itself."""
    return {path: content for path, content in tree.items() if path.startswith("models/model.")}


def digits() -> bytes:
    """Return an archive of some of scikit-learn's scans as PNG files."""
    file, counts = io.BytesIO(), dict.fromkeys(range(10), 0)
    with zipfile.ZipFile(file, "w") as archive:
        for item in list_digits().items:
            decoded, label = item.read()
            counts[label] += 1
            if counts[label] <= IMAGES_PER_CLASS and not isinstance(decoded, bytes):
                archive.writestr(zipfile.ZipInfo(f"{label}/{item.id}.png"), encode(decoded.image))
    return file.getvalue()
