"""What a check found, as one line each; a check that breaks is a finding too."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from darkroom.errors import described, one_line

SUBJECT_WIDTH = 13
WITHOUT_CUDA = "grep -vE '^(nvidia|cuda|triton)' requirements.txt | pip install -r /dev/stdin --extra-index-url {index}"
TORCH_INDEX = "https://download.pytorch.org/whl/"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and for what is not ok the command that is the way out."""

    mark: Literal["ok", "warn", "fail"]
    subject: str
    text: str
    command: str = ""

    def __str__(self) -> str:
        way_out = f"; run: {self.command}" if self.command else ""
        return f"{self.mark:<4}  {self.subject:<{SUBJECT_WIDTH}}  {one_line(self.text + way_out)}"


@dataclass(frozen=True)
class Check:
    """A look at one subject; `remedy` is the command that helps when the look itself fails."""

    subject: str
    look: Callable[[], Iterable[Finding]]
    remedy: str

    def findings(self, root: Path) -> Iterator[Finding]:
        """Yield what was found; whatever breaks on the way becomes the last finding."""
        try:
            yield from self.look()
        except ModuleNotFoundError as error:
            yield Finding("fail", self.subject, f"cannot be checked: {error.name} is not installed", install_command(root))
        except OSError as error:
            reason = f"{error.filename or 'system'}: {error.strerror or error}"
            yield Finding("fail", self.subject, f"cannot be checked: {reason}", self.remedy)
        except subprocess.TimeoutExpired as error:
            yield Finding("fail", self.subject, f"cannot be checked: no answer in {error.timeout:.0f} seconds", self.remedy)
        except Exception as error:
            # A mistake in a check must not hide what the others found.
            yield Finding("fail", self.subject, f"cannot be checked: {described(error)}", self.remedy)


def first_of(problems: list[str]) -> str:
    """Return the first problem and how many there are beside it."""
    return problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def counted(number: int, noun: str) -> str:
    """Return `1 stage`, `2 stages`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def shown_size(num_bytes: float) -> str:
    """Return a size in the unit that people would choose."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"


def within(root: Path, path: Path) -> str:
    """Return a path as a command run in the repository names it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def remove_command(root: Path, found: Iterable[Path]) -> str:
    """Return the command that removes files and folders, without asking at the read-only ones that DVC makes."""
    return "rm -rf " + " ".join(shlex.quote(within(root, path)) for path in found)


def install_command(root: Path) -> str:
    """Return the command that brings the packages: an environment that is there already, or the pins for this build of torch."""
    if (root / ".venv" / "bin" / "python").exists() and Path(sys.prefix) != root / ".venv":
        return "source .venv/bin/activate"
    build = (installed_version("torch") or "").partition("+")[2]
    return WITHOUT_CUDA.format(index=TORCH_INDEX + build) if build else "pip install -r requirements.txt"


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None; a package whose metadata is gone counts as missing."""
    try:
        return version(name) or None
    except (PackageNotFoundError, KeyError):
        return None
