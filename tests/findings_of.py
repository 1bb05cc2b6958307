"""What tests of the doctor's checks share: findings as printed lines, commands, processes that hold a lock."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.health.findings import Finding

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
HOLD_STAGE = """
import sys, time
from pathlib import Path
from darkroom.stage.runner import locked
with locked(Path(sys.argv[1]), "train"):
    print(flush=True)
    time.sleep(60)
"""


def lines(found: Iterable[Finding]) -> list[str]:
    """Return the printed lines without the spaces that align them."""
    return [" ".join(str(finding).split()) for finding in found]


def line(found: Iterable[Finding], subject: str) -> str:
    (match,) = [text for text in lines(found) if text.split(" ", 1)[1].startswith(subject)]
    return match


def way_out(text: str) -> str:
    return text.rpartition("; run: ")[2]


@contextmanager
def held(code: str, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints a line once it holds what it is to hold."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SRC)!r}); {code}", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
