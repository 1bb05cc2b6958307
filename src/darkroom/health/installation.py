"""Checks of Python, packages, commands and environment variables. Devices are checked in machine.py."""

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.base.errors import counted
from darkroom.health.findings import Finding, first_of, install_command, installed_version

# As requires-python in pyproject.toml; a test compares the two.
OLDEST, NEWEST = (3, 11), (3, 13)
# Packages that only torch's builds for NVIDIA GPUs need.
ACCELERATOR = re.compile(r"(nvidia|cuda|triton)\b")
UNSAFE_LOADING = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

Parse = Callable[[str], Any]
"""`packaging.requirements.Requirement`, which a base module may not import."""


def check_python(found: tuple[int, ...] = tuple(sys.version_info[:3])) -> Iterator[Finding]:
    """Check the version of Python."""
    text = ".".join(map(str, found))
    if OLDEST <= found[:2] <= NEWEST:
        yield Finding("ok", "python", f"{text} in {sys.prefix}")
    else:
        allowed = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        way_out = "python3.12 -m venv --clear .venv && source .venv/bin/activate && pip install -r requirements.txt"
        yield Finding("fail", "python", f"is {text}, but must be {allowed}", way_out)


def check_packages(root: Path, parse: Parse) -> Iterator[Finding]:
    """Compare installed versions with the pins; others that pyproject.toml allows are a warning."""
    pins = root / "requirements.txt"
    if not pins.exists():
        yield Finding("fail", "packages", "requirements.txt does not exist", "git checkout HEAD -- requirements.txt")
        return
    wanted = [parse(line) for line in pins.read_text(encoding="utf-8").splitlines() if re.match(r"\w", line)]
    wanted = [pin for pin in wanted if (not pin.marker or pin.marker.evaluate()) and _is_needed(pin.name)]
    missing = [pin.name for pin in wanted if installed_version(pin.name) is None]
    ranges = _ranges(root, parse)
    not_allowed: list[str] = []
    other: list[str] = []
    for pin in wanted:
        found = installed_version(pin.name)
        if found is not None and not pin.specifier.contains(found, prereleases=True):
            allowed = ranges.get(normal_name(pin.name))
            fits = allowed is None or allowed.contains(found, prereleases=True)
            (other if fits else not_allowed).append(f"{pin.name} is {found}, not {str(pin.specifier).removeprefix('==')}")
    problems = [f"{name} is missing" for name in missing] + not_allowed + other
    if problems:
        yield Finding("fail" if missing or not_allowed else "warn", "packages", first_of(problems), install_command(root))
    else:
        yield Finding("ok", "packages", f"{counted(len(wanted), 'package')} as requirements.txt pins them")


def _is_needed(name: str) -> bool:
    """Return whether a pin applies: those for NVIDIA GPUs do not if torch was built for the CPU or another CUDA."""
    if not ACCELERATOR.match(name):
        return True
    try:
        needed = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return False  # torch is missing too, and installs them
    return "+" not in (installed_version("torch") or "") and any(ACCELERATOR.match(line) for line in needed)


def _ranges(root: Path, parse: Parse) -> dict[str, Any]:
    """Return the versions that pyproject.toml allows."""
    path = root / "pyproject.toml"
    if not path.exists():
        return {}
    project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    requirements = [parse(line) for line in project.get("dependencies", [])]
    return {normal_name(requirement.name): requirement.specifier for requirement in requirements}


def normal_name(name: str) -> str:
    """Return the normalised name of a package.

    References
    ----------
    https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def check_lightning() -> Iterator[Finding]:
    """Check that `lightning` is not installed: with it, DVCLive's logger is no longer one of pytorch-lightning."""
    found = installed_version("lightning")
    if found:
        text = f"lightning {found} is installed as well as pytorch-lightning, and breaks its DVCLive logger"
        yield Finding("fail", "lightning", text, "pip uninstall -y lightning")
    else:
        yield Finding("ok", "lightning", "not installed; it would break the DVCLive logger of pytorch-lightning")


def check_commands(root: Path) -> Iterator[Finding]:
    """Check that `python` and `dvc` on PATH, with which stages run, belong to this installation."""
    python, dvc = shutil.which("python"), shutil.which("dvc")
    scripts = Path(sys.executable).parent
    if not python or not dvc:
        text = f"{'dvc' if python else 'python'} is not on PATH"
    elif (prefix := _prefix(python)) == str(root / ".venv") != sys.prefix:
        text = f"this Python ({sys.executable}) is not the one that stages run with"
        yield Finding("warn", "commands", text, "./darkroom doctor")
        return
    elif prefix != sys.prefix:
        text = f"stages run with {python}, not with this Python ({sys.executable})"
    elif Path(dvc).parent not in (Path(python).parent, scripts):
        text = f"dvc is {dvc}, which does not belong to this Python ({sys.executable})"
    else:
        yield Finding("ok", "commands", "python and dvc on PATH belong to this installation")
        return
    yield Finding("warn", "commands", text, _activate(root, scripts))


def _prefix(python: str) -> str:
    # Run it, since the one on PATH may be a shim of pyenv or conda.
    run = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, timeout=20)
    return run.stdout.strip()


def _activate(root: Path, scripts: Path) -> str:
    if scripts == root / ".venv" / "bin":
        return "source .venv/bin/activate"
    return f"export PATH={shlex.quote(str(scripts))}:$PATH"


def check_environment(variables: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Check that no environment variable lets torch run code from checkpoints."""
    if variables.get(UNSAFE_LOADING):
        yield Finding(
            "fail", "environment", f"{UNSAFE_LOADING} is set: loading a checkpoint may run code", f"unset {UNSAFE_LOADING}"
        )
    else:
        yield Finding("ok", "environment", f"{UNSAFE_LOADING} is not set")
