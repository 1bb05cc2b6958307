"""The table of benchmarks/gpu.py."""

import threading
from pathlib import Path
from typing import NamedTuple

HEAD = "| what | Darkroom | beside | ratio | goal |\n|---|---|---|---|---|"


class Row(NamedTuple):
    """What a step has measured."""

    what: str
    ours: str
    beside: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = "" if self.met is None else " (met)" if self.met else " (missed)"
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        return f"| {self.what} | {self.ours} | {self.beside} | {ratio} | {self.goal}{verdict} |"


class Table:
    """Lines, which are printed and written at once."""

    def __init__(self, path: Path):
        self.path = path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, line: str) -> None:
        """Print a line and write it to the file."""
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            print(line, flush=True)
            print(line, file=file)
