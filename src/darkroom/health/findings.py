"""Checks and their findings, one line each; a check that fails itself is a finding too."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from darkroom.base.errors import described, one_line

SUBJECT_WIDTH = 13
WITHOUT_CUDA = "grep -vE '^(nvidia|cuda|triton)' requirements.txt | pip install -r /dev/stdin --extra-index-url {index}"
TORCH_INDEX = "https://download.pytorch.org/whl/"


@dataclass(frozen=True)
class Finding:
    """The result of a check: subject, text, and unless it is ok the command that fixes it."""

    mark: Literal["ok", "warn", "fail"]
    subject: str
    text: str
    command: str = ""

    def __str__(self) -> str:
        way_out = f"; run: {self.command}" if self.command else ""
        return f"{self.mark:<4}  {self.subject:<{SUBJECT_WIDTH}}  {one_line(self.text + way_out)}"


@dataclass(frozen=True)
class Check:
    """A check of one subject; `remedy` is the command to run if the check itself fails."""

    subject: str
    run: Callable[[], Iterable[Finding]]
    remedy: str

    def findings(self, root: Path) -> Iterator[Finding]:
        """Yield the findings; an exception becomes the last one."""
        try:
            yield from self.run()
        except ModuleNotFoundError as error:
            yield Finding("fail", self.subject, f"cannot be checked: {error.name} is not installed", install_command(root))
        except OSError as error:
            reason = f"{error.filename or 'system'}: {error.strerror or error}"
            yield Finding("fail", self.subject, f"cannot be checked: {reason}", self.remedy)
        except subprocess.TimeoutExpired as error:
            yield Finding("fail", self.subject, f"cannot be checked: no result within {error.timeout:.0f} seconds", self.remedy)
        except Exception as error:
            # A bug in one check must not hide the findings of others.
            yield Finding("fail", self.subject, f"cannot be checked: {described(error)}", self.remedy)


def first_of(problems: list[str]) -> str:
    """Return the first problem and the number of others."""
    return problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def shown_size(num_bytes: float) -> str:
    """Return a size in a readable unit."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"


def within(root: Path, path: Path) -> str:
    """Return a path for use in a command: relative to the repository if it is inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def remove_command(root: Path, found: Iterable[Path]) -> str:
    """Return the command that removes files and folders; `-f`, since those of DVC are read-only."""
    return "rm -rf " + " ".join(shlex.quote(within(root, path)) for path in found)


def install_command(root: Path) -> str:
    """Return the command that provides the packages: activating .venv if it exists, else installing the pins for this torch."""
    if (root / ".venv" / "bin" / "python").exists() and Path(sys.prefix) != root / ".venv":
        return "source .venv/bin/activate"
    build = (installed_version("torch") or "").partition("+")[2]
    return WITHOUT_CUDA.format(index=TORCH_INDEX + build) if build else "pip install -r requirements.txt"


def installed_version(name: str) -> str | None:
    """Return the version of an installed package; None if it, or its metadata, is missing."""
    try:
        return version(name) or None
    except (PackageNotFoundError, KeyError):
        return None
