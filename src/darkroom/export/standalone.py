"""Predict the classes of images with model.onnx in this folder: python classify.py PHOTO ...

It needs onnxruntime, numpy and Pillow alone, and answers as the repository does in which the model was trained. From Python:

    from classify import Model
    model = Model.load("model.onnx")
    model.predict("photo.jpg")  # [("daisy", 0.98), ("rose", 0.01), ...]
"""

import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

# A JPEG is decoded at a half, a quarter or an eighth of its size, if that is at least twice the size that it is resized to.
REDUCTION = 2
# Under which the file of the model keeps what is known of it.
KEY = "darkroom"


class Model:
    """A classifier; `about` holds its classes, thresholds and hashes."""

    def __init__(self, session: Any, about: dict[str, Any]):
        self.session, self.about = session, about
        self.classes: list[str] = about["classes"]

    @classmethod
    def load(cls, path: str | Path, threads: int = 0) -> "Model":
        """Open an ONNX file; `threads` 0: as many as there are cores."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return cls(session, json.loads(session.get_modelmeta().custom_metadata_map[KEY]))

    def probabilities(self, image: Any) -> Any:
        """Return the probability of every class for a file, its bytes, an image of Pillow, or an array (H, W, 3) uint8."""
        return self.session.run(None, {"images": self.pixels(image)[None]})[0][0]

    def predict(self, image: Any) -> list[tuple[str, float]]:
        """Return the classes with their probabilities, the most probable first."""
        found = self.probabilities(image)
        return [(self.classes[place], float(found[place])) for place in np.argsort(-found, kind="stable")]

    def predict_many(self, images: Iterable[Any]) -> Iterator[list[tuple[str, float]]]:
        """Yield the classes of each of many images."""
        return map(self.predict, images)

    def chosen(self, image: Any) -> list[str]:
        """Return the classes that the model decides for: one, or of several labels any number; `unknown` where it abstains."""
        about, found = self.about, self.probabilities(image).astype(np.float64)
        if about["task"] == "multilabel":
            return [name for name, is_in in zip(self.classes, found > np.asarray(about["threshold"]), strict=True) if is_in]
        label = int(found.argmax())
        if about["task"] == "binary":
            positive = self.classes.index(about["positive_class"])
            label = positive if found[positive] > about["threshold"] else 1 - positive
        return ["unknown"] if about["abstain"] is not None and found[label] < about["abstain"] else [self.classes[label]]

    def pixels(self, image: Any) -> Any:
        """Return the array (H, W, 3) uint8 that the model takes, decoded as the images that it was trained on."""
        if isinstance(image, np.ndarray):
            return np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image)
        side = self.about["resize"] or (None if self.about["stored"] == "raw" else max(self.about["image_size"]))
        opened = image if isinstance(image, Image.Image) else _open(image, side)
        lossy, upright = opened.format in ("JPEG", "MPO", "WEBP", "AVIF"), _colours(ImageOps.exif_transpose(opened))
        if self.about["resize"] and min(upright.size) > self.about["resize"]:
            upright = _resized(upright, self.about["resize"])
            if self.about["stored"] == "encoded" and lossy:
                file = io.BytesIO()
                upright.save(file, "JPEG", quality=90)
                upright = _open(file.getvalue(), max(self.about["image_size"]))
        return np.array(upright.convert("RGB"))


def _open(image: Any, side: int | None) -> Any:
    opened = Image.open(io.BytesIO(image if isinstance(image, bytes) else Path(image).read_bytes()))
    if opened.format == "JPEG" and side:
        opened.draft(opened.mode, (REDUCTION * side, REDUCTION * side))
    return opened


def _colours(image: Any) -> Any:
    """Return an image in grey or RGB; transparent parts become white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("RGB")


def _resized(image: Any, side: int) -> Any:
    width, height = image.size
    size = (max(side, round(width * side / min(image.size))), max(side, round(height * side / min(image.size))))
    return image.resize(size, Image.Resampling.BICUBIC)


def main() -> None:
    """Print the decision and the most probable classes of each image."""
    model = Model.load(Path(__file__).with_name("model.onnx"))
    failed = False
    for name in sys.argv[1:]:
        try:
            found = model.predict(name)
        except OSError as error:  # also what is no image
            print(f"{name}: cannot be read ({error})", file=sys.stderr)
            failed = True
            continue
        top = ", ".join(f"{label} {probability:.4f}" for label, probability in found[:3])
        print(f"{name}: {'; '.join(model.chosen(name)) or 'none'} ({top})")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
