"""Photos whose class a person has corrected on the page: a folder that `download.source=manifest` takes. No torch."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.data.bands import read_image
from darkroom.data.images import FORMATS, NPY_START
from darkroom.data.labels import SEPARATOR, names
from darkroom.data.pack import Pack
from darkroom.data.stored import resized
from darkroom.serving.limits import Refused
from darkroom.sources.corrections.table import cell_of
from darkroom.sources.pack_writer import pixel_hash

MANIFEST, CORRECTIONS = "manifest.csv", "corrections.csv"
MANIFEST_COLUMNS = ("path", "label", "predicted", "probability", "weights_sha256")
CORRECTIONS_COLUMNS = ("id", "given", "label")
# A person corrects hundreds; more is a program, which would fill the disk.
MOST = 10_000
ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}
Row = dict[str, str]


class Collected:
    """The folder of `--collect`.

    A photo that is in data/raw, pixel by pixel, becomes a row of corrections.csv, the table of `download.corrections`. Any other
    one is kept as it was sent, named by its content, with a row of manifest.csv, the table of `download.manifest`.

    Parameters
    ----------
    folder
        Is created.
    classes
        That a photo may be given.
    pack
        data/raw, if it is here.

    Raises
    ------
    InputError
        If a table in the folder has other columns.
    """

    def __init__(self, folder: Path, classes: Sequence[str], pack: Pack | None):
        self.folder, self.classes, self.pack = folder, classes, pack
        files.make_folder(folder)
        self._rows = {digest: row for row, digest in enumerate(pack.pixel_hashes)} if pack else {}
        self._photos = _read(folder / MANIFEST, MANIFEST_COLUMNS)
        self._corrections = _read(folder / CORRECTIONS, CORRECTIONS_COLUMNS)

    def add(self, data: bytes, labels: Sequence[str], answer: Mapping[str, Any], weights_sha256: str) -> dict[str, str]:
        """Keep a correction, in place of an earlier one of the same photo; one at a time.

        Parameters
        ----------
        data
            The file, which can be decoded.
        labels
            Its classes.
        answer
            What the model said.
        weights_sha256
            Of the model.

        Returns
        -------
        kept : dict
            `table`, and `path` or `id` of the row.

        Raises
        ------
        Refused
            If it is no class of the model, or the folder is full.
        """
        if unknown := [label for label in labels if label not in self.classes]:
            raise Refused(422, "label", f"label: there is no class '{unknown[0]}'; GET /model lists the classes")
        label = SEPARATOR.join(labels)
        row = self._row_of(data)
        if row is not None:
            return self._correct(row, label)
        name = hashlib.sha256(data).hexdigest()[:32] + _ending(data)
        if name not in self._photos and len(self._photos) >= MOST:
            raise Refused(507, "collected", f"{self.folder.name}: holds {MOST} photos; label and move them, then start again")
        with files.replaced_file(self.folder / name) as temporary:
            temporary.write_bytes(data)
        self._photos[name] = {
            "path": name,
            "label": label,
            "predicted": SEPARATOR.join(answer.get("classes", [answer["class"]])),
            "probability": f"{answer['probability']:.4f}",
            "weights_sha256": weights_sha256,
        }
        _write(self.folder / MANIFEST, MANIFEST_COLUMNS, self._photos)
        return {"table": MANIFEST, "path": name, "label": label}

    def _row_of(self, data: bytes) -> int | None:
        """Return the row of data/raw with the same pixels, as download has hashed them."""
        if self.pack is None:
            return None
        decoded = read_image(data, 1 << 40, self.pack.resize, self.pack.bands)  # its pixels were counted when it was predicted
        return self._rows.get(pixel_hash(resized(decoded, self.pack.resize)))

    def _correct(self, row: int, label: str) -> dict[str, str]:
        assert self.pack is not None
        name = cell_of(self.pack.ids[row])
        given = names(self.pack.labels[row : row + 1], self.pack.classes)[0]
        self._corrections[name] = {"id": name, "given": cell_of(given), "label": cell_of(label)}
        _write(self.folder / CORRECTIONS, CORRECTIONS_COLUMNS, self._corrections)
        return {"table": CORRECTIONS, "id": self.pack.ids[row], "label": label}


def _ending(data: bytes) -> str:
    if data.startswith(NPY_START):
        return ".npy"
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return ENDINGS.get(str(image.format), f".{str(image.format).lower()}")


def _read(path: Path, columns: Sequence[str]) -> dict[str, Row]:
    """Return the rows of a table by their first column; none if there is no table."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise InputError(f"--collect: {path} is not UTF-8; save it so, or name another folder") from None
    if list(reader.fieldnames or ()) != list(columns):
        raise InputError(f"--collect: {path} has other columns than {', '.join(columns)}; name another folder")
    return {row[columns[0]]: {name: row[name] or "" for name in columns} for row in reader}


def _write(path: Path, columns: Sequence[str], rows: Mapping[str, Row]) -> None:
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    files.write_text(path, written.getvalue())
