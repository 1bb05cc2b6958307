"""Predict the classes of images with model.onnx in this folder: python classify.py PHOTO ...

It needs onnxruntime, numpy and Pillow alone, and answers as the repository does in which the model was trained. From Python:

    from classify import Model
    model = Model.load()
    model.predict("photo.jpg")  # [("daisy", 0.98), ("rose", 0.01), ...]; its `chosen` is ["daisy"]
    model.embed("photo.jpg")  # array (D,) of the features before the last layer
"""

import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

# A JPEG is decoded at a half, a quarter or an eighth of its size, if that is at least twice the size that it is resized to.
REDUCTION = 2
KEY = "darkroom"  # under which the file of the model keeps what is known of it
ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
# What begins a segment of a JPEG; in compressed data 0xff is followed by 0, or by the number of a restart. And its end.
MARKER, END = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL), b"\xff\xd9"
# Data for pixels that are missing, also of those behind any restart; of a JPEG that is whole it changes none.
MORE = b"".join(bytes(range(254, 126, -1)) + bytes([255, number]) for number in range(0xD0, 0xD8))
WANTED = "give a file, a folder, its bytes, an array or an image of Pillow"


class Prediction(list[tuple[str, float]]):
    """The classes of an image with their probabilities, the most probable first; of a binary task the predicted one.

    `chosen` is what the model decides for: one class, of several labels any number, `["unknown"]` where it abstains; `why` it
    does: `uncertain`, `foreign`. `path` is that of the image, if it was a file.
    """

    def __init__(self, ranked: list[tuple[str, float]], chosen: list[str], why: list[str], path: str | None):
        super().__init__(ranked)
        self.chosen, self.why, self.path = chosen, why, path


