"""Every expected failure ends a command with one line and its exit status."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkroom.base.errors import listed, nearest, nearest_path, one_line
from darkroom.base.signals import SIGNALS

SRC = Path(__file__).resolve().parents[3] / "src"


def run(body: str) -> subprocess.CompletedProcess[str]:
    code = f"import os, sys; sys.path.insert(0, {str(SRC)!r})\nfrom darkroom.base.errors import *; from darkroom.base.command import *\ndef main():\n    {body}\nrun_command(main)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=hear)


def hear() -> None:
    """Undo what the start of the tests may have done: nohup ignores SIGHUP, a shell's background SIGINT."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("raise InputError('params.yaml: x: is bad; mend it')", 2, "error: params.yaml: x: is bad; mend it"),
        ("raise InputError('a\\nb\\x1b[31m')", 2, r"error: a\nb\x1b[31m"),
        ("raise RunError('disk: is full; free it')", 1, "error: disk: is full; free it"),
        ("os.kill(os.getpid(), 2)", 130, "error: interrupted by SIGINT; nothing was recorded"),
        ("os.kill(os.getpid(), 15)", 143, "error: interrupted by SIGTERM; nothing was recorded"),
        ("os.kill(os.getpid(), 1)", 129, "error: interrupted by SIGHUP; nothing was recorded"),
        ("os.kill(os.getpid(), 10)", 138, "error: interrupted by SIGUSR1; nothing was recorded"),
        ("open('/nothing/here')", 1, "error: /nothing/here: No such file or directory"),
        (
            "raise OSError(28, 'No space left on device', 'models/x')",
            1,
            "error: models/x: No space left on device; free the disk",
        ),
    ],
)
def test_one_line_and_a_status(body: str, status: int, line: str) -> None:
    done = run(body)
    assert done.returncode == status
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_our_own_faults_keep_their_traceback() -> None:
    done = run("raise ZeroDivisionError('ours')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_signal_that_the_shell_ignores_stays_ignored() -> None:
    done = subprocess.run(
        [
            "nohup",
            sys.executable,
            "-c",
            f"import os, sys; sys.path.insert(0, {str(SRC)!r})\nfrom darkroom.base.errors import *; from darkroom.base.command import *\n"
            "run_command(lambda: os.kill(os.getpid(), 1))",
        ],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_is_no_fault(lines: int) -> None:
    code = f"import sys; sys.path.insert(0, {str(SRC)!r})\nfrom darkroom.base.errors import *; from darkroom.base.command import *\nrun_command(lambda: print('x\\n' * {lines}))"
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" | true; echo ${PIPESTATUS[0]}', sys.executable, f"import time; time.sleep(0.2)\n{code}"],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (f"{128 + signal.SIGPIPE}\n", "")


def test_one_line_of_what_says_nothing() -> None:
    assert (one_line(""), one_line(ValueError()), one_line("a\nb")) == ("", "ValueError", "a\\nb")


def test_success_loses_no_output() -> None:
    done = run("print('x' * 100_000); warn('careful')")
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 100_001, "warning: careful\n")


@pytest.mark.parametrize("end", ["raise InputError('x: is bad; mend it')", "print('done')"])
def test_the_end_waits_for_no_thread(end: str) -> None:
    start = time.monotonic()
    done = run(f"import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); {end}")
    assert done.returncode in (0, 2)
    assert time.monotonic() - start < 30


def test_the_nearest_name() -> None:
    assert nearest("Adamw", ["Adam", "AdamW"], "-") == "did you mean 'AdamW'?"
    assert nearest("adam", ["AdamW", "Adam"], "-") == "did you mean 'Adam'?"
    assert nearest("x" * 3000, ["Adam"], "use another") == "use another"
    assert nearest("", [], "use another") == "use another"
    assert nearest("chek", ["check"], "-", "'./darkroom {} {x}'") == "did you mean './darkroom check {x}'?"


def test_the_nearest_path(tmp_path: Path) -> None:
    (tmp_path / "{photos}").mkdir()
    assert nearest_path(str(tmp_path / "{phots}"), "-") == f"did you mean '{tmp_path}/{{photos}}'?"
    assert nearest_path("{phots}", "-", tmp_path) == "did you mean '{photos}'?"
    for wrong in ("/nowhere/x", "a\0b", "~nobody-here/x", "x" * 5000, ""):
        assert nearest_path(wrong, "correct it", tmp_path) == "correct it"


def test_of_many_names_some_are_listed() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdefghijklm") == "a, b, c, d, e, f, g, h, i, j, … (13 in all)"
