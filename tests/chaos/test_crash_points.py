"""A crash at any point of any stage: the same command then ends with the same bits.

A stage runs once and is recorded. Then the disk is rebuilt as `kill -9` or a power cut would have left it at some point, and the stage
runs again: over nothing and over an earlier run, and a training over what an earlier crash has left. `make test` rebuilds 24 disks,
`make test-all` 234, CHAOS=long 12 000. A case is repeated by its name: `CHAOS_CASE="train 2 torn 57 3" pytest tests/chaos/test_crash_points.py`.
"""

import base64
import itertools
import os
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from chaos.crashes import BARE, KILLED, TORN, after_crash, durable, points, told
from chaos.recorder import Known, numbered
from chaos.saboteur import TRIALS
from chaos.workplace import OUTS, STATES, Tree, Workplace, part

from darkroom.base.files import has_named_hash

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]
KINDS = (KILLED, BARE, TORN)
PARTS = 6
FIRST, CASES, LONG = 4, 7, 340  # of each stage: in the first part, in each other one, and in each of the long form
STUDY = "search/crash.journal"


class Case(NamedTuple):
    """A crash, and what it takes to repeat it."""

    stage: str
    start: int
    """0: the stage finds nothing of its own; 1: an earlier run; 2 and more: what a crash of the start before has left."""
    kind: str
    point: int
    seed: int

    def __str__(self) -> str:
        return " ".join(map(str, self))


