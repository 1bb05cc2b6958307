"""Storages of studies, and the errors of damaged or unreachable ones."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError

from darkroom.base.errors import InputError, RunError
from darkroom.search import storage as storage_module
from darkroom.search.storage import JournalLock, faults, open_storage


def journal_of(root: Path, num_trials: int = 3) -> Path:
    storage, address = open_storage(None, root, "mine")
    study = optuna.create_study(study_name="mine", storage=storage)
    for _ in range(num_trials):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))
    return Path(address)


def values(root: Path) -> list[float]:
    storage, _ = open_storage(None, root, "mine")
    return [trial.value for trial in optuna.load_study(study_name="mine", storage=storage).trials if trial.value is not None]


def test_a_record_that_a_kill_has_cut_off_costs_itself_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = journal_of(tmp_path)
    before = values(tmp_path)
    whole = path.read_bytes()
    for cut in range(1, 60):
        path.write_bytes(whole[:-cut])
        assert len(values(tmp_path)) in (len(before), len(before) - 1)
        assert path.read_bytes().endswith(b"\n")
    assert "its last record is incomplete" in capsys.readouterr().err
    # What is written next begins a line of its own.
    study = optuna.load_study(study_name="mine", storage=open_storage(None, tmp_path, "mine")[0])
    study.tell(study.ask(), 0.5)
    assert values(tmp_path)[-1] == 0.5


def test_damage_within_a_journal_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    path = journal_of(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:3], b"\0" * 7 + lines[3][7:], *lines[4:]])
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"mine\.journal:4: is damaged; restore the file from a backup"):
        open_storage(None, tmp_path, "mine")
    assert path.read_bytes() == damaged


def test_a_writer_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    path = journal_of(tmp_path)

    def hold() -> None:
        JournalLock(path).acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    process.join()
    start = time.monotonic()
    assert len(values(tmp_path)) == 3
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (
            "postgresql://me:secret@127.0.0.1:1/studies",
            r"params\.yaml: tune\.storage: postgresql://me:\*\*\*@127\.0\.0\.1:1/studies cannot be used",
        ),
        ("nonsense://x", r"params\.yaml: tune\.storage: nonsense://x cannot be used"),
        ("sqlite:////nowhere/at/all.db", r"params\.yaml: tune\.storage: sqlite:////nowhere/at/all\.db cannot be used"),
    ],
)
def test_a_database_out_of_reach_is_one_line_without_the_password(tmp_path: Path, address: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        open_storage(address, tmp_path, "mine")
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_database_that_is_damaged_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match=r"x\.db cannot be used \(.*file is not a database"):
        open_storage(f"sqlite:///{tmp_path}/x.db", tmp_path, "mine")


def test_a_database_that_goes_away_is_one_line(tmp_path: Path) -> None:
    storage, _ = open_storage(f"sqlite:///{tmp_path}/x.db", tmp_path, "mine")
    study = optuna.create_study(study_name="mine", storage=storage)
    (tmp_path / "x.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(RunError, match="the study cannot be read or written"), faults("x.db"):
        study.ask()


def test_an_attempt_that_others_cross_leaves_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backends = []
    make = RDBStorage.__init__

    def crossed(self: RDBStorage, *arguments: object, **named: object) -> None:
        make(self, *arguments, **named)  # type: ignore[arg-type]
        backends.append(self.engine)
        if len(backends) == 2:  # the first one has made the file
            assert self.engine.pool.checkedin()  # type: ignore[attr-defined]
            raise IntegrityError("CREATE TABLE", {}, Exception())

    monkeypatch.setattr(RDBStorage, "__init__", crossed)
    monkeypatch.setattr(storage_module.time, "sleep", lambda _: None)
    opened, _ = open_storage(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, "mine")
    assert len(backends) == 3
    assert backends[1].pool.checkedin() == 0
    assert isinstance(opened, RDBStorage)
    opened.engine.dispose()
