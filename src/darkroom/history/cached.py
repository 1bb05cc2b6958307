"""Small files of other revisions that stand in DVC's cache: by their MD5 in dvc.lock, without DVC."""

import json
import re
from pathlib import Path
from typing import Any

# Of what is read here; a file of another kind under that hash is not opened.
MAX_BYTES = 20_000_000
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def read_cached(cache: Path | None, md5: str | None) -> Any:
    """Return a JSON file of DVC's cache by its hash, `….dir` for the list of a folder; None if it cannot be read."""
    if cache is None or md5 is None or not MD5.fullmatch(md5):
        return None
    path = cache / "files" / "md5" / md5[:2] / md5[2:]
    try:
        if path.stat().st_size > MAX_BYTES or not path.is_file():
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # not fetched, damaged, no path at all
        return None


def read_in_folder(cache: Path | None, md5: str | None, name: str) -> Any:
    """Return the content of a JSON file in a folder that DVC keeps; None if it cannot be read."""
    listing = read_cached(cache, md5)
    if not isinstance(listing, list):
        return None
    entries = {entry.get("relpath"): entry.get("md5") for entry in listing if isinstance(entry, dict)}
    found = entries.get(name)
    return read_cached(cache, found) if isinstance(found, str) else None
