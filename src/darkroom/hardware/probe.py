"""What torch finds on this machine, as JSON; doctor runs `python -m darkroom.hardware.probe`, so that a crash is contained."""

import json
from typing import Any

import torch
import torchvision

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams
from darkroom.base.params_file import load_params
from darkroom.hardware.devices import check_precision, choose_device


def probe() -> dict[str, Any]:
    """Return versions, the device that params.yaml selects, and in `problem` why none can be used."""
    try:
        params = load_params(paths.PARAMS)
        hardware, precision = params.hardware, params.train.precision
    except InputError:  # which doctor reports on a line of its own
        hardware, precision = HardwareParams.model_construct(accelerator="auto", devices=1), "32-true"
    problem = _problem(precision, hardware)
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "device": None if problem else choose_device(hardware).type,
        "bf16": _problem("bf16-mixed", hardware) is None,
        "problem": problem,
    }


def _problem(precision: str, hardware: HardwareParams) -> str | None:
    try:
        check_precision(precision, hardware)
    except InputError as error:
        return str(error)
    return None


if __name__ == "__main__":
    print(json.dumps(probe()))
