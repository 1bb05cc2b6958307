"""Predict the classes of images with model.onnx in this folder: python classify.py PHOTO ...

It needs onnxruntime, numpy and Pillow alone, and answers as the repository does in which the model was trained. From Python:

    from classify import Model
    model = Model.load()
    model.predict("photo.jpg")  # [("daisy", 0.98), ("rose", 0.01), ...]
    model.predict("photo.jpg").chosen  # ["daisy"]
    model.embed("photo.jpg")  # array (D,) of the features before the last layer
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

# A JPEG is decoded at a half, a quarter or an eighth of its size, if that is at least twice the size that it is resized to.
REDUCTION = 2
# Under which the file of the model keeps what is known of it.
KEY = "darkroom"
ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


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
        return cls(onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]))

    def predict(self, images: Any) -> Any:
        """Return a `Prediction` for an image, or a list or an iterator of them for several."""
        return _each(images, self._predicted)

    def probabilities(self, images: Any) -> Any:
        """Return the probabilities (K,) of an image in the order of `classes`, (N, K) of several."""
        return _stacked(_each(images, lambda image: self._outputs(image)["probabilities"].astype(np.float64)))

    def embed(self, images: Any) -> Any:
        """Return the features (D,) before the last layer of an image, (N, D) of several; of an iterator an iterator of (D,)."""
        return _stacked(_each(images, self._embedded))

    def _outputs(self, image: Any) -> dict[str, Any]:
        found = self.session.run(None, {"images": self._pixels(image)[None]})
        return {output.name: values[0] for output, values in zip(self.session.get_outputs(), found, strict=True)}

    def _embedded(self, image: Any) -> Any:
        outputs = self._outputs(image)
        if "embedding" not in outputs:
            raise ValueError("the network of this model has no single last layer whose input could be used")
        return outputs["embedding"]

    def _predicted(self, image: Any) -> Prediction:
        outputs, about = self._outputs(image), self.about
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

    def _pixels(self, image: Any) -> Any:
        """Return the array (H, W, 3) uint8 that the model takes, decoded as the images that it was trained on."""
        resize, is_file = self.about["resize"], self.about["stored"] == "encoded"
        if isinstance(image, np.ndarray):
            opened: Any = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
        elif isinstance(image, Image.Image) and not (image.format in ("JPEG", "MPO") and getattr(image, "fp", None)):
            opened = image
        else:  # also a JPEG of which Pillow has read the header alone
            opened = _opened(image, resize or (None if self.about["stored"] == "raw" else max(self.about["image_size"])))
        lossy, upright = opened.format in ("JPEG", "MPO", "WEBP", "AVIF"), _colours(ImageOps.exif_transpose(opened))
        if resize and min(upright.size) > resize:
            upright = _resized(upright, resize)
            if is_file and lossy:
                file = io.BytesIO()
                upright.save(file, "JPEG", quality=90)
                upright = _opened(file.getvalue(), max(self.about["image_size"]))
        return np.array(upright.convert("RGB"))


def _each(images: Any, compute: Callable[[Any], Any]) -> Any:
    """Return what is computed for one image, a list of it for several, an iterator for an iterator."""
    if isinstance(images, str | Path) and Path(images).is_dir():
        images = _files(Path(images))
    elif isinstance(images, str | Path | bytes | Image.Image) or getattr(images, "ndim", 4) < 4:
        return compute(images)
    return map(compute, images) if isinstance(images, Iterator) else [compute(image) for image in images]


def _files(folder: Path) -> list[Path]:
    """Return the images in a folder and below, sorted by name."""
    found = [path for path in folder.rglob("[!.]*") if path.suffix.lower() in ENDINGS and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _stacked(found: Any) -> Any:
    """Return a list of arrays as one."""
    return (np.stack(found) if found else np.zeros((0, 0))) if isinstance(found, list) else found


def _opened(image: Any, side: int | None) -> Any:
    if hasattr(image, "fp"):
        image.fp.seek(0)
        image = image.fp.read()
    opened = Image.open(io.BytesIO(image if isinstance(image, bytes) else Path(image).read_bytes()))
    if opened.format in ("JPEG", "MPO") and side:
        opened.draft(opened.mode, (REDUCTION * side, REDUCTION * side))
    return opened


def _colours(image: Any) -> Any:
    """Return an image in grey or RGB; transparent parts become white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"has pixels of Pillow's mode {image.mode}; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("RGB")


def _resized(image: Any, side: int) -> Any:
    width, height = image.size
    size = (max(side, round(width * side / min(image.size))), max(side, round(height * side / min(image.size))))
    return image.resize(size, Image.Resampling.BICUBIC)


def main() -> None:
    """Print the decision and the most probable classes of each image."""
    model = Model.load()
    failed = False
    for name in [path for each in sys.argv[1:] for path in (_files(Path(each)) if Path(each).is_dir() else [each])]:
        try:
            found = model.predict(name)
        except (OSError, ValueError) as error:  # also what is no image
            print(f"{name}: cannot be read ({error})", file=sys.stderr)
            failed = True
            continue
        top = ", ".join(f"{label} {probability:.4f}" for label, probability in found[:3])
        print(f"{name}: {'; '.join(found.chosen) or 'none'} ({top})")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
