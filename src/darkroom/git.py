"""Running Git without taking its locks."""

import os
import subprocess
from pathlib import Path

SECONDS = 30


def git(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Git in a folder, with English messages and without taking its locks."""
    env = os.environ | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(["git", *arguments], cwd=root, env=env, capture_output=True, text=True, timeout=SECONDS)
