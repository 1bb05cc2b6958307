"""Measure one step of gpu.sh: python benchmarks/gpu_steps.py STEP --work DIR [--tiny --device cpu].

Every step is a process of its own, which prints its rows of the table as soon as it has them.
"""

import argparse
import importlib
import time
import warnings
from pathlib import Path

# Where the function of each step is, and what it is given; imported when it is measured.
STEPS = {
    "tests": ("gpu_checks", "tests", ()),
    "resume": ("gpu_checks", "resume", ()),
    "hashes": ("gpu_checks", "hashes", ()),
    "ready": ("gpu_photos", "ready", ()),
    "two": ("gpu_checks", "two", ()),
    "cifar94": ("gpu_cifar", "cifar", (94,)),
    "cifar96": ("gpu_cifar", "cifar", (96,)),
    "compile-resnet50": ("gpu_photos", "compile_first", ("resnet50",)),
    "compile-vit_small_patch16_224": ("gpu_photos", "compile_first", ("vit_small_patch16_224",)),
    "photos-resnet50": ("gpu_photos", "photos", ("resnet50",)),
    "photos-vit_small_patch16_224": ("gpu_photos", "photos", ("vit_small_patch16_224",)),
    "timm-resnet50": ("gpu_photos", "beside_timm", ("resnet50",)),
    "timm-vit_small_patch16_224": ("gpu_photos", "beside_timm", ("vit_small_patch16_224",)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all steps take."""
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that say nothing, to try the steps")
    parser.add_argument("--cifar", type=Path, help="archive with train/ and test/, a folder per class; without: images are drawn")
    parser.add_argument("--airbench", type=Path, help="a clone of KellerJordan/cifar10-airbench")
    parser.add_argument("--timm", type=Path, help="a clone of pytorch-image-models")


def main() -> None:
    """Measure one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--work", type=Path, required=True, help="folder that the steps share")
    parser.add_argument("--seconds", type=float, default=600, help="time that the step has")
    add_arguments(parser)
    given = parser.parse_args()
    given.begun = time.time()
    given.batch = 8 if given.tiny else 256
    given.work = given.work.resolve()
    warnings.simplefilter("ignore")
    module, function, arguments = STEPS[given.step]
    for row in getattr(importlib.import_module(module), function)(given, *arguments):
        print(row, flush=True)


if __name__ == "__main__":
    main()
