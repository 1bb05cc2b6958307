"""Measure the peak memory of every stage by the number of images, beside others: python benchmarks/memory.py 10000 100000.

Draws a folder of JPEGs of 32 by 32 pixels in a hundred classes. Every stage, and every loop of others, is a process of its own
with all that it starts; its memory is the sum of what each of them has for itself and of its share in common pages (PSS), ten
times a second: with the pages of mapped files that it has read, which the system takes back when it needs them, and without.
All train the same small network for `--batches` batches of 256, read by two workers or threads, and predict all test images. The
others are loops as their documentation has them; for Darkroom's stages they have the nearest thing: Hugging Face's datasets
copies and splits images, too.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers import ENVIRONMENT, ROOT
from workspaces import make_workspace, write_params

from darkroom.base.yaml_file import read_yaml

SIDE, CLASSES, BATCH, TEST = 32, 100, 256, 0.2
STAGES = ("download", "split", "train", "evaluate", "predict")


def draw(folder: Path, count: int) -> None:
    """Write images of coloured blocks, which differ, in a folder for each class."""
    import numpy as np
    import simplejpeg

    numbers = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class{label:03d}").mkdir(parents=True)
    for number in range(count):
        blocks = numbers.integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(blocks), quality=90)
        (folder / f"class{number % CLASSES:03d}" / f"{number:08d}.jpg").write_bytes(jpeg)


def peak(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Return the seconds of a command and the largest memory in MiB of all of its processes together, mapped files out and in."""
    start, own, most = time.monotonic(), 0, 0
    with (folder / "memory.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        while process.poll() is None:
            each = [pss(number) for number in of_session(process.pid)]
            own, most = max(own, sum(own for own, _ in each)), max(most, sum(all_of_it for _, all_of_it in each))
            time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'memory.log').read_text()[-2000:]}")
    return time.monotonic() - start, own / 1024, most / 1024


def of_session(session: int) -> Iterator[int]:
    """Yield the processes of a session."""
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                if os.getsid(int(each.name)) == session:
                    yield int(each.name)
            except ProcessLookupError:
                pass


def pss(number: int) -> tuple[int, int]:
    """Return the proportional set size of a process in KiB, without mapped files and with them; zeros if it has ended."""
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    found = {words[0]: int(words[1]) for words in map(str.split, lines) if words[0].startswith("Pss")}
    return found.get("Pss_Anon:", 0) + found.get("Pss_Shmem:", 0), found.get("Pss:", 0)


def ours(work: Path, photos: Path, batches: int) -> Iterator[tuple[str, str, list[str], Path]]:
    """Yield the stages; training once as it is, with decoded images in memory, and once without."""
    content: Any = read_yaml(ROOT / "params.yaml")
    content["download"] |= {"source": "folder", "folder": str(photos)}
    content["split"] |= {"test_fraction": TEST}
    content["train"] |= {"epochs": 1, "batch_size": BATCH, "trainer": {"limit_train_batches": batches}}
    content["train"]["augment"][0] = {"_target_": "RandomShift", "pixels": 4}
    content["hardware"] |= {"accelerator": "cpu", "num_workers": 2}
    make_workspace(work, content)
    runs: list[tuple[str, Any]] = [(stage, "auto") for stage in STAGES]
    runs.insert(STAGES.index("train"), ("train", False))
    for stage, cached in runs:
        content["hardware"]["cache_images"] = cached
        write_params(work, content)
        shutil.rmtree(work / ".resume", ignore_errors=True)
        yield stage, "Darkroom" + ("" if cached else ", `cache_images: false`"), [sys.executable, f"src/{stage}.py"], work


def others(work: Path, photos: Path, batches: int) -> Iterator[tuple[str, str, list[str], Path]]:
    """Yield what others do instead."""
    command = [sys.executable, __file__, "--photos", str(photos), "--batches", str(batches), "--peer"]
    yield "download, split", "Hugging Face datasets", [*command, "datasets", "split"], work
    yield "train", "Hugging Face datasets", [*command, "datasets", "train"], work
    yield "train", "ImageFolder and DataLoader", [*command, "torchvision", "train"], work
    yield "predict", "Hugging Face datasets", [*command, "datasets", "predict"], work
    yield "predict", "ImageFolder and DataLoader", [*command, "torchvision", "predict"], work


def peer(who: str, what: str, photos: Path, batches: int) -> None:
    """Do what others do instead of a stage, in the working directory."""
    import torch

    from darkroom.models.builtin.small_cnn import SmallCNN

    if (who, what) == ("datasets", "split"):
        from datasets import load_dataset

        loaded = load_dataset("imagefolder", data_dir=str(photos), cache_dir="cache")["train"]
        loaded.train_test_split(TEST, stratify_by_column="label", seed=0).save_to_disk("split")
        return
    loader = (of_datasets if who == "datasets" else of_torchvision)(what == "train", photos)
    network = SmallCNN(CLASSES, 3)
    if what == "predict":
        network.eval()
        with torch.inference_mode():
            torch.save(torch.cat([network(images).softmax(1) for images, _ in loader]), "predictions.pt")
        return
    optimizer = torch.optim.AdamW(network.parameters())
    for number, (images, labels) in enumerate(loader):
        if number == batches:
            break
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def transform(train: bool) -> Any:
    """Return torchvision's usual transforms."""
    from torchvision import transforms

    steps = [transforms.RandomCrop(SIDE, padding=4), transforms.RandomHorizontalFlip()] if train else []
    return transforms.Compose([*steps, transforms.ToTensor()])


def of_torchvision(train: bool, photos: Path) -> Any:
    """Return a loader of ImageFolder, divided by chance."""
    import torch
    from torch.utils.data import DataLoader, random_split
    from torchvision.datasets import ImageFolder

    divided = random_split(ImageFolder(str(photos), transform(train)), [1 - TEST, TEST], torch.Generator().manual_seed(0))
    return DataLoader(divided[0 if train else 1], BATCH, shuffle=train, num_workers=2)


def of_datasets(train: bool, photos: Path) -> Any:  # noqa: ARG001
    """Return a loader of what datasets has split."""
    import torch
    from datasets import load_from_disk
    from torch.utils.data import DataLoader

    change = transform(train)
    loaded = load_from_disk("split")["train" if train else "test"]
    loaded.set_transform(lambda rows: {"image": [change(image) for image in rows["image"]], "label": rows["label"]})

    def together(rows: list[dict[str, Any]]) -> Any:
        return torch.stack([row["image"] for row in rows]), torch.tensor([row["label"] for row in rows])

    return DataLoader(loaded, BATCH, shuffle=train, num_workers=2, collate_fn=together)


def main() -> None:
    """Print a table, or do what others do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("counts", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--batches", type=int, default=100, help="of 256 images that are trained on (100)")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--photos", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        peer(*given.peer, given.photos, given.batches)
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| images | what | by | peak MiB | with mapped files | seconds |\n|---|---|---|---|---|---|")
    for count in given.counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            draw(folder / "photos", count)
            for make in (ours, others):
                (folder / make.__name__).mkdir()
                for what, who, command, where in make(folder / make.__name__, folder / "photos", given.batches):
                    seconds, own, most = peak(command, where)
                    print(f"| {count:,} | {what} | {who} | {own:.0f} | {most:.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
