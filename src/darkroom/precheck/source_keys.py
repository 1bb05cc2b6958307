"""Keys of `download` that were set although `download.source` is one that does not read them."""

from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams
from darkroom.base.params_checks import SOURCES_OF_KEY
from darkroom.base.yaml_file import read_yaml

READ_BY = SOURCES_OF_KEY | {"folder": ["folder", "manifest", "huggingface"]}
# Those of a new clone.
FIRST: dict[str, Any] = {
    **{"source": "digits", "dataset": None, "arguments": {}, "folder": "data/photos", "parts": [], "folders": None},
    **{"manifest": None, "archive": None, "sha256": None, "more_archives": []},
}


def check_source_keys(download: DownloadParams, lock: Path) -> None:
    """Refuse a key that was changed since data/raw was recorded, if `download.source` was not and does not read it.

    A value that is left from another source has no effect either, but nobody expects one of it.

    Parameters
    ----------
    download
        Section `download` of params.yaml.
    lock
        dvc.lock, which may be missing.

    Raises
    ------
    InputError
        Naming the key and the source that reads it.
    """
    now = download.model_dump(by_alias=True)
    source = now["source"]
    if not isinstance(source, str):  # one of one's own may have its folder watched by DVC
        return
    unread = [key for key, sources in READ_BY.items() if source not in sources and now[key] != FIRST[key]]
    before = FIRST | _recorded(lock) if unread else FIRST
    for key in unread:
        if before["source"] == source and before.get(key) != now[key]:
            raise InputError(
                f"params.yaml: download.{key}: was set, but download.source is {source}, which does not read it; "
                f"set download.source to {READ_BY[key][0]}, or put download.{key} back"
            )


def _recorded(lock: Path) -> dict[str, Any]:
    """Return the section `download` that dvc.lock records, nothing if there is none."""
    try:
        content = read_yaml(lock)
    except InputError:
        return {}
    for key in ("stages", "download", "params", "params.yaml", "download"):
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}
