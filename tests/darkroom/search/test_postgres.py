"""One study, four searches, a real PostgreSQL server; and one that goes away."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import program, running_server
from searching import assert_sound, close, open_trials, work

from darkroom.base.errors import InputError
from darkroom.search import trials as trials_module
from darkroom.search.storage import open_storage

pytestmark = [
    pytest.mark.skipif(program("initdb") is None, reason="no PostgreSQL server is installed"),
    pytest.mark.xdist_group("postgres"),
]
SEARCHES = 4


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


def test_four_searches_in_four_repositories_share_a_study(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them are killed, and their trials resumed by the others, which cannot see their locks."""
    monkeypatch.setattr(trials_module, "STALE_SECONDS", 2.0)
    monkeypatch.setattr(trials_module, "HEARTBEAT_SECONDS", 0.3)
    context = multiprocessing.get_context("fork")
    places = [tmp_path / str(number) for number in range(SEARCHES)]
    processes = [context.Process(target=work, args=(place, 12, address, 0.4)) for place in places]
    for process in processes:
        process.start()
    trials = open_trials(tmp_path / "watching", 12, address)
    while len({trial.user_attrs["owner"]["place"] for trial in trials.counted() if trial.state.is_finished()}) < SEARCHES:
        time.sleep(0.02)
    for process in processes[:2]:
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [-9, -9, 0, 0]
    assert_sound(trials, 12)
    assert len({trial.user_attrs["owner"]["place"] for trial in trials.counted()}) == SEARCHES
    close(trials)


def test_a_password_that_is_wrong_or_a_database_that_is_missing_is_one_line(address: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r'^params\.yaml: tune\.storage: .* cannot be used \(.*"nothing" does not exist'
    ) as error:
        open_storage(address.replace("/postgres", "/nothing"), tmp_path, "mine")
    assert "\n" not in str(error.value)
