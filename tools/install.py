"""Create the virtual environment and install pinned requirements into it; `make repro`, `make test` and others call this.

    python3 tools/install.py requirements.txt [--cuda | --cpu] [--venv .venv] [--cpu-index URL]

On Linux, PyPI's wheels of PyTorch need 4 GB of NVIDIA's libraries. Without an NVIDIA driver the smaller CPU wheels are installed
instead, from PyTorch's own index; where that is out of reach, the wheels that the requirements pin. An environment that already
has PyTorch keeps its kind unless --cuda or --cpu says otherwise. uv installs, several times as fast as pip; where there is none,
it is put into the environment first, and where that fails pip installs. uv uses the indexes that pip is configured with. An
interrupted installation continues when the command is repeated.

Standard library only, and no syntax newer than Python 3.8: this file runs before anything is installed, and reports a Python
that is too old.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Iterable  # noqa: UP035 (Python 3.8)

ROOT = Path(__file__).resolve().parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What the CPU wheels do without. nvidia-ml-py reads the state of GPUs, is small, and DVCLive requires it everywhere.
CUDA_ONLY = re.compile(r"(?!nvidia-ml-py)(nvidia-|cuda-|triton\b)")
# Disk in GB and minutes of a complete environment on two cores, measured on Linux; PyTorch and NVIDIA's libraries prevail.
COST = {
    ("requirements.txt", "cuda"): (6.1, "2 to 4"),
    ("requirements.txt", "cpu"): (1.5, "1 to 2"),
    ("requirements-dev.txt", "cuda"): (7.2, "3 to 5"),
    ("requirements-dev.txt", "cpu"): (2.6, "2 to 3"),
}
# Imports both and calls an operator that torchvision has compiled for its own version of torch.
CHECK = "import torch, torchvision; torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)"


def main() -> int:
    """Install, and return the exit status: 0, 1 for a failed installation, 2 for an unsuitable Python."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the environment (default: .venv)")
    parser.add_argument("--cpu-index", default=CPU_INDEX, metavar="URL", help="index of the CPU wheels (default: %(default)s)")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--cuda", dest="kind", action="store_const", const="cuda", help="install PyTorch with CUDA")
    kinds.add_argument("--cpu", dest="kind", action="store_const", const="cpu", help="install PyTorch for the CPU")
    arguments = parser.parse_args()

    if not suitable(sys.version_info[:2]):
        version = ".".join(map(str, sys.version_info[:3]))
        return fail(f"{sys.executable}: is Python {version}; use 3.11, 3.12 or 3.13: make PYTHON=python3.12 repro", 2)
    environment = Environment(arguments.venv)
    kind, reason = choose(arguments.kind, environment.version("torch"))
    announce(environment, arguments.requirements, kind, reason)
    environment.forget_damaged()
    if not environment.create():
        return fail(f"{environment.name}: could not be created, see above; on Debian and Ubuntu: apt install python3-venv")
    environment.fetch_uv()
    say(f"Packages are installed with {next(iter(environment.installers))}.")
    if not install(environment, arguments.requirements, kind, arguments.cpu_index):
        return fail(f"{arguments.requirements}: could not be installed, see above; repeat the command to continue")
    problem = environment.problem(CHECK)
    if problem:
        return fail(
            f"{environment.path}: torch and torchvision do not work ({problem}); remove this folder and repeat the command"
        )
    return 0


def suitable(version: tuple[int, ...]) -> bool:
    """Whether requires-python of pyproject.toml has this version, such as (3, 12)."""
    found = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found
    return (3, int(found.group(1))) <= version < (3, int(found.group(2)))


def choose(asked: str | None, installed: str | None) -> tuple[str, str]:
    """Return "cuda" or "cpu", and the reason; `installed` is the version of torch that is there."""
    if asked:
        return asked, "as asked for"
    if not sys.platform.startswith("linux"):
        return "cpu", "the only kind that PyPI has for this system"
    if installed:
        kind = "cpu" if installed.endswith("+cpu") else "cuda"
        return kind, f"torch {installed} is installed already; CUDA=1 or CPU=1 changes that"
    if has_nvidia_driver():
        return "cuda", "an NVIDIA driver was found; CPU=1 installs the CPU wheels"
    return "cpu", "no NVIDIA driver was found; CUDA=1 installs the wheels with CUDA"


