"""On a terminal a bar counts the images; tested under a pseudo-terminal, as people see it."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[3] / "src"
SCRIPT = """
import sys, time
sys.path.insert(0, {src!r})
from darkroom.sources.progress import progress_bar

with progress_bar("pack", 40, of_bytes={of_bytes}) as advance:
    for _ in range(40):
        time.sleep(0.02)
        advance(1)
print("done")
"""


def command(of_bytes: bool) -> list[str]:
    return [sys.executable, "-c", SCRIPT.format(src=str(SRC), of_bytes=of_bytes)]


@pytest.mark.parametrize(("of_bytes", "shown"), [(False, r"pack \S+ +(\d+)/40 "), (True, r"pack \S+ +(\d+)/40 bytes ")])
def test_the_bar_moves(of_bytes: bool, shown: str) -> None:
    outer, inner = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    seen = b""
    with subprocess.Popen(command(of_bytes), stdout=subprocess.PIPE, stderr=inner, env=environment) as process:
        os.close(inner)
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(outer, 65536):
                seen += part
        assert process.stdout
        assert process.stdout.read() == b"done\n"
    os.close(outer)
    counts = [int(count) for count in re.findall(shown, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()))]
    assert len(set(counts)) > 3
    assert counts == sorted(counts)


def test_a_log_has_no_bar() -> None:
    done = subprocess.run(command(of_bytes=False), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")
