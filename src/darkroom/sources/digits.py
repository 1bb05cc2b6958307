"""The 1 797 scans of handwritten digits that are part of scikit-learn: real images without a download."""

import gzip
import hashlib
import importlib.util
import io
from functools import partial
from pathlib import Path

import numpy as np

from darkroom.base.errors import RunError
from darkroom.data.images import Decoded, ImageArray
from darkroom.data.listing import Item, Listing, Sample

# Of the unpacked datasets/data/digits.csv.gz of scikit-learn 1.9.
SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
INFO = {
    "source": "digits",
    "name": "Optical recognition of handwritten digits: the test set, as bundled with scikit-learn",
    "url": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    "sha256": SHA256,
    "licence": "CC BY 4.0",
    "citation": "E. Alpaydin and C. Kaynak (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning Repository. "
    "https://doi.org/10.24432/C50P49",
}


def list_digits() -> Listing:
    """List the digits: 8 by 8 grey values, ten classes of 174 to 183 images. The values 0..16 of the file become 0..255.

    The file is read without importing scikit-learn, which would take longer (1.3 s) than the rest of the stage.

    Raises
    ------
    RunError
        If the installed scikit-learn does not have the expected file.
    """
    table = np.loadtxt(io.BytesIO(_read_table()), delimiter=",", dtype=np.uint8)  # (1797, 65): pixels, then the digit
    images = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    items = [
        Item(f"{row:04d}", "train", partial(_sample, image, int(digit)))
        for row, (image, digit) in enumerate(zip(images, table[:, 64], strict=True))
    ]
    return Listing("digits", items, lambda present: [str(digit) for digit in present], INFO)


def _sample(image: ImageArray, digit: int) -> Sample:
    return Decoded(image), digit


def _read_table() -> bytes:
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0] if folders else "sklearn") / "datasets" / "data" / "digits.csv.gz"
    try:
        table = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise RunError(f"scikit-learn: {path.name} cannot be read ({error}); install requirements.txt again") from None
    if hashlib.sha256(table).hexdigest() != SHA256:
        raise RunError(f"scikit-learn: {path.name} has an unknown SHA-256; install requirements.txt again")
    return table