def has_nvidia_driver() -> bool:
    """Whether there is one: of Linux, of a container that was given a GPU, or of Windows under WSL."""
    if Path("/proc/driver/nvidia/version").exists() or Path("/usr/lib/wsl/lib/libcuda.so.1").exists():
        return True
    command = shutil.which("nvidia-smi")
    return command is not None and works(command, "-L")  # some images have the command without a driver


def announce(environment: Environment, requirements: Path, kind: str, reason: str) -> None:
    """Say what will be installed, and what it costs."""
    gigabytes, minutes = COST.get((requirements.name, kind), COST["requirements-dev.txt", kind])
    free = shutil.disk_usage(environment.path if environment.path.exists() else ROOT).free / 1e9
    say(f"Installing {requirements.name} into {environment.name}.")
    say(f"PyTorch {'with CUDA' if kind == 'cuda' else 'for the CPU'}: {reason}.")
    say(f"A new environment takes about {gigabytes} GB of disk ({free:.0f} GB are free) and {minutes} minutes, mostly downloads.")


def install(environment: Environment, requirements: Path, kind: str, cpu_index: str) -> bool:
    """Install the requirements with PyTorch of this kind, and return whether that succeeded."""
    if not sys.platform.startswith("linux"):
        return environment.install("-r", str(requirements))
    pins = read_pins(requirements)
    if kind == "cpu":
        problem = install_cpu_pytorch(environment, pins, cpu_index)
        if not problem:
            environment.uninstall(name for name in environment.names() if CUDA_ONLY.match(name))
            reduced = environment.path / "cpu-requirements.txt"
            reduced.write_text("\n".join(pin for pin in pins if not CUDA_ONLY.match(pin)) + "\n", encoding="utf-8")
            return environment.install("-r", str(reduced))
        gigabytes, minutes = COST["requirements.txt", "cuda"]
        say(f"note: {cpu_index}: {problem}; the wheels with CUDA are installed instead ({gigabytes} GB, {minutes} minutes)")
    # The CPU wheels would satisfy the pins.
    environment.uninstall(name for name in ("torch", "torchvision") if (environment.version(name) or "").endswith("+cpu"))
    return environment.install("-r", str(requirements))


def install_cpu_pytorch(environment: Environment, pins: list[str], index: str) -> str:
    """Install the CPU wheels of torch and torchvision alone, and return the reason if that failed."""
    found = [re.match(r"(torch|torchvision)==([\w.]+)$", pin) for pin in pins]
    wanted = {match.group(1): match.group(2) + "+cpu" for match in found if match}
    if all(environment.version(name) == version for name, version in wanted.items()):
        return ""
    for name, version in wanted.items():
        problem = missing(index, name, version)
        if problem:
            return problem
    # --no-deps: what they require is pinned too, and this index has other versions of it.
    arguments = ["--no-deps", "--index-url", index, *(f"{name}=={version}" for name, version in wanted.items())]
    return "" if environment.install(*arguments) else "the installation failed, see above"


