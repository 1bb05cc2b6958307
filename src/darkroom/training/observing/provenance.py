"""Provenance: models/run.json lists all that the result depends on, logs/ the circumstances of a single run."""

import platform
import re
import shlex
import socket
import sys
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError, one_line
from darkroom.base.params import Params
from darkroom.repository.git import git

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
    untracked = [one_line(name) for name in _git("ls-files", "--others", "--exclude-standard", "-z").split("\0") if name]
    # DVC has just removed the outputs of this stage, which is not a change by the user.
    patch = _git(
        *("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--relative", "HEAD", "--", "."),
        ":(exclude)metrics",
    ).encode(errors="surrogateescape")
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
        "commit": _git("rev-parse", "--verify", "--quiet", "HEAD").strip() or None,
        "changed": bool(patch),
        "untracked": untracked[:MAX_UNTRACKED],
        "params": params.model_dump(by_alias=True),
        "packages": installed(),
    }
    files.write_json(folder / "run.json", content)


def _git(*arguments: str) -> str:
    """Return Git's output; an empty text without Git or a repository."""
    try:
        done = git(paths.ROOT, *arguments, seconds=60)
    except (InputError, RunError):
        return ""
    return "" if done.returncode else done.stdout
