"""Compare ways to decode, cut out, resize and mirror a photo in one thread: python benchmarks/reading_steps.py FOLDER.

FOLDER has one folder of JPEGs per class. They are resized to a shorter side of 256 as download does, and random crops of them
become 224 x 224. Microseconds of processor time per photo, medians of rounds in turns. Some ways give other pixels. Needs OpenCV.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
SIDE, MOST_PHOTOS = 224, 180


def read(folder: Path) -> list[Any]:
    """Return photos (H, W, 3) with a shorter side of 256."""
    from darkroom.data.images import decode
    from darkroom.data.resizing import resize

    paths = sorted(folder.glob("*/*"))
    return [resize(decode(path.read_bytes(), 10**9, 256).image, 256) for path in paths[:: -(-len(paths) // MOST_PHOTOS)]]


def as_jpeg(image: Any, **options: Any) -> bytes:
    """Return a JPEG of quality 90."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def of_jpeg(photos: list[Any], boxes: list[Any]) -> dict[str, Callable[[int], Any]]:
    """Return ways to decode the n-th photo."""
    from simplejpeg import decode_jpeg

    from darkroom.data.decoding.tiles import part_around
    from darkroom.data.images import encode

    plain, rich = [as_jpeg(image) for image in photos], [as_jpeg(image, subsampling=0) for image in photos]
    optimized = [as_jpeg(image, optimize=True) for image in photos]
    tiled = [encode(image, lossy=True) for image in photos]
    parts = [part_around(*each) for each in zip(tiled, boxes, strict=True)]
    smaller = [tiled[number] if part is None else part.data for number, part in enumerate(parts)]
    named = {"plain": plain, "4:4:4": rich, "optimized": optimized, "in tiles": tiled}
    sizes = {name: round(sum(map(len, files)) / len(files)) for name, files in named.items()}
    print(f"bytes per photo: {sizes}, {sum(part is None for part in parts)} of {len(parts)} crops are of nearly all")
    return {
        "decode all": lambda number: decode_jpeg(plain[number]),
        "decode all, 4:4:4": lambda number: decode_jpeg(rich[number]),
        "decode all, optimized Huffman tables": lambda number: decode_jpeg(optimized[number]),
        "decode all, in tiles": lambda number: decode_jpeg(tiled[number]),
        "decode all, fastdct": lambda number: decode_jpeg(plain[number], fastdct=True),
        "decode all, fastupsample": lambda number: decode_jpeg(plain[number], fastupsample=True),
        "decode all, grey": lambda number: decode_jpeg(plain[number], "GRAY"),
        "decode the tiles of the crop": lambda number: decode_jpeg(smaller[number]),
        "cut these tiles out of the file": lambda number: part_around(tiled[number], boxes[number]),
    }


def of_pixels(photos: list[Any], boxes: list[Any]) -> dict[str, Callable[[int], Any]]:
    """Return ways to cut out, resize and mirror the n-th photo."""
    import cv2
    import numpy as np
    import torch
    from PIL import Image
    from torch.nn.functional import interpolate

    from darkroom.input.pixel_moves import cut_out, resized_cuts

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cuts = [np.ascontiguousarray(cut_out(*each)) for each in zip(photos, boxes, strict=True)]
    made = torch.empty(1, SIDE, SIDE, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    array = made.permute(0, 2, 3, 1).numpy()[0]
    planes = [cv2.cvtColor(image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2], cv2.COLOR_RGB2YUV_I420) for image in photos]
    pillow = [Image.fromarray(image) for image in photos]

    def view(number: int) -> Any:
        return torch.from_numpy(photos[number]).permute(2, 0, 1)[None]

    def by_opencv(way: int) -> Callable[[int], Any]:
        return lambda number: cv2.resize(cut_out(photos[number], boxes[number]), (SIDE, SIDE), dst=array, interpolation=way)

    def by_pillow(gap: float | None) -> Callable[[int], Any]:
        def work(number: int) -> Any:
            top, left, height, width = boxes[number]
            box = (left, top, left + width, top + height)
            return pillow[number].resize((SIDE, SIDE), Image.Resampling.BILINEAR, box, gap)

        return work

    def as_before(number: int) -> Any:
        top, left, height, width = boxes[number]
        cut = view(number)[..., top : top + height, left : left + width]
        return interpolate(cut, (SIDE, SIDE), mode="bilinear", antialias=True)

    return {
        "copy all pixels": lambda number: photos[number].copy(),
        "cut out in NumPy": lambda number: cut_out(photos[number], boxes[number]).copy(),
        "pixels of 4:2:0 in OpenCV": lambda number: cv2.cvtColor(planes[number], cv2.COLOR_YUV2RGB_I420),
        "cut out and resize in torch": as_before,
        "cut out in NumPy, resize in torch": lambda number: resized_cuts([cut_out(photos[number], boxes[number])], 1, SIDE, made),
        "resize in torch alone": lambda number: resized_cuts([cuts[number]], 1, SIDE, made),
        "cut out and resize in Pillow, box=": by_pillow(None),
        "the same, reducing_gap=2": by_pillow(2.0),
        "to Pillow's image": lambda number: Image.fromarray(photos[number]),
        "cut out and resize in OpenCV, INTER_AREA": by_opencv(cv2.INTER_AREA),
        "the same, INTER_LINEAR": by_opencv(cv2.INTER_LINEAR),
        "mirror in torch, and copy": lambda _: made.copy_(made.flip(-1)),
        "mirror in OpenCV": lambda _: cv2.flip(array, 1),
        "copy the result": lambda _: array.copy(),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    import numpy as np

    from darkroom.hardware.memory import keep_freed_memory
    from darkroom.input.augment import RandomCropResize

    keep_freed_memory()  # as the train stage does
    photos, crop = read(options.folder), RandomCropResize()
    drawn = np.random.default_rng(0).random((len(photos), crop.num_random), np.float32).tolist()
    boxes = [crop.rectangle(*each) for each in zip([image.shape for image in photos], drawn, strict=True)]
    ways = of_jpeg(photos, boxes) | of_pixels(photos, boxes)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, work in ways.items():
            start = time.thread_time()
            for number in range(len(photos)):
                work(number)
            spent[name].append((time.thread_time() - start) / len(photos) * 1e6)
    print("| way | microseconds: median (least) |\n|---|---|")
    for name, each in spent.items():
        print(f"| {name} | {statistics.median(each):.0f} ({min(each):.0f}) |")


if __name__ == "__main__":
    main()
