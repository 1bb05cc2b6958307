"""A fault of the disk at any write of any stage: one line, what stood there still stands, and the same command then ends well.

Stages run in forks of a process that has imported all they need. There a fault comes at the n-th time that something is written:
a file opened, a folder made, a name changed or removed, a content synced. A limit on the size of files reaches those libraries
that write for themselves (safetensors, Arrow, torch).
"""

import errno
import hashlib
import importlib
import io
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.slow]

OUTS = {
    "download": ["data/raw"],
    "split": ["data/split", "metrics/split"],
    # The weights and their card are one unit only by the hash in the card.
    "train": ["models/checkpoints", "models/model.json", "models/model.safetensors", "models/run.json", "metrics/train"],
    "evaluate": ["metrics/evaluate"],
    "predict": ["data/predictions"],
}
STATES = ".resume"
KINDS = ("ENOSPC", "EACCES", "EIO", "short", "size")
SAMPLES = 5  # of each stage and kind; CHAOS=long takes them all
SIZES = [0, 1, 10, *(int(100 * 2 ** (step / 2)) for step in range(24))]  # bytes, up to 290 kB
SHORT = 100  # bytes
CASE_SECONDS = 120
IMAGES_PER_CLASS = 20

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events of Python's audit hooks, and the number of their arguments that are paths.
WRITES = {"os.rename": 2, "os.mkdir": 1, "os.chmod": 1, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1, "tempfile.mkstemp": 1}
REMOVALS = ("os.remove", "os.rmdir")
# What needs room on the disk, and goes on failing once the disk is full.
GROWING = ("open", "os.mkdir", "tempfile.mkstemp", "os.fsync")

Tree = dict[str, bytes]
"""Files and their content by relative path, and folders, whose path ends with a slash."""


class Fault(NamedTuple):
    """What goes wrong at the n-th write: an errno, or from there on no file grows beyond 100 bytes (`short`).

    Or no file grows beyond `number` bytes from the start (`size`).
    """

    kind: str
    number: int


class Result(NamedTuple):
    """How a stage ended, and what it wrote: pairs of event and path."""

    status: int
    out: str
    err: str
    events: list[list[str]]


# In the process that forks.


def serve(root: Path) -> None:
    """Answer each line of standard input, a stage and a fault, with how the stage ended."""
    sys.path[0] = str(root / "src")
    os.chdir(root)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    modules = [
        *OUTS,
        "darkroom.training.fit",
        "darkroom.inference.predict",
        "timm",
        "sklearn.model_selection",
        "pyarrow.parquet",
    ]
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        stage, fault = json.loads(line)
        answers.write(json.dumps(forked(stage, fault and Fault(*fault), root)) + "\n")
        answers.flush()


def forked(stage: str, fault: Fault | None, root: Path) -> Result:
    """Run a stage in a child process."""
    pipes = {name: os.pipe() for name in ("out", "err", "events")}
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = run_stage(stage, fault, root, {name: write for name, (_, write) in pipes.items()})
        finally:
            os._exit(status)
    for _, write in pipes.values():
        os.close(write)
    content = read_all({name: read for name, (read, _) in pipes.items()})
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Result(status, content["out"], content["err"], [json.loads(line) for line in content["events"].splitlines()])


def read_all(pipes: dict[str, int]) -> dict[str, str]:
    content = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for name, pipe in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _ in selector.select():
                if block := os.read(key.fd, 1 << 16):
                    content[key.data] += block
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return {name: value.decode(errors="replace") for name, value in content.items()}


def run_stage(stage: str, fault: Fault | None, root: Path, pipes: dict[str, int]) -> int:
    """Run a stage as `python src/<stage>.py` does, with a fault, and return its exit status."""
    from darkroom.command import run_command

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(pipes["out"], 1)
    os.dup2(pipes["err"], 2)
    sys.argv = [f"src/{stage}.py"]
    signal.alarm(CASE_SECONDS)
    main = importlib.import_module(stage).main if stage in OUTS else load
    Saboteur(fault, root, pipes["events"]).begin()
    try:
        run_command(main)
    except BaseException:
        traceback.print_exc()
    return 1


def load() -> None:
    """Open the published model."""
    from darkroom import paths
    from darkroom.models.saving import load_model
    from darkroom.params_file import load_params

    load_model(paths.MODELS, load_params(paths.PARAMS))


