"""The pictures that `download.source` names, whichever kind it is."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from darkroom import paths
from darkroom.data.fetch import fetch, shown_archive
from darkroom.data.folders import list_pictures, scan
from darkroom.data.listing import Listing
from darkroom.data.unpack import Limits, unpack
from darkroom.errors import InputError
from darkroom.params import DownloadParams


@contextmanager
def read_source(params: DownloadParams, work_dir: Path) -> Iterator[Listing]:
    """List the pictures of `download.source`; they can be read until the block ends.

    Parameters
    ----------
    params
        Section `download` of params.yaml.
    work_dir
        Folder with room for an unpacked archive. It has no name there, so that nothing is left of it even after a kill.

    Raises
    ------
    InputError
        If the source does not exist, is not what it should be, or its layout leaves room for guesses.
    RunError
        If a server or the network fails.
    """
    # Each source is imported where it is used: torchvision takes seconds.
    if params.source == "digits":
        from darkroom.data.digits import list_digits

        yield list_digits()
    elif params.source == "torchvision":
        from darkroom.data.torchvision_sets import list_torchvision

        yield list_torchvision(params)
    elif params.source == "folder":
        yield _list_folder(params)
    else:
        with tempfile.TemporaryFile(dir=work_dir) as spool:
            yield _list_archive(params, spool)


def _list_folder(params: DownloadParams) -> Listing:
    folder = paths.ROOT / Path(params.folder).expanduser()
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"params.yaml: download.folder: {params.folder} {what}; correct it, or make the folder")
    # DVC runs experiments of `--temp` and the queue in .dvc/tmp/exps, with a copy of what Git knows.
    if ".dvc/tmp/exps" in paths.ROOT.as_posix() and not any(entry.is_dir() for entry in folder.iterdir()):
        raise InputError(
            f"params.yaml: download.folder: {params.folder} is empty in this experiment's temporary folder, which has only what "
            "Git knows; name it by its absolute path"
        )
    info = {"source": "folder", "name": params.folder, "licence": None}
    return list_pictures(scan(folder), params.folder, info)


def _list_archive(params: DownloadParams, spool: IO[bytes]) -> Listing:
    archive = fetch(params)
    where = shown_archive(params)
    max_bytes = params.max_gigabytes * 1e9
    if archive.stat().st_size > max_bytes:
        raise InputError(f"{where}: is larger than {params.max_gigabytes:g} GB; if that is right, raise download.max_gigabytes")
    entries = unpack(archive, spool, Limits(params.max_files, max_bytes, params.max_ratio), where)
    info = {"source": "archive", "name": where, "sha256": params.sha256, "licence": None}
    return list_pictures(entries, where, info)
