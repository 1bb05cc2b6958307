"""A fault of the disk at any write of any stage: one line, earlier results are kept, and the same command then succeeds.

`make test` takes one place of every stage for each kind of fault, `make test-all` five, CHAOS=long every write.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from chaos import saboteur
from chaos.saboteur import REMOVALS, Fault
from clones import make_clone
from forked_stages import ForkedStages, Result

from darkroom.data.images import encode
from darkroom.sources.digits import list_digits

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

OUTS = {
    "download": ["data/download.json", "data/raw"],
    "split": ["data/split", "metrics/split"],
    # The weights and their card are one unit only by the hash in the card.
    "train": ["models/checkpoints", "models/model.json", "models/model.safetensors", "models/run.json", "metrics/train"],
    "evaluate": ["metrics/evaluate"],
    "predict": ["data/predictions"],
}
STATES = ".resume"
KINDS = ("ENOSPC", "EACCES", "EIO", "short", "size")
SAMPLES = 5  # of each stage and kind
SIZES = [0, 1, 10, *(int(100 * 2 ** (step / 2)) for step in range(24))]  # bytes, up to 290 kB
IMAGES_PER_CLASS = 20

Tree = dict[str, bytes]
"""Files and their content by relative path, and folders, whose path ends with a slash."""


class Workplace:
    """A copy of this repository in which every stage can be run again and again on the results of the stages before it."""

    def __init__(self, folder: Path):
        clone = make_clone(folder / "darkroom")
        clone.env["DVC_SITE_CACHE_DIR"] = str(folder / "site")
        clone.env["OMP_NUM_THREADS"] = "1"  # the networks are too small for more
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

    def run(self, stage: str, fault: Fault | None = None) -> Result:
        return self.forked.run(stage, fault)

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


@dataclass
class Case:
    """A stage with a fault, and the check of how it ends."""

    place: Workplace
    stage: str
    fault: Fault
    first: bool

    def wrong(self) -> str | None:
        """Run it, then run the stage again; return what should not be."""
        place, before = self.place, self.place.before(self.stage, first=self.first)
        place.restore(before)
        result = place.run(self.stage, self.fault)
        after, rests, opened = place.tree(), place.rests(), place.run("load").status == 0
        event = result.events[self.fault.number] if self.fault.kind != "size" and self.fault.number < len(result.events) else None
        again = place.run(self.stage)
        faults = [
            *self._told(result, event),
            *self._kept(before, after, succeeded=result.status == 0, opened=opened),
            *(f"leaves {rest}" for rest in rests if not (event and event[0] in REMOVALS)),
            *self._repeated(after, again),
        ]
        start = "first run" if self.first else "over an earlier run"
        return (
            f"{self.stage} ({start}), {self.fault.kind} {self.fault.number} {event or ''}: " + "; ".join(faults)
            if faults
            else None
        )

    def _told(self, result: Result, event: list[str] | None) -> Iterator[str]:
        lines = [line for line in result.err.splitlines() if not line.startswith("warning: ")]
        if result.status == 0:
            if lines:
                yield f"succeeds, but says {result.err!r:.300}"
            return
        if result.status not in (1, 2):
            yield f"exit status {result.status}"
        if len(lines) != 1 or not lines[0].startswith("error: "):
            yield f"says {result.err[-600:]!r}"
            return
        name = lines[0].removeprefix("error: ").split(": ")[0]
        path = self.place.root / name
        known = ("/" in name and path.parent.is_dir()) or path.exists() or ".writing-" in name
        if not known and not (event and Path(event[1]).name == name):
            yield f"names no file or folder: {lines[0]!r}"

    def _kept(self, before: Tree, after: Tree, *, succeeded: bool, opened: bool) -> Iterator[str]:
        new = self.place.finished
        for stage, outs in OUTS.items():
            for out in outs:
                allowed = [new] if succeeded and stage == self.stage else [new, before] if stage == self.stage else [before]
                if part(after, out) not in [part(tree, out) for tree in allowed]:
                    yield f"{out} is neither as it was nor new ({'missing' if not part(after, out) else 'changed'})"
        if opened and models(after) not in (models(new), models(before)):
            yield "weights and card do not belong together, and are opened"

    def _repeated(self, after: Tree, again: Result) -> Iterator[str]:
        if again.status != 0:
            yield f"run again, it fails: {again.err!r:.500}"
            return
        new, now = self.place.finished, self.place.tree()
        yield from (f"run again, {out} differs" for outs in OUTS.values() for out in outs if part(now, out) != part(new, out))
        yield from (f"run again, it leaves {rest}" for rest in self.place.rests())
        goes_on = "train: resuming" in again.out or "train: finished before" in again.out
        if self.stage == "train" and any(path.endswith(".ckpt") for path in after) and not goes_on:
            yield "run again, it does not go on from the state that was saved"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    made = Workplace(tmp_path_factory.mktemp("faults"))
    yield made
    made.forked.close()


def chosen(numbers: list[int], shift: int, part: int, *, long: bool) -> list[int]:
    """Return one of the numbers, another one for each shift and part, spread over all; or the part's share of all of them."""
    step = len(numbers) / SAMPLES
    return numbers[part::SAMPLES] if long else [numbers[int(step * (part + shift / len(KINDS)))]]


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.thorough) for part in range(1, SAMPLES))])
@pytest.mark.parametrize("stage", OUTS)
def test_faults_of_the_disk(stage: str, part: int, place: Workplace, *, long: bool) -> None:
    writes = place.undisturbed(stage)
    cases = []
    for shift, kind in enumerate(KINDS):
        for number in chosen(SIZES if kind == "size" else list(range(writes)), shift, part, long=long):
            starts = (False, True) if long else ((shift + part) % 2 == 1,)
            cases += [Case(place, stage, Fault(kind, number), first) for first in starts]
    wrong = [told for case in cases if (told := case.wrong())]
    print(f"\nfaults {stage}: {len(cases)} cases at {writes} writes, {len(wrong)} failures")
    assert writes >= SAMPLES
    assert not wrong, "\n".join(wrong)
