"""Compare how fast photos are read for training with other readers: python benchmarks/reading.py [FOLDER] [--size 500 375].

FOLDER has one folder of JPEGs per class; without it, 512 random images of 500 x 375 pixels with the file size of photos are used.
Every reader yields batches of 64 uint8 images, (64, 3, 224, 224), with RandomResizedCrop and RandomHorizontalFlip, with a process
or thread on every core. The readers alternate, so that other work on the machine affects all of them. Readers that are not
installed are skipped: pip install -r requirements-dev.txt webdataset litdata ffcv (which is built with OpenCV and libturbojpeg).
"""

import argparse
import importlib.util
import io
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
BATCH, SIDE, WORKERS = 64, 224, len(os.sched_getaffinity(0))
Epoch = Callable[[int], Iterable[Any]]
CACHE_BYTES = 4 * 10**9


def transform() -> Any:
    """Return the augmentation that every reader applies."""
    from torchvision.transforms import v2

    return v2.Compose([v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip()])


def to_tensor(image: Any) -> Any:
    """Return an augmented Pillow image as (3, 224, 224) uint8."""
    from torchvision.transforms import v2

    return v2.functional.pil_to_tensor(transform()(image.convert("RGB")))


def loader(dataset: Any, **options: Any) -> Any:
    """Return torch's DataLoader."""
    from torch.utils.data import DataLoader

    return DataLoader(dataset, batch_size=BATCH, num_workers=WORKERS, **options)


def image_folder(photos: Path, work: Path) -> Epoch:  # noqa: ARG001
    """Torchvision's reference."""
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(photos, to_tensor)
    return lambda _: loader(dataset, shuffle=True)


def timm_loader(photos: Path, work: Path) -> Epoch:  # noqa: ARG001
    """The loader of timm's train.py, with no augmentation that the others lack."""
    import timm.data

    dataset = timm.data.create_dataset("", root=photos, split="")
    create: Any = timm.data.create_loader
    options = {"num_workers": WORKERS, "persistent_workers": False, "use_prefetcher": False, "device": "cpu"}
    made = create(dataset, (3, SIDE, SIDE), BATCH, is_training=True, color_jitter=None, **options)
    return lambda _: made


def hugging_face(photos: Path, work: Path) -> Epoch:
    """Parquet files read by the library datasets."""
    import datasets

    datasets.disable_progress_bars()
    made: Any = datasets.load_dataset("imagefolder", data_dir=str(photos), cache_dir=str(work / "hf"), split="train")
    made.set_transform(lambda rows: {"image": [to_tensor(image) for image in rows["image"]], "label": rows["label"]})
    return lambda _: loader(made, shuffle=True)


def web_dataset(photos: Path, work: Path) -> Epoch:
    """Tar files read sequentially, shuffled in memory."""
    import webdataset

    names = [str(work / f"{number}.tar") for number in range(WORKERS)]
    writers = [webdataset.TarWriter(name) for name in names]
    for number, path in enumerate(sorted(photos.glob("*/*"))):
        writers[number % WORKERS].write({"__key__": str(number), "jpg": path.read_bytes(), "cls": 0})
    for writer in writers:
        writer.close()
    dataset = webdataset.WebDataset(names, shardshuffle=False).shuffle(1000).decode("pil").to_tuple("jpg", "cls")
    dataset = dataset.map_tuple(to_tensor)
    return lambda _: loader(dataset)


def _lit_sample(name: str) -> dict[str, Any]:
    return {"image": Path(name).read_bytes(), "label": 0}


def _lit_image(sample: dict[str, Any]) -> dict[str, Any]:
    from PIL import Image

    return sample | {"image": to_tensor(Image.open(io.BytesIO(sample["image"])))}


def lit_data(photos: Path, work: Path) -> Epoch:
    """Chunks of litdata, with the bytes of the JPEGs."""
    import litdata

    names = sorted(str(path) for path in photos.glob("*/*"))
    litdata.optimize(
        _lit_sample, names, str(work / "lit"), chunk_bytes="64MB", num_workers=WORKERS, start_method="fork", verbose=False
    )
    made = litdata.StreamingDataset(str(work / "lit"), shuffle=True, transform=_lit_image)
    return lambda _: litdata.StreamingDataLoader(made, batch_size=BATCH, num_workers=WORKERS)