def missing(index: str, name: str, version: str) -> str:
    """Return why an index does not have a version, or an empty text if it does."""
    try:
        with urllib.request.urlopen(f"{index.rstrip('/')}/{name}/", timeout=20) as response:
            page = urllib.parse.unquote(response.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        return f"status {error.code} for {name}"
    except (OSError, ValueError) as error:
        return f"out of reach ({getattr(error, 'reason', error)})"
    return "" if f"{name}-{version}-" in page else f"has no {name} {version}"


def indexes_of_pip(listed: str) -> list[str]:
    """Return what tells uv, which does not read pip's configuration, the same indexes; `listed` is from `pip config list`."""
    places = ("global", "user", "site", "install", ":env:")  # the later one prevails
    found = [re.match(r"([\w:]+)\.([\w-]+)='(.*)'$", line) for line in listed.splitlines()]
    settings = [match.groups() for match in found if match and match.group(1) in places]
    values = {key: value.split() for _, key, value in sorted(settings, key=lambda setting: places.index(setting[0]))}
    arguments = ["--index-strategy", "unsafe-best-match"]  # as pip does: all indexes are looked at for every package
    if "cert" in values:
        os.environ.setdefault("SSL_CERT_FILE", " ".join(values["cert"]))
    for key, option in (
        ("index-url", "--default-index"),
        ("extra-index-url", "--index"),
        ("find-links", "--find-links"),
        ("trusted-host", "--allow-insecure-host"),
    ):
        arguments += [word for value in values.get(key, []) for word in (option, value)]
    return arguments


def read_pins(path: Path) -> list[str]:
    """Return the requirements, a line each, without comments."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


class Environment:
    """A virtual environment, which may not exist yet, and the commands that install into it, the preferred one first."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path = path.resolve()
        self.python = str(self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        self.installers = {"pip": [self.python, "-m", "pip", "install", "--disable-pip-version-check"]}
        self.indexes: list[str] = []

    def fetch_uv(self) -> None:
        """Make uv the preferred installer: the one that is found, or one that pip installs here; without either, pip stays."""
        where = os.pathsep.join([os.environ.get("PATH", ""), str(Path(self.python).parent)])
        pinned = next(pin for pin in read_pins(ROOT / "requirements-dev.txt") if pin.startswith("uv=="))
        if not shutil.which("uv", path=where):
            works(*self.installers["pip"], "--quiet", "--retries", "1", "--only-binary", ":all:", pinned)
        uv = shutil.which("uv", path=where)
        if uv:
            listed = subprocess.run([self.python, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True).stdout
            self.installers = {"uv": [uv, "pip", "install", "--python", self.python], **self.installers}
            self.indexes = indexes_of_pip(listed)

    def create(self) -> bool:
        """Create it unless it is whole; one whose Python is gone is replaced. Return whether it is there now."""
        if works(self.python, "-c", "import pip"):
            return True
        replaced = (self.path / "pyvenv.cfg").exists() and not works(self.python, "-c", "")
        options = ["--clear"] if replaced else []
        return subprocess.call([sys.executable, "-m", "venv", *options, str(self.path)]) == 0

    def install(self, *arguments: str) -> bool:
        """Install with the first installer that succeeds: each has its own indexes, proxies and certificates."""
        for name, command in self.installers.items():
            indexes = self.indexes if name == "uv" and "--index-url" not in arguments else []
            if subprocess.call([*command, *indexes, *arguments]) == 0:
                return True
            if name == "uv":
                say("note: uv failed, see above; pip is tried")
        return False

    def uninstall(self, names: Iterable[str]) -> None:
        """Remove distributions."""
        names = list(names)
        if names:
            subprocess.check_call([self.python, "-m", "pip", "uninstall", "--quiet", "--yes", *names])

    def version(self, name: str) -> str | None:
        """Return the installed version of a distribution whose name has no hyphen."""
        return next((folder.name[len(name) + 1 : -len(".dist-info")] for folder in self._records(name)), None)

    def names(self) -> list[str]:
        """Return the names of what is installed, as requirements.txt writes them."""
        return [re.sub(r"[-_.]+", "-", folder.name.partition("-")[0]).lower() for folder in self._records("*")]

    def forget_damaged(self) -> None:
        """Make the installers take distributions for missing whose files are not all there, as after an interruption."""
        for folder in self._records("*"):
            if not whole(folder):
                say(f"note: {folder.name[: -len('.dist-info')]} is damaged; it is installed again")
                shutil.rmtree(folder)

    def problem(self, code: str) -> str:
        """Run Python code, and return the last line of its error, or an empty text."""
        done = subprocess.run([self.python, "-W", "ignore", "-c", code], stderr=subprocess.PIPE, text=True)
        return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1] if done.returncode else ""

    def _records(self, name: str) -> list[Path]:
        return sorted(self.path.glob(f"lib/python*/site-packages/{name}-*.dist-info"))


def whole(folder: Path) -> bool:
    """Whether every file of a distribution is there, in the size that its record says."""
    try:
        with (folder / "RECORD").open(newline="", encoding="utf-8") as lines:
            return all(not size or (folder.parent / name).stat().st_size == int(size) for name, _, size in csv.reader(lines))
    except (OSError, ValueError):
        return False


def works(*command: str) -> bool:
    """Whether a command can be started and succeeds within a minute; its output is discarded."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def say(line: str) -> None:
    """Print at once, so that the lines keep their place among those of the installers."""
    print(line, flush=True)


def fail(message: str, status: int = 1) -> int:
    """Print an error and return its exit status."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
