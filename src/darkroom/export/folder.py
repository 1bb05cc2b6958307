"""The folder of an export: what in it an export wrote, by the hashes in parity.json. No torch."""

import json
from collections.abc import Mapping
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


def complete(folder: Path, records: Mapping[str, dict[str, Any]], known: Mapping[str, Any]) -> None:
    """Write what is known of the files of a folder, and the code that predicts with one of them; remove all other formats.

    Parameters
    ----------
    folder
        With the files of formats, of which some may not be finished.
    records
        What was compared, for each format that is finished.
    known
        Of the model.
    """
    for each in (name for format_name in FILES.keys() - records.keys() for name in FILES[format_name]):
        (folder / each).unlink(missing_ok=True)
    files.write_text(folder / ABOUT, json.dumps(known, ensure_ascii=False, indent=2) + "\n")
    if "onnx" in records:
        files.write_text(folder / SCRIPT, _script())
    hashes = {name: {each: files.sha256(folder / each) for each in FILES[name]} for name in records}
    files.write_json(folder / PARITY, {name: {**record, HASHES: hashes[name]} for name, record in records.items()})


def _script() -> str:
    """Return the code that predicts with the ONNX file; it imports onnxruntime, which other formats do without."""
    from darkroom.export import standalone

    return Path(standalone.__file__).read_text(encoding="utf-8")


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
