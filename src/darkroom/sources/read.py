"""Listing the images of `download.source`, whatever kind of source it is."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams, Target
from darkroom.data.images import ImageError
from darkroom.data.listing import Listing
from darkroom.sources.archive import Limits, unpack
from darkroom.sources.entries import Entry, FilesBelow, member_name, read_member, scan
from darkroom.sources.fetch import fetch, shown_archive
from darkroom.sources.folder import list_images
from darkroom.sources.manifest import list_manifest, read_table
from darkroom.sources.remote import is_remote, remote_folder, shown_address


@contextmanager
def read_source(params: DownloadParams, work_dir: Path) -> Iterator[Listing]:
    """List the images of `download.source`. They can be read until the block ends.

    Parameters
    ----------
    params
        Section `download` of params.yaml.
    work_dir
        Folder for an unpacked archive. Its file has no name there, so that nothing is left even if the process is killed.

    Raises
    ------
    InputError
        If the source does not exist, is of another kind, or its layout is ambiguous.
    RunError
        If a server or the network fails.
    """
    # Each source is imported only when it is used: torchvision takes seconds.
    if isinstance(params.source, Target):
        from darkroom.sources.own.examples import list_plugin

        yield list_plugin(params.source)
    elif params.source == "digits":
        from darkroom.sources.digits import list_digits

        yield list_digits()
    elif params.source == "torchvision":
        from darkroom.sources.torchvision import list_torchvision

        yield list_torchvision(params)
    elif params.source == "huggingface":
        from darkroom.sources.huggingface import huggingface_listing

        with huggingface_listing(params, _find_folder(params) if params.dataset is None else None, work_dir) as listing:
            yield listing
    elif params.source in ("folder", "manifest") and is_remote(params.folder):
        with remote_folder(params.folder, "params.yaml: download.folder") as entries:
            yield replace(_list_remote(entries, params), remote=True)
    elif params.source == "folder":
        yield _list_folder(params)
    elif params.source == "manifest":
        yield _list_manifest(params)
    else:
        with tempfile.TemporaryFile(dir=work_dir) as spool:
            yield _list_archives(params, spool)


def _list_folder(params: DownloadParams) -> Listing:
    folder = _find_folder(params)
    info = {"source": "folder", "name": params.folder, "licence": None}
    if params.folders is not None:
        chosen = {split: name for split, name in params.folders.model_dump().items() if name is not None}
        for split, name in chosen.items():
            _check_inside(folder, name, f"download.folders.{split}", params)
        entries = [_moved(entry, split) for split, name in chosen.items() for entry in _split_entries(folder / name)]
        return list_images({"": entries}, params.folder, info)
    for part in params.parts:
        _check_inside(folder, part, "download.parts", params)
    parts = {f"{part}/": scan(folder / part) for part in params.parts} or {"": scan(folder)}
    return list_images(parts, params.folder, info)


def _check_inside(folder: Path, name: str, key: str, params: DownloadParams) -> None:
    if not (folder / name).is_dir() or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"params.yaml: {key}: '{name}' is not a folder in {params.folder}; correct it, or set download.folder, which DVC "
            "watches, to a folder that contains it"
        )


def _split_entries(folder: Path) -> Iterator[Entry]:
    """Yield a folder of classes and what is in it; the folder itself is named "" so that an empty one is seen."""
    yield Entry("", "folder")
    yield from scan(folder)


def _moved(entry: Entry, split: str) -> Entry:
    return entry._replace(name=f"{split}/{entry.name}" if entry.name else split)


def _list_manifest(params: DownloadParams) -> Listing:
    folder, name = _find_folder(params), str(params.manifest)
    path = folder / name
    where = f"{params.folder}/{name}"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"params.yaml: download.manifest: {name} is outside of download.folder ({params.folder}), which DVC watches; "
            "move it there, or set download.folder to a folder that contains both"
        )
    if not path.is_file():
        raise InputError(
            f"params.yaml: download.manifest: {where} {'is not a file' if path.exists() else 'does not exist'}; correct it"
        )
    table = read_table(name, path.read_bytes(), where)
    info = {"source": "manifest", "name": where, "licence": None}
    images = FilesBelow(path.parent)
    return list_manifest(table, params.columns, images.read, where, info, images.identity)


def _list_remote(entries: list[Entry], params: DownloadParams) -> Listing:
    where = shown_address(params.folder)
    info = {"source": params.source, "name": where, "licence": None}
    if params.source == "manifest":
        return _list_members(entries, params, where, info | {"name": f"{where}/{params.manifest}"})
    if params.folders is not None:
        chosen = {split: name for split, name in params.folders.model_dump().items() if name is not None}
        parts = {f"{name}/": list(_below(entries, name)) for name in chosen.values()}
        _check_found(parts, "download.folders", where)
        moved = [_moved(entry, split) for split, name in chosen.items() for entry in parts[f"{name}/"]]
        return list_images({"": moved}, where, info)
    parts = {f"{part}/": list(_below(entries, part)) for part in params.parts} or {"": entries}
    _check_found(parts, "download.parts", where)
    return list_images(parts, where, info)


def _check_found(parts: dict[str, list[Entry]], key: str, where: str) -> None:
    for prefix, found in parts.items():
        if not found:
            raise InputError(f"params.yaml: {key}: '{prefix[:-1]}' is not a folder in {where}; correct it")


def _below(entries: list[Entry], folder: str) -> Iterator[Entry]:
    for entry in entries:
        if entry.name.startswith(f"{folder}/"):
            yield entry._replace(name=entry.name.removeprefix(f"{folder}/"))


def _find_folder(params: DownloadParams) -> Path:
    folder = paths.ROOT / Path(params.folder).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"params.yaml: download.folder: {params.folder} {what}; correct it, or create the folder")
    # DVC runs experiments of `--temp` and the queue in .dvc/tmp/exps, where only files are that Git tracks.
    if ".dvc/tmp/exps" in paths.ROOT.as_posix() and not any(entry.is_dir() for entry in folder.iterdir()):
        raise InputError(
            f"params.yaml: download.folder: {params.folder} is empty in the temporary folder of this experiment, which has only "
            "files that Git tracks; use an absolute path"
        )
    return folder


def _list_archives(params: DownloadParams, spool: IO[bytes]) -> Listing:
    where = shown_archive(params)
    info: dict[str, Any] = {"source": "archive", "name": where, "sha256": params.sha256, "licence": None}
    entries = _open_archive(params, spool)
    if params.manifest is not None:
        return _list_members(entries, params, where, info)
    if not params.more_archives:
        return list_images({"": entries}, where, info)
    others = [params.model_copy(update=each.model_dump()) for each in params.more_archives]
    info["more"] = [{"name": shown_archive(each), "sha256": each.sha256} for each in others]
    parts = {f"{number}/": each for number, each in enumerate([entries, *(_open_archive(each, spool) for each in others)], 1)}
    return list_images(parts, where, info)


def _open_archive(params: DownloadParams, spool: IO[bytes]) -> list[Entry]:
    archive = fetch(params)
    where = shown_archive(params)
    max_bytes = params.max_gigabytes * 1e9
    if archive.stat().st_size > max_bytes:
        raise InputError(f"{where}: is larger than {params.max_gigabytes:g} GB; if that is right, raise download.max_gigabytes")
    return unpack(archive, spool, Limits(params.max_files, max_bytes, params.max_ratio), where)


def _list_members(entries: list[Entry], params: DownloadParams, archive: str, info: dict[str, Any]) -> Listing:
    members = {entry.name: entry.read for entry in entries if entry.read}
    name = str(params.manifest)
    found = [name] if name in members else [member for member in members if member.endswith(f"/{name}")]
    if len(found) != 1:
        raise InputError(
            f"params.yaml: download.manifest: {archive} has {'several files' if found else 'no file'} '{name}'; "
            "set it to the path in the archive"
        )
    folder = found[0].removesuffix(name.rpartition("/")[2])
    where = f"{archive}/{found[0]}"
    try:
        content = members[found[0]]()
    except ImageError as error:
        raise InputError(f"{where}: {error}; correct it") from None
    table = read_table(name, content, where)
    return list_manifest(
        table,
        params.columns,
        lambda image: read_member(members, folder + image),
        where,
        info,
        lambda image: member_name(members, folder + image),
    )
