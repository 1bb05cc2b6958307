"""GPUs that are named one by one are counted, or refused where they are not there; what changes bits stands in `train`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.experiments.leases import lease_gpus
from darkroom.hardware.devices import check_accelerator, check_precision, idle_cores, machine, num_processes, use_threads
from darkroom.hardware.processes import check_processes


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


def check(params: Params) -> None:
    check_processes(params, num_processes(params.hardware))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hardware.devices": 2}, r"hardware.devices: lets 2 process\(es\) share each batch, .* train.processes, .*, is 1; make"),
        ({"hardware.num_nodes": 3}, r"hardware.num_nodes: lets 3 process\(es\)"),
        ({"hardware.devices": 2, "hardware.num_nodes": 2, "train.processes": 2}, r"hardware.num_nodes: lets 4 process\(es\)"),
        ({"train.processes": 2}, r"hardware.devices: lets 1 process\(es\) share each batch, .*, is 2; make them equal"),
    ],
)
def test_processes_that_train_does_not_record_are_refused(
    make_params: Callable[..., Params], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"params.yaml: {message}"):
        check(make_params({"hardware.accelerator": "cpu", **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hardware.devices": "auto"},
        {"hardware.devices": 2, "train.processes": 2, "hardware.strategy": "ddp"},
        {"hardware.devices": 2, "hardware.num_nodes": 2, "train.processes": 4},
    ],
)
def test_recorded_processes_train(make_params: Callable[..., Params], changes: dict[str, Any]) -> None:
    check(make_params({"hardware.accelerator": "cpu", **changes}))


def test_the_number_of_threads_is_not_that_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        use_threads(5)
        assert torch.get_num_threads() == 5
        assert os.environ["OMP_NUM_THREADS"] == "5"  # or Lightning divides the cores among the processes that it starts
    finally:
        torch.set_num_threads(before)


def test_idle_cores_are_told(make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.hardware.devices.cores", lambda: 8)
    params = make_params({"hardware.accelerator": "cpu", "train.threads": 4})
    assert str(idle_cores(params)).startswith("4 of 8 cores compute;")
    assert idle_cores(make_params({"train.processes": 2})) is None


def test_the_machine_is_recorded_by_its_kind(make_params: Callable[..., Params]) -> None:
    found = machine(make_params({"hardware.accelerator": "cpu"}).hardware)
    assert found == {"device": "cpu", "processor": torch.backends.cpu.get_cpu_capability()}
