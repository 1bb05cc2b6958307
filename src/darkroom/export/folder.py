"""The folder of an export: what in it an export wrote, by the hashes in parity.json. No torch."""

import json
from pathlib import Path
from typing import Any

from darkroom.base import files

PARITY, ABOUT, SCRIPT = "parity.json", "about.json", "classify.py"
FILES = {
    "onnx": ("model.onnx", SCRIPT),
    "openvino": ("model.xml", "model.bin"),
    "openvino-int8": ("model-int8.xml", "model-int8.bin"),
    "torch": ("model.pt2",),
}
"""What each format is made of."""
HASHES = "sha256"
# Of Python, when classify.py was imported, and of macOS.
LEFT_BEHIND = ("__pycache__", ".DS_Store")


def hashes(folder: Path, name: str) -> dict[str, str]:
    """Return the SHA-256 of the files of a format, by name."""
    return {each: files.sha256(folder / each) for each in FILES[name]}


def recorded(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Return what parity.json says of each format; none of a folder that does not exist, None if it is of something else."""
    try:
        content = json.loads((folder / PARITY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(content, dict) and all(
        name in FILES and isinstance(each, dict) and "other_decisions" in each for name, each in content.items()
    )
    return content if is_ours else None


def other_file(folder: Path) -> str | None:
    """Return the name of a file in a folder that an export did not write, or that was changed since; None if there is none."""
    known = recorded(folder)
    if known is None:
        return PARITY
    written = dict.fromkeys((PARITY, ABOUT) if known else ())
    for name, each in known.items():
        written |= each.get(HASHES) or dict.fromkeys(FILES[name])  # an earlier version wrote no hashes
    for path in sorted(folder.iterdir()):
        if path.name in LEFT_BEHIND:
            continue
        if path.name not in written or not path.is_file():
            return path.name
        expected = written[path.name]
        if expected is not None and files.sha256(path) != expected:
            return path.name
    return None