def ffcv(photos: Path, work: Path, write_mode: str) -> Epoch:
    """Ffcv's file of images whose longer side is 342 (`resize=256` for a ratio of 4:3), after a pass that compiles."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter
    from torchvision.datasets import ImageFolder

    fields = {"image": RGBImageField(write_mode=write_mode, max_resolution=342, jpeg_quality=90), "label": IntField()}
    DatasetWriter(str(work / "ffcv"), fields, num_workers=1).from_indexed_dataset(ImageFolder(str(photos)))
    crop = RandomResizedCropRGBImageDecoder((SIDE, SIDE))
    made = Loader(
        str(work / "ffcv"),
        batch_size=BATCH,
        num_workers=WORKERS,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines={"image": [crop, RandomHorizontalFlip(), ToTensor(), ToTorchImage()], "label": [IntDecoder(), ToTensor()]},
    )
    deque(made, maxlen=0)
    return lambda _: made


def darkroom(photos: Path, work: Path, *, in_processes: bool = False, cached: bool = False, **download: Any) -> Epoch:
    """The pack, read as train reads it: in threads with Darkroom's transforms, in processes with torchvision's.

    With `cached`, epochs after the first, which find the decoded images in memory.
    """
    import numpy as np
    from torchvision.transforms import v2

    from darkroom.base.params_file import check_params
    from darkroom.base.yaml_file import read_yaml
    from darkroom.data.pack import Pack
    from darkroom.input.augment import RandomCropResize, RandomFlip
    from darkroom.input.dataset import ImageDataset
    from darkroom.input.loaders import make_loader
    from darkroom.input.samplers import ShuffledBatchSampler
    from darkroom.sources.pack_writer import write_pack
    from darkroom.sources.read import read_source

    content = read_yaml(ROOT / "params.yaml")
    content["download"] |= {"source": "folder", "folder": str(photos), **download}
    params = check_params(content).download
    (work / "raw").mkdir()
    with read_source(params, work / "raw") as listing:
        write_pack(listing, work / "raw", params)
    pack = Pack.open(work / "raw")
    size = sum(path.stat().st_size for path in (work / "raw").iterdir()) / 1e6
    print(f"packed with {download or 'the defaults'}: {size:.0f} MB", file=sys.stderr)
    crop: Any = v2.RandomResizedCrop(SIDE, antialias=True)
    transforms = [crop, v2.RandomHorizontalFlip()] if in_processes else [RandomCropResize(), RandomFlip()]
    batches = ImageDataset(pack, image_size=SIDE, channels=3, transforms=transforms)
    order = ShuffledBatchSampler(np.arange(len(pack)), batch_size=BATCH, seed=0)
    if cached:
        batches = batches.with_cache(CACHE_BYTES)
        deque(make_loader(batches, order, readers=WORKERS), maxlen=0)

    def epoch(number: int) -> Iterable[Any]:
        order.set_epoch(number)
        return make_loader(batches, order, readers=WORKERS)

    return epoch


READERS: dict[str, Callable[[Path, Path], Epoch]] = {
    "torchvision ImageFolder + DataLoader": image_folder,
    "timm create_loader": timm_loader,
    "Hugging Face datasets": hugging_face,
    "webdataset": web_dataset,
    "litdata": lit_data,
    "ffcv, JPEG": lambda photos, work: ffcv(photos, work, "jpg"),
    "ffcv, raw": lambda photos, work: ffcv(photos, work, "raw"),
    "Darkroom, torchvision's transforms": lambda photos, work: darkroom(photos, work, in_processes=True),
    "Darkroom": darkroom,
    "Darkroom, images cached": lambda photos, work: darkroom(photos, work, cached=True),
    "Darkroom, resize: 256": lambda photos, work: darkroom(photos, work, resize=256),
    "Darkroom, resize: 256, images cached": lambda photos, work: darkroom(photos, work, cached=True, resize=256),
    "Darkroom, resize: 256, format: raw": lambda photos, work: darkroom(photos, work, resize=256, format="raw"),
}
NEEDED = {
    "Hugging Face datasets": "datasets",
    "webdataset": "webdataset",
    "litdata": "litdata",
    **dict.fromkeys(("ffcv, JPEG", "ffcv, raw"), "ffcv"),
}


def make_photos(folder: Path, count: int = 512) -> Path:
    """Write smooth random images with noise, which compress like photos: about 60 kB each."""
    import numpy as np
    from PIL import Image

    numbers = np.random.default_rng(0)
    for number in range(count):
        smooth = Image.fromarray(numbers.integers(0, 256, (24, 32, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        noise = numbers.normal(0, 4, (375, 500, 1))
        path = folder / str(number % 2) / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return folder


def enlarge(folder: Path, target: Path, size: tuple[int, int]) -> None:
    """Write the photos of a folder in another size, as JPEGs of quality 90."""
    from PIL import Image

    for path in sorted(folder.glob("*/*")):
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            buffer = io.BytesIO()
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        (target / path.parent.name / f"{path.stem}.jpg").write_bytes(buffer.getvalue())


class Reader:
    """One reader in its own process, so that its settings do not affect the others."""

    def __init__(self, name: str, photos: Path, work: Path):
        context = get_context("fork")  # readers may fork their workers only if their process was forked itself
        self.speeds: list[tuple[float, float]] = []
        self._connection, there = context.Pipe()
        self._process = context.Process(target=serve, args=(name, photos, work, there))
        self._process.start()
        there.close()
        assert self._connection.recv() == "ready"

    def read(self, epoch: int) -> None:
        """Measure an epoch."""
        self._connection.send(epoch)
        self.speeds.append(self._connection.recv())

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def serve(name: str, photos: Path, work: Path, connection: Connection) -> None:
    """Read an epoch for every number that is received, and send back its speed."""
    warnings.simplefilter("ignore")
    transform()  # imports what every reader needs; otherwise their workers import it in every epoch
    if name.startswith("Darkroom"):
        from darkroom.hardware.memory import keep_freed_memory

        keep_freed_memory()  # as the train stage does
    epoch = READERS[name](photos, work)
    connection.send("ready")
    while True:
        connection.send(measured(epoch(connection.recv())))


def measured(epoch: Iterable[Any]) -> tuple[float, float]:
    """Return images per second and per second of a core in one pass."""
    start, busy = time.perf_counter(), cpu_seconds()
    count = sum(len(batch["images"] if isinstance(batch, dict) and "images" in batch else first(batch)) for batch in epoch)
    del epoch
    return count / (time.perf_counter() - start), count / (cpu_seconds() - busy)


def first(batch: Any) -> Any:
    """Return the images of a batch."""
    return batch["image"] if isinstance(batch, dict) else batch[0]


def cpu_seconds() -> float:
    """Return the processor time of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime  # os.times counts in hundredths of a second


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="resize the photos to this first")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        photos = options.folder or make_photos(Path(temporary, "made"))
        if options.size:
            enlarge(photos, Path(temporary, "photos"), tuple(options.size))
            photos = Path(temporary, "photos")
        readers: dict[str, Reader] = {}
        try:
            for name in READERS:
                if name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None:
                    print(f"{name} is not installed; skipped", file=sys.stderr)
                    continue
                work = Path(temporary, name)
                work.mkdir()
                readers[name] = Reader(name, photos, work)
            for number in range(options.rounds):
                for reader in readers.values():
                    reader.read(number)
        finally:
            for reader in readers.values():
                reader.end()
    speeds = {name: reader.speeds for name, reader in readers.items()}
    base = statistics.median(per_core for _, per_core in speeds[next(iter(speeds))])
    print("| reader | images/s | images per second of a core: median (all) | ratio |\n|---|---|---|---|")
    for name, each in speeds.items():
        wall, per_core = (statistics.median(column) for column in zip(*each, strict=True))
        every = ", ".join(f"{speed:.0f}" for _, speed in each)
        print(f"| {name} | {wall:.0f} | {per_core:.0f} ({every}) | {per_core / base:.2f} |")


if __name__ == "__main__":
    main()
