"""Compare ./darkroom predict with loops of others on photos of 500 by 375 pixels: python benchmarks/predict_photos.py.

All predict the same 10 000 photos at 224 px with the same network and weights, round after round, alternating, each in a process
of its own. Seconds include what a person waits for: imports, opening, the table. The others are a loader of torch with the
transforms of torchvision, and with those of timm, as their documentation has them; the number of workers, the batch size and the
memory layout are those that are fastest here.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from predicting import MEAN, ROOT, SIZE, STD, draw_photos, make_network, publish

BATCH_SIZE = 256
WORKERS = (0, 1, 2, 4)


def peer(kind: str, folder: Path, network: str, workers: int, batch_size: int, channels_last: bool) -> None:
    """Predict a folder with a loop of others, and write a CSV file."""
    import torch

    paths = sorted(folder.glob("*.jpg"))
    model = make_network(network)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    with torch.inference_mode(), (folder.parent / f"{kind}.csv").open("w") as file:
        done = 0
        for images in batches(kind, paths, workers, batch_size):
            images = images.contiguous(memory_format=torch.channels_last) if channels_last else images
            values, labels = model(images).softmax(1).topk(3)
            for row, best in zip(labels.tolist(), values.tolist(), strict=True):
                file.write(f"{paths[done].name},{row[0]},{best[0]:.4f}\n")
                done += 1


def batches(kind: str, paths: list[Path], workers: int, batch_size: int) -> Iterator[Any]:
    """Yield normalised batches as torchvision's or timm's examples load them."""
    import torch
    from PIL import Image
    from torchvision import transforms

    if kind == "timm":
        from timm.data import create_transform

        transform = create_transform((3, SIZE, SIZE), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=1.0)
    else:
        transform = transforms.Compose(
            [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    class Photos(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, number: int) -> Any:
            return transform(Image.open(paths[number]).convert("RGB"))

    yield from torch.utils.data.DataLoader(Photos(), batch_size, num_workers=workers)


def seconds_of(command: list[str]) -> float:
    """Return how long a command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def tuned(seconds: Callable[[list[str]], float]) -> list[str]:
    """Return the fastest settings: workers first, then with these the batch size and the memory layout."""
    best, known = ["2", "32", "True"], dict[tuple[str, ...], float]()
    for place, values in enumerate((WORKERS, (32, BATCH_SIZE), (True, False))):
        tried = [[*best[:place], str(value), *best[place + 1 :]] for value in values]
        for settings in tried:
            if tuple(settings) not in known:
                known[tuple(settings)] = seconds(settings)
        best = min(tried, key=lambda each: known[tuple(each)])
    return best


def main() -> None:
    """Print a table, or run a loop of others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", default="tf_efficientnet_lite0")
    parser.add_argument("--tuning", type=int, default=400, help="photos on which the others' settings are tried")
    parser.add_argument("--peer", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        kind, folder, network, workers, batch_size, channels_last = given.peer
        peer(kind, Path(folder), network, int(workers), int(batch_size), channels_last == "True")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder / "model", given.network)
        draw_photos(folder / "few" / "photos", given.tuning)
        draw_photos(folder / "all" / "photos", given.count)

        def others(kind: str, photos: str, settings: list[str]) -> list[str]:
            return [__file__, "--peer", kind, str(folder / photos / "photos"), given.network, *settings]

        commands = {}
        for kind in ("torchvision", "timm"):
            best = tuned(lambda settings, kind=kind: seconds_of(others(kind, "few", settings)))
            commands[f"{kind}, {best[0]} workers, batches of {best[1]}{', channels last' if best[2] == 'True' else ''}"] = others(
                kind, "all", best
            )
        out = str(folder / "out.csv")
        own = [str(ROOT / "darkroom"), "predict", str(folder / "all" / "photos"), "--model", str(folder / "model"), "--out", out]
        commands = {"./darkroom predict": own, **commands}
        found: dict[str, list[float]] = {who: [] for who in commands}
        for _ in range(given.rounds):
            for who, command in commands.items():
                found[who].append(given.count / seconds_of(command))
        print(f"{given.count} photos of 500 by 375 px, {given.network} at {SIZE} px, {given.rounds} rounds\n")
        print("| | images/s: median (all) | ratio to ./darkroom predict |\n|---|---|---|")
        for who, speeds in found.items():
            ratio = statistics.median(one / other for one, other in zip(speeds, found["./darkroom predict"], strict=True))
            print(f"| {who} | {statistics.median(speeds):.1f} ({', '.join(f'{each:.1f}' for each in speeds)}) | {ratio:.2f} |")
        print(json.dumps(found))


if __name__ == "__main__":
    main()
