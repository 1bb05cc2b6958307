"""Count the photos that an ONNX file decides otherwise than the repository: python benchmarks/export_decisions.py FOLDER.

Photos of mixed sizes and formats are made from the images in FOLDER: crops from 24 to 900 pixels as JPEG of many qualities, grey,
progressive or turned by EXIF, as PNG with and without alpha and with 16 bits, WebP and GIF. The model of the workspace is
exported. Its classify.py classifies the files in an environment of its own with onnxruntime, NumPy and Pillow alone; the
repository predicts the same files as `./darkroom predict` does. Decisions count as different beyond a tie of 1e-4.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
from PIL import Image

from darkroom import Model
from darkroom.prediction.find_photos import find_photos

PACKAGES = ("onnxruntime", "numpy", "pillow")
TIE = 1e-4
SMALLEST, LARGEST = 24, 900
KINDS = ("jpeg", "jpeg", "jpeg", "turned", "progressive", "grey", "png", "alpha", "deep", "palette", "webp", "gif")
# Run by the other interpreter: prints what classify.py decides, image by image.
CLASSIFY = """
import json, sys
sys.path.insert(0, sys.argv[1])
from classify import Model
for found in Model.load(threads=int(sys.argv[3])).predict(each for each in open(sys.argv[2]).read().splitlines()):
    print(json.dumps([found.chosen, found[:2]]))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "timm", "darkroom"})))
"""


def make_photo(source: Path, folder: Path, number: int) -> Path:
    """Write a part of an image in a size and a format that its number decides."""
    random = np.random.default_rng(number)
    image = Image.open(source).convert("RGB")
    width, height = (max(8, int(side * random.uniform(0.4, 1))) for side in image.size)
    left, top = (int(random.integers(0, most + 1)) for most in (image.width - width, image.height - height))
    longer = float(np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST))))
    size = tuple(max(8, round(side * longer / max(width, height))) for side in (width, height))
    image = image.crop((left, top, left + width, top + height)).resize((size[0], size[1]), Image.Resampling.BICUBIC)
    kind = KINDS[random.integers(len(KINDS))]
    quality = int(random.integers(30, 96))
    how: dict[str, Any] = {"quality": quality, "subsampling": int(random.integers(3))}
    ending = {"png": "png", "alpha": "png", "deep": "png", "palette": "png", "webp": "webp", "gif": "gif"}.get(kind, "jpg")
    if kind == "turned":
        how["exif"] = image.getexif()
        how["exif"][0x0112] = int(random.integers(2, 9))
    elif kind == "progressive":
        how["progressive"] = True
    elif kind == "grey":
        image = image.convert("L")
    elif kind == "alpha":
        image.putalpha(Image.radial_gradient("L").resize(image.size))
    elif kind == "deep":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif kind == "palette":
        image = image.quantize(64)
    path = folder / f"{number:05d}_{kind}.{ending}"
    half = folder.parent / f"writing-{path.name}"  # so that what was killed is not taken for a photo
    image.save(half, **(how if ending == "jpg" else {"quality": quality} if ending == "webp" else {}))
    return half.rename(path)


def made_photos(sources: list[Path], folder: Path, count: int) -> list[Path]:
    """Return photos made of images, of which a folder may have those of an earlier call, by their numbers."""
    folder.mkdir(exist_ok=True)
    there = {int(path.name.partition("_")[0]): path for path in folder.iterdir()}
    return [there.get(each) or make_photo(sources[each % len(sources)], folder, each) for each in range(count)]


def make_environment(folder: Path) -> Path:
    """Make an environment with the three packages of classify.py alone, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", ROOT / "requirements-dev.txt", *PACKAGES], check=True, cwd=ROOT)
    return python


def classified(python: Path, exported: Path, photos: list[Path], threads: int) -> Iterator[Any]:
    """Yield what classify.py decides for each photo, and the most probable classes."""
    names = exported / "photos.txt"
    names.write_text("\n".join(map(str, photos)))
    command = [str(python), "-I", "-c", CLASSIFY, str(exported), str(names), str(threads)]
    *found, loaded = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    assert json.loads(loaded) == [], loaded
    yield from map(json.loads, found)


def main() -> None:
    """Print how many decisions differ, and the largest difference of a probability."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--python", type=Path, help="interpreter of an environment with the three packages (default: make one)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="photos stay there for the next call with the same FOLDER")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    sources = find_photos([chosen.folder])
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        photos = made_photos(sources, chosen.keep or work / "photos", chosen.count)
        subprocess.run([ROOT / "darkroom", "export", "--format", "onnx", "--out", work / "exported"], check=True)
        python = chosen.python or make_environment(work / "environment")
        model = Model.load()
        start = time.perf_counter()
        here = model.predict(photos)
        middle = time.perf_counter()
        there = list(classified(python, work / "exported", photos, chosen.threads))
        end = time.perf_counter()
    differing, ties, largest = Counter[str](), 0, 0.0
    for path, own, (decided, top) in zip(photos, here, there, strict=True):
        largest = max(largest, max(abs(dict(own)[name] - probability) for name, probability in top))
        if own.chosen != decided:
            is_tie = abs(own[0][1] - own[1][1]) < TIE
            ties += is_tie
            differing[path.stem.partition("_")[2]] += not is_tie
    print(f"{model}: {sum(differing.values())} of {len(photos)} decisions differ {dict(differing)}, {ties} ties")
    print(f"largest difference of a probability {largest:.2g}; {len({tuple(each.chosen) for each in here})} classes decided for")
    seconds, others = ((until - since) / len(photos) for since, until in ((start, middle), (middle, end)))
    print(f"repository {seconds * 1000:.1f} ms, classify.py {others * 1000:.1f} ms a photo")


if __name__ == "__main__":
    main()