class Model:
    """A classifier; `about` holds its classes, thresholds and hashes.

    An image is a file, its bytes, an image of Pillow, or an array (H, W) or (H, W, 3) uint8. Several are a folder, a batch
    (N, H, W, 3), or anything that can be iterated: a list is returned; for an iterator, such as a generator, an iterator.
    What is no image, or a damaged one, is a ValueError of one line that names it.
    """

    def __init__(self, session: Any):
        self.session = session
        self.about: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
        self.classes: list[str] = self.about["classes"]

    @classmethod
    def load(cls, path: str | Path = Path(__file__).parent, threads: int = 0) -> "Model":
        """Open an ONNX file, or that of a folder; `threads` 0: as many as there are cores."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        file = Path(path) / "model.onnx" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise ValueError(f"{file}: does not exist; name a file of './darkroom export', or its folder")
        return cls(onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]))

    def predict(self, images: Any) -> Any:
        """Return a `Prediction` for an image, or a list or an iterator of them for several."""
        return _each(images, self._predicted)

    def probabilities(self, images: Any) -> Any:
        """Return the probabilities (K,) of an image in the order of `classes`, (N, K) of several."""
        found = _each(images, lambda image, name: self._outputs(image, name)["probabilities"].astype(np.float64))
        return _stacked(found, len(self.classes))

    def embed(self, images: Any) -> Any:
        """Return the features (D,) before the last layer of an image, (N, D) of several; of an iterator an iterator of (D,)."""
        shapes = {output.name: output.shape for output in self.session.get_outputs()}
        if "embedding" not in shapes:
            raise ValueError("the network of this model has no single last layer whose input could be used")
        return _stacked(_each(images, lambda image, name: self._outputs(image, name)["embedding"]), shapes["embedding"][-1])

    def _outputs(self, image: Any, name: str) -> dict[str, Any]:
        found = self.session.run(None, {"images": self._pixels(image, name)[None]})
        return {output.name: values[0] for output, values in zip(self.session.get_outputs(), found, strict=True)}

    def _predicted(self, image: Any, name: str) -> Prediction:
        outputs, about = self._outputs(image, name), self.about
        found = outputs["probabilities"].astype(np.float64)
        order = [int(place) for place in np.argsort(-found, kind="stable")]
        if about["task"] == "binary":
            positive = self.classes.index(about["positive_class"])
            order = [positive, 1 - positive] if found[positive] > about["threshold"] else [1 - positive, positive]
        why = ["foreign"] if outputs.get("foreign", 0) > 1 else []
        why += ["uncertain"] if about["abstain"] is not None and found[order[0]] < about["abstain"] else []
        chosen = ["unknown"] if why else [self.classes[order[0]]]
        if about["task"] == "multilabel":
            chosen = [self.classes[place] for place in np.flatnonzero(found > np.asarray(about["threshold"]))]
        path = str(image) if isinstance(image, str | Path) else None
        return Prediction([(self.classes[place], float(found[place])) for place in order], chosen, why, path)

    def _pixels(self, image: Any, name: str) -> Any:
        """Return the array (H, W, 3) uint8 that the model takes; what cannot be decoded is a ValueError."""
        try:
            return self._decoded(image)
        except UnidentifiedImageError:
            reason = "is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image"
        except Exception as error:  # Pillow raises nearly every kind on damaged files
            known = str(error) if type(error) is ValueError else getattr(error, "strerror", None)
            reason = known or f"is damaged ({error})"
        raise ValueError(f"{name}: cannot be read ({reason}); correct it, or leave it out")

    def _decoded(self, image: Any) -> Any:
        """Return the array (H, W, 3) uint8 that the model takes, decoded as the images that it was trained on."""
        resize, stored = self.about["resize"], self.about["stored"]
        if isinstance(image, np.ndarray):
            opened: Any = _of_array(image)
        elif isinstance(image, Image.Image) and not (image.format in ("JPEG", "MPO") and getattr(image, "fp", None)):
            opened = image
        else:  # also a JPEG of which Pillow has read the header alone
            opened = _opened(image, resize or (None if stored == "raw" else max(self.about["image_size"])))
        if 0 in opened.size:
            raise ValueError("has no pixels")
        lossy, upright = opened.format in ("JPEG", "MPO", "WEBP", "AVIF"), _colours(ImageOps.exif_transpose(opened))
        if resize and min(upright.size) > resize:
            size = (max(resize, round(side * resize / min(upright.size))) for side in upright.size)
            upright = upright.resize(tuple(size), Image.Resampling.BICUBIC)
            if stored == "encoded" and lossy:
                file = io.BytesIO()
                upright.save(file, "JPEG", quality=90)
                upright = _opened(file.getvalue(), max(self.about["image_size"]))
        return np.array(upright.convert("RGB"))


def _each(images: Any, compute: Callable[[Any, str], Any]) -> Any:
    """Return what is computed for one image, a list of it for several, an iterator for an iterator."""
    if isinstance(images, str | Path) and Path(images).is_dir():
        images = _files(Path(images))
    elif isinstance(images, str | Path | bytes | Image.Image) or getattr(images, "ndim", 4) < 4:
        return compute(images, _name(images, 0))
    if not hasattr(images, "__iter__"):
        raise ValueError(f"predict: {type(images).__name__} is no image; {WANTED}, or several")
    found = (compute(image, _name(image, number)) for number, image in enumerate(images))
    return found if isinstance(images, Iterator) else list(found)


def _name(image: Any, number: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"image {number}"


def _files(folder: Path) -> list[Path]:
    """Return the images in a folder and below, sorted by name."""
    every = [path for path in folder.rglob("[!.]*") if path.suffix.lower() in ENDINGS and path.is_file()]
    if found := sorted(path for path in every if not any(part.startswith(".") for part in path.relative_to(folder).parts)):
        return found
    raise ValueError(f"{folder}: holds no image ({', '.join(ENDINGS)}); name another folder")


def _stacked(found: Any, size: int) -> Any:
    """Return a list of arrays as one, (N, size)."""
    return (np.stack(found) if found else np.zeros((0, size), np.float32)) if isinstance(found, list) else found


def _of_array(image: Any) -> Any:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(f"is an array {image.shape} of {image.dtype}; give (H, W) or (H, W, 3) of uint8")
    return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)


def _opened(image: Any, side: int | None) -> Any:
    """Return an image of a file; what of its damage Pillow does not see is looked for."""
    if hasattr(image, "fp"):
        image.fp.seek(0)
        image = image.fp.read()
    if not isinstance(image, bytes | str | Path):
        raise ValueError(f"is of the type {type(image).__name__}; {WANTED}")
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    opened = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"))
    return _whole_jpeg(data, side) if opened.format in ("JPEG", "MPO") else opened


def _whole_jpeg(data: bytes, side: int | None) -> Any:
    """Return a JPEG; one that ends early is refused: of its last pixels Pillow makes grey, without a word."""
    position = 2
    while (found := MARKER.search(data, position)) and found[1] != END[1:]:
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    data = data[: found.start()] if found else data.rstrip(b"\xff")
    whole, longer = (JpegImageFile(io.BytesIO(each + END)) for each in (data, data + MORE))
    for each in (whole, longer):
        if side:
            each.draft(each.mode, (REDUCTION * side, REDUCTION * side))
    if not np.array_equal(np.asarray(whole), np.asarray(longer)):
        raise ValueError("is damaged (it ends early)")
    return whole


def _check_png(data: bytes) -> None:
    """Refuse a PNG with wrong checksums: Pillow does not compare those of pixels."""
    position = 8
    while position + 8 <= len(data):
        name, end = data[position + 4 : position + 8], position + 8 + int.from_bytes(data[position : position + 4])
        found = zlib.crc32(data[position + 4 : end]).to_bytes(4)
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT") and end + 4 <= len(data) and data[end : end + 4] != found:
            raise ValueError(f"is damaged (wrong checksum of {name.decode()})")
        position = end + 4


def _colours(image: Any) -> Any:
    """Return an image in grey or RGB; transparent parts become white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"has pixels of Pillow's mode {image.mode}; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("RGB")


def main(arguments: list[str]) -> int:
    """Print the decision and the most probable classes of each image; return the exit status: 1 if one cannot be read."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print("usage: python classify.py PHOTO_OR_FOLDER ...", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    failed = False
    try:
        model = Model.load()
        names = [path for each in arguments for path in (_files(Path(each)) if Path(each).is_dir() else [each])]
    except ValueError as error:
        sys.exit(str(error))
    for name in names:
        try:
            found = model.predict(name)
        except ValueError as error:  # what is no image
            print(error, file=sys.stderr)
            failed = True
        else:
            print(
                f"{name}: {'; '.join(found.chosen) or 'none'} ({', '.join(f'{each} {value:.4f}' for each, value in found[:3])})"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
