"""Python, packages and variables: whether they are what the project was made with. What torch finds, machine.py asks."""

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

from darkroom.health.findings import Finding, counted, first_of, install_command, installed_version

# As requires-python in pyproject.toml says; a test holds the two together.
OLDEST, NEWEST = (3, 11), (3, 13)
# Comes with torch's build for NVIDIA GPUs, and only with it.
ACCELERATOR = re.compile(r"(nvidia|cuda|triton)\b")
UNSAFE_LOADING = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

Parse = Callable[[str], Any]
"""`packaging.requirements.Requirement`, which a base module may not import."""


def check_python(found: tuple[int, ...] = tuple(sys.version_info[:3])) -> Iterator[Finding]:
    """Look at the version of Python."""
    text = ".".join(map(str, found))
    if OLDEST <= found[:2] <= NEWEST:
        yield Finding("ok", "python", f"{text} in {sys.prefix}")
    else:
        allowed = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        way_out = "python3.12 -m venv --clear .venv && source .venv/bin/activate && pip install -r requirements.txt"
        yield Finding("fail", "python", f"is {text}, but should be {allowed}", way_out)


def check_packages(root: Path, parse: Parse) -> Iterator[Finding]:
    """Compare what is installed with the pins; what pyproject.toml allows beside them is a warning."""
    pins = root / "requirements.txt"
    if not pins.exists():
        yield Finding("fail", "packages", "requirements.txt does not exist", "git checkout HEAD -- requirements.txt")
        return
    wanted = [parse(line) for line in pins.read_text(encoding="utf-8").splitlines() if re.match(r"\w", line)]
    wanted = [pin for pin in wanted if (not pin.marker or pin.marker.evaluate()) and _belongs_here(pin.name)]
    missing = [pin.name for pin in wanted if installed_version(pin.name) is None]
    ranges = _ranges(root, parse)
    unfit: list[str] = []
    other: list[str] = []
    for pin in wanted:
        found = installed_version(pin.name)
        if found is not None and not pin.specifier.contains(found, prereleases=True):
            allowed = ranges.get(normal_name(pin.name))
            fits = allowed is None or allowed.contains(found, prereleases=True)
            (other if fits else unfit).append(f"{pin.name} is {found}, not {str(pin.specifier).removeprefix('==')}")
    problems = [f"{name} is missing" for name in missing] + unfit + other
    if problems:
        yield Finding("fail" if missing or unfit else "warn", "packages", first_of(problems), install_command(root))
    else:
        yield Finding("ok", "packages", f"{counted(len(wanted), 'package')} as requirements.txt pins them")


def _belongs_here(name: str) -> bool:
    """Return whether a pin counts: those for NVIDIA GPUs do not where torch was built for the CPU, or for another CUDA."""
    if not ACCELERATOR.match(name):
        return True
    try:
        needed = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return False  # torch is missing itself, and brings them
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
    """Return the one spelling of a package's name.

    References
    ----------
    https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def check_lightning() -> Iterator[Finding]:
    """See that `lightning` is not there: beside it, DVCLive's logger is no logger of pytorch-lightning any more."""
    found = installed_version("lightning")
    if found:
        text = f"lightning {found} is installed beside pytorch-lightning and breaks its DVCLive logger"
        yield Finding("fail", "lightning", text, "pip uninstall -y lightning")
    else:
        yield Finding("ok", "lightning", "not installed beside pytorch-lightning, whose logger it would break")


def check_commands(root: Path) -> Iterator[Finding]:
    """See that the `python` and the `dvc` that a shell finds, and DVC runs stages with, are of this installation."""
    python, dvc = shutil.which("python"), shutil.which("dvc")
    scripts = Path(sys.executable).parent
    if not python or not dvc:
        text = f"{'dvc' if python else 'python'} is not on PATH"
    elif (prefix := _prefix(python)) == str(root / ".venv") != sys.prefix:
        text = f"this Python ({sys.executable}) is not the one that stages would run with"
        yield Finding("warn", "commands", text, "./darkroom doctor")
        return
    elif prefix != sys.prefix:
        text = f"stages would run with {python}, which is not this Python ({sys.executable})"
    elif Path(dvc).parent not in (Path(python).parent, scripts):
        text = f"dvc is {dvc}, which is not of this Python ({sys.executable})"
    else:
        yield Finding("ok", "commands", "python and dvc on PATH are of this installation")
        return
    yield Finding("warn", "commands", text, _activate(root, scripts))


def _prefix(python: str) -> str:
    # Asked, since what stands on PATH may be a shim of pyenv or conda.
    run = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, timeout=20)
    return run.stdout.strip()


def _activate(root: Path, scripts: Path) -> str:
    if scripts == root / ".venv" / "bin":
        return "source .venv/bin/activate"
    return f"export PATH={shlex.quote(str(scripts))}:$PATH"


def check_environment(variables: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """See that no variable makes torch run code from checkpoints."""
    if variables.get(UNSAFE_LOADING):
        yield Finding(
            "fail", "environment", f"{UNSAFE_LOADING} is set: opening a checkpoint may run code", f"unset {UNSAFE_LOADING}"
        )
    else:
        yield Finding("ok", "environment", f"{UNSAFE_LOADING} is not set")