class Crashes:
    """Records stages, and rebuilds what their crashes leave."""

    def __init__(self, place: Workplace):
        self.place = place
        self.records: dict[tuple[str, int], list[Any]] = {}
        self.right: set[tuple[str, bool, frozenset[tuple[str, bytes]]]] = set()
        """Disks from which the stage has ended well: other crashes leave the same one."""

    def recorded(self, stage: str, start: int) -> list[Any]:
        if (stage, start) not in self.records:
            self.prepare(stage, start)
            done = self.place.record(stage)
            assert done.status == 0, done.err
            self.records[stage, start] = done.events
        return self.records[stage, start]

    def prepare(self, stage: str, start: int) -> None:
        if start >= 2:  # the middle of the run before, so that the next crash comes in what goes on from it
            before = self.recorded(stage, start - 2)
            self.place.rebuild(after_crash(before, points(before)[len(points(before)) // 2], KILLED, 0))
        elif stage == "search":
            self.place.rebuild(self.place.outside)
        else:
            self.place.rebuild(self.place.outside | self.place.before(stage, first=start == 0))

    def cases(self, stage: str, starts: int, count: int, seed: int) -> list[Case]:
        """Return crashes at random points."""
        numbers = random.Random(f"{stage} {seed}")
        found = []
        for number in range(count):
            start = numbers.randrange(starts)
            at = numbers.randrange(len(points(self.recorded(stage, start))))
            found.append(Case(stage, start, KINDS[number % len(KINDS)], at, numbers.randrange(1000)))
        return found

    def disk(self, case: Case) -> tuple[Tree, list[Any], bool]:
        """Return what the crash leaves, the trials that had been told before it, and whether a state of the training had been saved."""
        records = self.recorded(case.stage, case.start)
        end = points(records)[min(case.point, len(points(records)) - 1)]
        saved = case.stage == "train" and durable(records, end, ".ckpt")
        return after_crash(records, end, case.kind, case.seed), told(records, end), saved

    def wrong(self, case: Case) -> str | None:
        """Return what should not be after the crash."""
        tree, promised, saved = self.disk(case)
        key = case.stage, saved, frozenset(tree.items())
        if key in self.right:
            return None
        self.place.rebuild(tree)
        saved = saved or any(has_named_hash(path) for path in (self.place.root / STATES).glob("*/*.ckpt"))
        done = self.place.run(case.stage)
        if done.status != 0:
            return f"{case}: ends with {done.status}: {done.err[-600:]}"
        faults = [f"leaves {rest}" for rest in self.place.rests()]
        if case.stage == "search":
            trials = done.out.split("\n")[:-1]
            kept = [line for line in trials if int(line.split()[0]) in promised]
            faults += [f"has {len(trials)} trials"] * (len(trials) != TRIALS)
            faults += ["has lost a finished trial"] * (len(kept) != len(promised))
        else:
            now = self.place.tree()
            wrong = [out for outs in OUTS.values() for out in outs if part(now, out) != part(self.place.finished, out)]
            faults += [f"{out} differs" for out in wrong]
            goes_on = "train: resuming" in done.out or "train: finished before" in done.out
            faults += ["begins again in spite of a saved state"] * (case.stage == "train" and saved and not goes_on)
        if faults:
            return f"{case}: {', '.join(faults)}"
        self.right.add(key)
        return None


@pytest.fixture(scope="module")
def crashes(place: Workplace) -> Iterator[Crashes]:
    yield Crashes(place)
    place.rebuild(place.outside | place.finished)


@pytest.mark.parametrize("part_of_all", [0, *(pytest.param(number, marks=pytest.mark.thorough) for number in range(1, PARTS))])
@pytest.mark.parametrize("stage", [*OUTS, "search"])
def test_crashes(stage: str, part_of_all: int, crashes: Crashes, *, long: bool) -> None:
    if wanted := os.environ.get("CHAOS_CASE"):
        name, start, kind, point, seed = wanted.split()
        cases = [Case(name, int(start), kind, int(point), int(seed))] if name == stage else []
    else:
        starts = {"train": 4, "search": 1}.get(stage, 2)
        count = LONG if long else CASES if part_of_all else FIRST
        cases = crashes.cases(stage, starts if part_of_all or long else min(starts, 2), count, part_of_all)
    wrong = [fault for case in cases if (fault := crashes.wrong(case))]
    print(f"\ncrashes {stage}: {len(cases)}, {len(wrong)} failures")
    assert not wrong, "\n".join(wrong)


def test_a_crash_that_is_not_survived_is_seen(crashes: Crashes) -> None:
    """Without any fsync, a disk that has the names and not the contents is among those that are rebuilt."""
    unsynced = [record for record in crashes.recorded("split", 0) if record[0] != "sync"]
    end = points(unsynced)[-1]
    whole = part(crashes.place.finished, "data/split")
    rebuilt = [part(after_crash(unsynced, end, TORN, seed), "data/split") for seed in range(30)]
    assert part(after_crash(unsynced, end, BARE, 0), "data/split") == {}
    assert any(tree.keys() == whole.keys() and tree != whole for tree in rebuilt)


def test_an_inode_that_is_given_again_is_another_file() -> None:
    numbers = itertools.count(1)
    folder = numbered({}, {7: True}, numbers)
    assert numbered(folder, {7: True, 8: False}, numbers) == {7: Known(1, is_folder=True), 8: Known(2, is_folder=False)}
    assert numbered(folder, {7: False}, numbers) == {7: Known(3, is_folder=False)}, "while nobody looked"
    assert numbered(numbered(folder, {}, numbers), {7: True}, numbers) == {7: Known(4, is_folder=True)}


@pytest.mark.parametrize("is_emptied", [False, True])
def test_what_was_synced_stays_when_more_is_appended_unless_the_file_is_emptied(is_emptied: bool) -> None:
    before, after = (base64.b64encode(content).decode() for content in (b"abc", b"abcdef"))
    synced = [["point"], ["create", 1, [0, "journal"], False], ["data", 1, before], ["sync", 1], ["sync", 0], ["point"]]
    records = [*synced, *[["emptied", 1]] * is_emptied, ["data", 1, after], ["point"]]
    left = {after_crash(records, len(records), TORN, seed)["journal"] for seed in range(50)}
    assert {b"abc", b"abcdef"} <= left
    assert len(left) > 2
    assert all(content.startswith(b"abc") for content in left) != is_emptied


@pytest.mark.parametrize("stage", OUTS)
def test_what_a_finished_stage_has_written_survives_a_power_cut(stage: str, crashes: Crashes) -> None:
    records = crashes.recorded(stage, 1)
    left = after_crash(records, len(records), BARE, 0)
    for out in OUTS[stage]:
        assert part(left, out) == part(crashes.place.finished, out), out
