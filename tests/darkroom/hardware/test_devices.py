"""GPUs that are named one by one: counted, or refused where they are not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.experiments.leases import lease_gpus
from darkroom.hardware.devices import check_accelerator, check_precision


def test_named_gpus_are_counted(make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    hardware = make_params({"hardware.devices": [0, 2]}).hardware
    check_accelerator(hardware)
    with pytest.raises(InputError, match="auto is measured on one device, but 2 are used"):
        check_precision("auto", hardware)


@pytest.mark.parametrize(
    ("changes", "count", "message"),
    [
        ({"hardware.devices": [0, 3]}, 3, "hardware.devices: names GPU 3, but this machine has 3, counted from 0"),
        (
            {"hardware.devices": [0]},
            0,
            r"hardware.devices: is \[0\], but there are no GPUs of NVIDIA to choose from; set a number",
        ),
        ({"hardware.devices": [0], "hardware.accelerator": "cpu"}, 3, r"hardware.devices: is \[0\], but there are no GPUs"),
    ],
)
def test_gpus_that_are_not_there(
    make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], count: int, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError, match=message):
        check_accelerator(make_params(changes).hardware)


def test_parallel_runs_take_any_free_gpu(make_params: Callable[..., Params], tmp_path: Path) -> None:
    hardware = make_params({"hardware.devices": [1]}).hardware
    with (
        pytest.raises(InputError, match="parallel runs take whichever GPUs are free"),
        lease_gpus(hardware, 1, ["a", "b"], tmp_path),
    ):
        pass