class Saboteur:
    """Lists everything that is written below a folder, and makes one of it fail."""

    def __init__(self, fault: Fault | None, root: Path, log: int):
        self.fault, self.root, self.log = fault, str(root), log
        self.count = 0

    def begin(self) -> None:
        """Watch this process from here on."""
        if self.fault and self.fault.kind == "size":
            self.limit(self.fault.number)
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            self.happens("os.fsync", Path(f"/proc/self/fd/{descriptor}").readlink(), named=False)
            sync(descriptor)

        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(self.watch)

    def limit(self, size: int) -> None:
        """Let no file grow beyond a size; Python ignores the signal that comes with it, so that writing fails with EFBIG."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(arguments[2], int) and arguments[2] & WRITE_FLAGS and not isinstance(arguments[0], int):
                self.happens(event, arguments[0])
        elif event in WRITES and not isinstance(arguments[0], int):
            path = arguments[WRITES[event] - 1]
            # What is removed may be named within a folder whose descriptor comes last.
            folder = arguments[-1] if event in REMOVALS and arguments[-1] >= 0 else None
            self.happens(event, path, "" if folder is None else f"/proc/self/fd/{folder}/")

    def happens(self, event: str, path: Any, folder: str = "", *, named: bool = True) -> None:
        """Count a write, and fail if it is its turn; as from the system, an error names a path only where one was given."""
        name = os.fsdecode(path)
        place = os.path.join(os.path.realpath(os.path.dirname(folder + name)), os.path.basename(name))  # noqa: PTH118, PTH119, PTH120
        # What is there already is not made, what is not there is not removed.
        idle = (event == "os.mkdir") if Path(place).is_dir() else (event in REMOVALS and not os.path.lexists(place))
        if idle or not place.startswith(self.root + "/"):
            return
        number, self.count = self.count, self.count + 1
        os.write(self.log, (json.dumps([event, place.removeprefix(self.root + "/")]) + "\n").encode())
        if self.fault is None or self.fault.kind == "size":
            return
        if self.fault.kind == "short":
            if number == self.fault.number:
                self.limit(SHORT)
            return
        still_full = self.fault.kind == "ENOSPC" and number > self.fault.number and event in GROWING
        if number == self.fault.number or still_full:
            code = getattr(errno, self.fault.kind)
            raise OSError(code, os.strerror(code), *([name] if named else []))


# In the process of the test.


class Workplace:
    """A copy of this repository in which stages run, as often as one likes, from what the stages before them have made."""

    def __init__(self, folder: Path):
        # Imported here, since the process that forks has to import darkroom from the copy.
        from clones import make_clone

        clone = make_clone(folder / "darkroom")
        clone.env["DVC_SITE_CACHE_DIR"] = str(folder / "site")
        clone.env["OMP_NUM_THREADS"] = "1"  # the networks are too small for more
        archive = folder / "digits.zip"
        archive.write_bytes(digits())
        clone.edit({"source: digits": "source: archive", "archive: null": f"archive: {archive}", "epochs: 3": "epochs: 2"})
        clone.edit({"sha256: null": f"sha256: {hashlib.sha256(archive.read_bytes()).hexdigest()}"})
        clone.edit({"kwargs: {width: 8}": "kwargs: {width: 4, stages: 2}"})
        clone.edit({"watch: true": "watch: false"})  # its thread writes when it likes, and faults come at the n-th write
        for stage in OUTS:
            clone.run(f"python src/{stage}.py")
        self.root = clone.path
        self.server = subprocess.Popen(
            [sys.executable, __file__, str(self.root)],
            env=clone.env | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.finished = self.tree()
        clone.edit({"lr: 0.01": "lr: 0.02"})
        assert self.run("train").status == 0
        self.other_model = models(self.tree())
        clone.edit({"lr: 0.02": "lr: 0.01"})

    def close(self) -> None:
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()

    def run(self, stage: str, fault: Fault | None = None) -> Result:
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps([stage, fault]) + "\n")
        self.server.stdin.flush()
        return Result(*json.loads(self.server.stdout.readline()))

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
        """Return what stands there when a stage starts: nothing of its own at first, else what an earlier run has made."""
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
    """Return what is opened; run.json says itself of which weights it is."""
    return {path: content for path, content in tree.items() if path.startswith("models/model.")}


def digits() -> bytes:
    """Return an archive of some of scikit-learn's scans as PNG files."""
    from darkroom.data.images import encode
    from darkroom.sources.digits import list_digits

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
    """A stage with a fault, and what is wrong with how it took it."""

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
    made.close()


def sampled(numbers: list[int], shift: int) -> list[int]:
    """Return some of the numbers, spread over all of them; with another shift others."""
    step = len(numbers) / SAMPLES
    return sorted({numbers[int(step * (place + shift / len(KINDS)))] for place in range(SAMPLES)})


@pytest.mark.parametrize("stage", OUTS)
def test_faults_of_the_disk(stage: str, place: Workplace, long: bool) -> None:
    place.restore(place.before(stage, first=False))
    undisturbed = place.run(stage)
    assert undisturbed.status == 0, undisturbed.err
    assert all(part(place.tree(), out) == part(place.finished, out) for out in OUTS[stage])
    cases = []
    for shift, kind in enumerate(KINDS):
        numbers = SIZES if kind == "size" else list(range(len(undisturbed.events)))
        for number in numbers if long else sampled(numbers, shift):
            starts = (False, True) if long else (len(cases) % 2 == 1,)
            cases += [Case(place, stage, Fault(kind, number), first) for first in starts]
    wrong = [told for case in cases if (told := case.wrong())]
    print(f"\nfaults {stage}: {len(cases)} cases at {len(undisturbed.events)} writes, {len(wrong)} failures")
    assert len(undisturbed.events) >= SAMPLES
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    serve(Path(sys.argv[1]).resolve())
