"""How long trainings took, from logs in any state."""

from datetime import datetime
from pathlib import Path

import pytest

from darkroom.versions.durations import logs_in, minutes_of

START = datetime(2026, 11, 30, 5, 0, 0)


def minutes(logs: Path, table: bytes, name: str = "slow") -> float | None:
    folder = logs / f"2026-11-30_05-00-00_{name}"
    folder.mkdir(parents=True)
    (folder / "machine.csv").write_bytes(table)
    return minutes_of(logs_in(logs), ["other", name], None)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("05:00:30,1\n2026-11-30 05:01:00,1\n", 1.0),
        ("05:00:30,1\n2026-11-30 07:00:00,1\n2026-11-30 07:00:30,1\n", 1.0),
        ("05:00:30,1\n2026-11-30 05:0", 0.5),
        ("05:00:30,1\n\x00\xff\n", 0.5),
    ],
)
def test_pauses_and_torn_lines_do_not_count(tmp_path: Path, rows: str, expected: float) -> None:
    assert minutes(tmp_path, f"time,step\n2026-11-30 {rows}".encode()) == expected


@pytest.mark.parametrize("table", [b"", b"time,step\n", b"\x00"])
def test_without_a_sample_nothing_is_known(tmp_path: Path, table: bytes) -> None:
    assert minutes(tmp_path, table) is None


def test_of_a_training_of_days_only_the_ends_are_read(tmp_path: Path) -> None:
    middle = b"2026-11-30 06:00:00," + b"1" * 1000 + b"\n"
    assert minutes(tmp_path, b"time,step\n" + middle * 2000 + b"2026-12-01 05:00:00,1\n") == 24 * 60


def test_of_several_trainings_the_last_before_the_result_counts(tmp_path: Path) -> None:
    for start, second in (("05-00-00", 30), ("06-00-00", 15)):
        folder = tmp_path / f"2026-11-30_{start}_slow"
        folder.mkdir()
        (folder / "machine.csv").write_text(f"time\n2026-11-30 {start[:5].replace('-', ':')}:{second}\n")
    assert minutes_of(logs_in(tmp_path), ["slow"], START.timestamp() + 60) == 0.5
    assert minutes_of(logs_in(tmp_path), ["slow"], START.timestamp() + 7200) == 0.25
    assert minutes_of(logs_in(tmp_path), ["slow"], START.timestamp() - 60) is None
    assert minutes_of(logs_in(tmp_path / "nothing"), ["slow"], None) is None
