"""Provenance: models/run.json lists all that the result depends on, logs/ the circumstances of a single run."""

import platform
import re
import shlex
import socket
import subprocess
import sys
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from darkroom.base import files, paths
from darkroom.base.params import Params

MAX_PATCH_BYTES = 5_000_000
MAX_UNTRACKED = 1000
FIELD = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)


def installed() -> dict[str, str]:
    """Return the versions of all installed packages by name, sorted."""
    found = {}
    for package in distributions():
        # `package.metadata` parses descriptions of hundreds of packages as well, which takes a third of a second.
        header = (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").partition("\n\n")[0]
        fields = dict(FIELD.findall(header))
        if "Name" in fields:
            found[fields["Name"]] = fields.get("Version", "")
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def record(about: dict[str, Any], weights_sha256: str, state: str) -> dict[str, Any]:
    """Return the content of models/run.json, which is the same for equal inputs: it has no time, host or commit.

    Parameters
    ----------
    about
        What the result depends on: parameters, data, code.
    weights_sha256
        Hash of the resulting weights, by which a run.json that an interrupted run left behind is recognised.
    state
        Name of the folder in .resume with the states of the training, which are forgotten once it is recorded.
    """
    return {
        "weights_sha256": weights_sha256,
        "state": state,
        **about,
        "packages": installed(),
        "python": platform.python_version(),
    }


def write_circumstances(folder: Path, params: Params) -> None:
    """Write run.json and, if files differ from the commit, changes.patch into the log folder of a training."""
    status = _git("status", "--porcelain=v1", "--untracked-files=all", "-z") or b""
    untracked = [entry[3:].decode(errors="replace") for entry in status.split(b"\0") if entry.startswith(b"?? ")]
    # DVC has just removed the outputs of this stage, which is not a change by the user.
    patch = (
        _git("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".", ":(exclude)metrics") or b""
    )
    if patch:
        cut = b"" if len(patch) <= MAX_PATCH_BYTES else b"\n# cut off here: it has %d bytes\n" % len(patch)
        with files.replaced_file(folder / "changes.patch") as temporary:
            temporary.write_bytes(patch[:MAX_PATCH_BYTES] + cut)
    content = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "commit": (_git("rev-parse", "HEAD") or b"").decode().strip() or None,
        "changed": bool(patch),
        "untracked": untracked[:MAX_UNTRACKED],
        "params": params.model_dump(by_alias=True),
        "packages": installed(),
    }
    files.write_json(folder / "run.json", content)


def _git(*arguments: str) -> bytes | None:
    """Return Git's output, or None without Git or a repository."""
    command = ["git", "-C", str(paths.ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
