"""Data sets of the `datasets` library: from the Hugging Face hub at a fixed commit, or from a folder (Parquet, Arrow, …)."""

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError, RunError, one_line
from darkroom.base.params import DownloadParams
from darkroom.data.images import ImageError
from darkroom.data.listing import Listing, column_texts, printable
from darkroom.sources.columns import Row, Table
from darkroom.sources.entries import read_file, refuse_outside
from darkroom.sources.folder import LEVELS
from darkroom.sources.manifest import list_manifest

KEY = "params.yaml: download"
ARGUMENTS = ("name", "revision", "split", "data_dir", "data_files")
# Formats that `datasets` may read: no scripts, no pickles, no databases.
FORMATS = ("parquet", "arrow", "imagefolder", "webdataset")
SPLIT = "split of the data set"  # name of the column that is added


@contextmanager
def huggingface_listing(params: DownloadParams, folder: Path | None, work_dir: Path) -> Iterator[Listing]:
    """List the images of `download.dataset` on the hub, or of a folder. They can be read until the block ends.

    Parameters
    ----------
    params
        Section `download` of params.yaml.
    folder
        The path of `download.folder`; None if the data set is on the hub.
    work_dir
        Folder for the data set as Arrow files, which are removed at the end. Downloads stay in the hub's own cache ($HF_HOME).

    Raises
    ------
    InputError
        If there is no such data set, no commit is given, or it has no images with labels.
    RunError
        If the hub or the network fails.
    """
    try:
        import datasets
    except ImportError:
        advice = "run 'pip install -c requirements-dev.txt datasets'"
        raise InputError(f"{KEY}.source: huggingface needs the package datasets, which is not installed; {advice}") from None
    # Otherwise the library reports every data set that it reads to the hub, also one in a folder.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    for key in params.arguments:
        if key not in ARGUMENTS:
            raise InputError(f"{KEY}.arguments.{key}: is not one of {', '.join(ARGUMENTS)}; remove it")
    where = params.folder if params.dataset is None else params.dataset
    licence = None if params.dataset is None else _licence(params)
    info = {"source": "huggingface", "arguments": params.arguments, "name": where, "licence": licence}
    with tempfile.TemporaryDirectory(dir=work_dir) as cache:
        with _errors_explained(where):
            parts = _read(params, Path(cache), folder)
        yield _list(parts, params, where, info, folder)


def _licence(params: DownloadParams) -> str | None:
    """Return the licence that the hub states; refuse a revision that is not a commit, since a branch may change."""
    from huggingface_hub import HfApi

    name, revision = str(params.dataset), params.arguments.get("revision")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(f"{KEY}.dataset: '{printable(name)}' is not the name of a data set on the hub; write it as owner/name")
    if Path(name).exists():
        raise InputError(f"{KEY}.dataset: {name} is a folder here; set download.dataset to null and download.folder to it")
    pinned = isinstance(revision, str) and re.fullmatch("[0-9a-f]{40}", revision)
    with _errors_explained(name):
        found = HfApi(library_name="darkroom").dataset_info(name, revision=revision)
    if not pinned:
        raise InputError(
            f"{KEY}.arguments.revision: is {revision or 'missing'}, but must be a commit, since a branch may change; "
            f"the latest commit is -S download.arguments.revision={found.sha}"
        )
    licence = found.card_data.get("license") if found.card_data else None
    return ", ".join(licence) if isinstance(licence, list) else licence


