"""DVC from a warm process runs as it does from a cold one: folder, environment, log, status, signals."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml, parse_yaml_for_update
from ruamel.yaml import YAML

from darkroom.experiments.warm import IMPORTED, IS_LINUX, SRC, WarmDvc, parse_each_text_once

pytestmark = pytest.mark.slow
STAGES = "stages:\n  say: {cmd: 'echo $MARK in $(pwd)'}\n  fail: {cmd: exit 3}\n  wait: {cmd: touch begun && sleep 60}\n"
ENV = {name: value for name, value in os.environ.items() if not name.startswith("DVC")}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    for command in ("git init --quiet .", f"{sys.executable} -m dvc init --quiet", "git add -A"):
        subprocess.run(command.split(), cwd=folder, check=True, env=ENV)
    (folder / "dvc.yaml").write_text(STAGES)
    return folder


@pytest.fixture
def dvc() -> Iterator[WarmDvc]:
    made = WarmDvc()
    yield made
    made.close()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_have_their_own_folder_environment_log_and_status(repository: Path, dvc: WarmDvc, tmp_path: Path) -> None:
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    logs[0].write_text("before\n")
    for log, mark in zip(logs, ("first", "second"), strict=True):
        process = dvc.start(["repro", "--force", "say"], folder=repository, env=ENV | {"MARK": mark}, log=log)
        assert process.wait() == 0
        assert process.wait() == 0
        assert f"{mark} in {repository}\n" in log.read_text()
    assert logs[0].read_text().startswith("before\n")
    failed = dvc.start(["repro", "fail"], folder=repository, env=ENV, log=logs[0])
    assert failed.wait() == 255
    assert "exited with 3" in logs[0].read_text()
    assert "MARK" not in os.environ


def test_a_signal_ends_the_run_alone(repository: Path, dvc: WarmDvc, tmp_path: Path) -> None:
    process = dvc.start(["repro", "wait"], folder=repository, env=ENV, log=tmp_path / "log")
    wait_for(repository / "begun")
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    os.killpg(process.pid, signal.SIGKILL)  # its stage
    process.terminate()  # nothing is left to be told
    assert dvc.start(["repro", "--force", "say"], folder=repository, env=ENV, log=tmp_path / "log").wait() == 0


@pytest.mark.skipif(not IS_LINUX, reason="nothing is kept warm")
def test_a_server_that_was_killed_takes_its_run_along_and_is_replaced(repository: Path, dvc: WarmDvc, tmp_path: Path) -> None:
    process = dvc.start(["repro", "wait"], folder=repository, env=ENV, log=tmp_path / "log")
    wait_for(repository / "begun")
    assert dvc._server is not None
    dvc._server.kill()
    assert process.wait() == -signal.SIGKILL
    os.killpg(process.pid, signal.SIGKILL)
    assert dvc.start(["repro", "--force", "say"], folder=repository, env=ENV, log=tmp_path / "log").wait() == 0


def test_a_text_is_parsed_once_and_every_answer_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = YAML.load
    monkeypatch.setattr(YAML, "load", lambda self, text: parsed.append(text) or parse(self, text))
    known = parse_each_text_once()
    first, second = (parse_yaml("a: {b: [1, 1e-3, 2020-01-01]}", "x.yaml") for _ in range(2))
    assert first == second == {"a": {"b": [1, 1e-3, datetime.date(2020, 1, 1)]}}
    first["a"]["b"].clear()
    assert parse_yaml("a: {b: [1, 1e-3, 2020-01-01]}", "x.yaml") == second
    assert (parse_yaml("", "x.yaml"), len(parsed), len(known)) == ({}, 2, 2)
    for _ in range(2):
        with pytest.raises(YAMLFileCorruptedError):
            parse_yaml("a: {", "x.yaml")
        assert list(parse_yaml_for_update("a: 1  # why", "x.yaml").ca.items) == ["a"]
    assert len(known) == 2


@pytest.mark.skipif(not IS_LINUX, reason="nothing is kept warm")
def test_files_that_changed_between_runs_are_parsed_anew(repository: Path, dvc: WarmDvc, tmp_path: Path) -> None:
    for word in ("one", "two"):
        (repository / "dvc.yaml").write_text(f"vars: [params.yaml]\nstages: {{say: {{cmd: 'echo {word} ${{number}}'}}}}\n")
        (repository / "params.yaml").write_text(f"number: {len(word)}{word}\n")
        assert dvc.start(["repro", "say"], folder=repository, env=ENV, log=tmp_path / word).wait() == 0
        assert f"\n{word} 3{word}\n" in (tmp_path / word).read_text()
    (repository / "dvc.yaml").write_text("stages: {")
    assert dvc.start(["repro", "say"], folder=repository, env=ENV, log=tmp_path / "log").wait() != 0
    assert "dvc.yaml' is invalid" in (tmp_path / "log").read_text()


@pytest.mark.skipif(not IS_LINUX, reason="nothing is kept warm")
def test_the_run_dies_with_the_search(repository: Path, tmp_path: Path) -> None:
    code = (
        "import json, os, sys, time; from pathlib import Path; from darkroom.experiments.warm import WarmDvc\n"
        f"run = WarmDvc().start(['repro', 'wait'], folder=Path({str(repository)!r}), env=dict(os.environ), log=Path('log'))\n"
        "print(run.pid, flush=True); time.sleep(60)"
    )
    search = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=ENV | {"PYTHONPATH": str(SRC)}, stdout=subprocess.PIPE, text=True
    )
    assert search.stdout is not None
    pid = int(search.stdout.readline())
    wait_for(repository / "begun")
    search.kill()
    search.communicate()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)


def test_what_a_run_imports_is_there(repository: Path) -> None:
    code = (
        f"import json, sys\nfor name in {IMPORTED!r}: __import__(name)\n"
        "before = set(sys.modules)\nfrom dvc.cli import main\nmain(['repro', '--quiet', 'say'])\n"
        "print(json.dumps([name for name in sys.modules if name not in before]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, env=ENV, capture_output=True, text=True, check=True)
    late = json.loads(done.stdout.splitlines()[-1])
    assert len(late) < 20, late
