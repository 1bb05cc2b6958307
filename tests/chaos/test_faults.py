"""A fault of the disk at any write of any stage: one line, earlier results are kept, and the same command then succeeds.

`make test` takes one place of every stage for each kind of fault, `make test-all` five, CHAOS=long every write.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos.saboteur import REMOVALS, Fault
from chaos.workplace import OUTS, Tree, Workplace, models, part
from forked_stages import Result

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

KINDS = ("ENOSPC", "EACCES", "EIO", "short", "size")
SAMPLES = 5  # of each stage and kind
SIZES = [0, 1, 10, *(int(100 * 2 ** (step / 2)) for step in range(24))]  # bytes, up to 290 kB


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