@contextmanager
def _errors_explained(where: str) -> Iterator[None]:
    """Turn errors of the two libraries into one line: failures of the network, wrong parameters, damaged files."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403, 404):
            advice = "correct the name and the revision, or run 'hf auth login' if it is private"
            raise InputError(f"{KEY}.dataset: the hub refuses {where} (status {status}); {advice}") from None
        raise RunError(f"{where}: the hub returns status {status} ({_reason(error)}); run the same command later") from error
    except (httpx2.HTTPError, ConnectionError, OfflineModeIsEnabled) as error:
        raise RunError(f"{where}: the hub cannot be reached ({_reason(error)}); run the same command later") from error
    except (InputError, RunError, MemoryError):
        raise
    except Exception as error:
        # They wrap other errors; the first cause is the useful one.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, httpx2.HTTPError):
            raise RunError(f"{where}: the download broke off ({_reason(cause)}); run the same command again") from error
        # A full disk is not an error in the data.
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, FileNotFoundError):
            raise cause from None
        raise InputError(
            f"{where}: cannot be read ({_reason(cause)}); correct download.arguments, or the files of the data set"
        ) from error


def _reason(error: BaseException) -> str:
    return one_line(str(error).strip().partition("\n")[0] or type(error).__name__)[:200].rstrip(".: ")


def _read(params: DownloadParams, cache: Path, folder: Path | None) -> dict[str, Any]:
    """Return the data set, by split."""
    import datasets

    if folder is not None and ((folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()):
        saved = datasets.load_from_disk(str(folder))
        parts = {"train": saved} if isinstance(saved, datasets.Dataset) else dict(saved)
        refuse_outside([file["filename"] for part in parts.values() for file in part.cache_files], params.folder, folder)
        return parts
    arguments = {key: value for key, value in params.arguments.items() if key != "split"}
    builder = datasets.load_dataset_builder(str(folder or params.dataset), cache_dir=str(cache), **arguments)
    form = type(builder).__module__.rpartition(".")[2]
    if form not in FORMATS:
        raise InputError(f"{params.dataset or params.folder}: has {form} files; Darkroom reads {', '.join(FORMATS)}")
    if folder is not None:
        refuse_outside([path for paths in (builder.config.data_files or {}).values() for path in paths], params.folder, folder)
    builder.download_and_prepare()
    wanted = params.arguments.get("split")
    if isinstance(wanted, list):
        return {name: builder.as_dataset(split=name) for name in wanted}
    # A single split is listed as train, to be split again.
    return dict(builder.as_dataset()) if wanted is None else {"train": builder.as_dataset(split=wanted)}


def _list(parts: Mapping[str, Any], params: DownloadParams, where: str, info: dict[str, Any], folder: Path | None) -> Listing:
    import datasets

    features = next(iter(parts.values())).features
    image = _image_column(features, params.columns.path, where)
    label = params.columns.label or _label_column(features, where)
    columns = [name for name, kind in features.items() if name == label or _is_text(kind)]
    roles = {"path": image, "label": label, "split": params.columns.split or SPLIT}
    table = Table([image, *columns, *({SPLIT} & {roles["split"]})], [])
    images, several = {}, _is_list(features.get(label))
    for part, data in parts.items():
        if part.casefold() not in LEVELS:
            advice = "name the splits to use, as in -S 'download.arguments.split=[train, test]'"
            raise InputError(f"{where}: has a split '{printable(part)}', which is not train, validation or test; {advice}")
        texts = [_texts(data, column) for column in columns]
        if not several and data.num_rows and label in columns and not any(texts[columns.index(label)]):
            advice = "name the splits that have labels, as in -S 'download.arguments.split=train'"
            raise InputError(f"{where}: the split '{printable(part)}' has no labels; {advice}")
        images[part] = data.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        width = len(str(max(data.num_rows - 1, 0)))
        names = [f"{part}/{index:0{width}d}" for index in range(data.num_rows)]
        own = [[part] * data.num_rows] if roles["split"] == SPLIT else []
        rows: Iterator[Row] = zip(names, *texts, *own, strict=True)
        table.rows.extend(enumerate(rows, len(table.rows) + 1))
    if not table.rows:
        raise InputError(f"{where}: holds no images; add images")
    if several:
        roles["separator"] = params.columns.separator or ";"
    read = partial(_read_image, images, image, folder)
    return list_manifest(table, params.columns.model_copy(update=roles), read, where, info)


def _image_column(features: Mapping[str, Any], name: str | None, where: str) -> str:
    import datasets

    found = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    if name is not None and name not in found:
        raise InputError(f"{KEY}.columns.path: {where} has no images in a column '{name}'; {_listed(found, 'they are in')}")
    if name is None and len(found) != 1:
        raise InputError(f"{where}: has {len(found)} columns of images; {_listed(found, 'set download.columns.path to one of')}")
    return name or found[0]


def _label_column(features: Mapping[str, Any], where: str) -> str:
    import datasets

    found = [key for key, kind in features.items() if isinstance(getattr(kind, "feature", kind), datasets.ClassLabel)]
    usual = found or [key for key in features if key.casefold() in ("label", "labels", "class", "category", "target")]
    if len(usual) != 1:
        candidates = usual or [key for key, kind in features.items() if _is_text(kind)]
        advice = _listed(candidates, "set download.columns.label to one of")
        raise InputError(f"{where}: has {len(usual)} columns that may be the label; {advice}")
    return usual[0]


def _listed(names: list[str], before: str) -> str:
    return f"{before} {', '.join(map(printable, names))}" if names else "use a data set of images with labels"


def _is_list(kind: Any) -> bool:
    return hasattr(kind, "feature")


def _is_text(kind: Any) -> bool:
    """Return whether a column has text, numbers or classes, which can be kept with the image."""
    import datasets

    return isinstance(kind, datasets.ClassLabel) or (isinstance(kind, datasets.Value) and "binary" not in str(kind.dtype))


def _texts(data: Any, column: str) -> list[str]:
    """Return a column as text, classes as their names."""
    import datasets

    kind = data.features.get(column)
    inner = getattr(kind, "feature", kind)
    names = inner.names if isinstance(inner, datasets.ClassLabel) else None

    def texts(values: list[Any]) -> list[str]:
        if names is None:
            return column_texts(values)
        return ["" if value is None or value == -1 else str(names[value]) for value in values]

    values = data.select_columns([column]).to_dict()[column]
    if _is_list(kind):
        return [json.dumps(texts(each or [])) for each in values]
    return texts(values)


def _read_image(images: Mapping[str, Any], column: str, folder: Path | None, name: str) -> bytes:
    part, _, index = name.rpartition("/")
    cell = images[part][int(index)][column] or {}
    if cell.get("bytes") is not None:
        return bytes(cell["bytes"])
    # A data set in a folder may name files of that folder; one from the hub may name no file of this machine.
    path = Path(cell.get("path") or "")
    if folder is None or not cell.get("path") or not path.resolve().is_relative_to(folder.resolve()):
        raise ImageError("has no content")
    return read_file(path)
