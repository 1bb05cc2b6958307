"""Choosing the device, and what it supports."""

import os
from collections.abc import Callable

import torch

from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams, Params
from darkroom.hardware.processes import check_measurable, known_processes

AVAILABLE: dict[str, Callable[[], bool]] = {
    "cpu": lambda: True,
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
    "gpu": lambda: torch.cuda.is_available() or torch.backends.mps.is_available(),
}


def check_accelerator(hardware: HardwareParams) -> None:
    """Refuse a device that this machine does not have, rather than silently use another one.

    Raises
    ------
    InputError
        Naming hardware.accelerator or hardware.devices.
    """
    name = hardware.accelerator
    if name != "auto" and not AVAILABLE[name]():
        raise InputError(f"params.yaml: hardware.accelerator: is {name}, but this machine has none; set it to auto or cpu")
    count = torch.cuda.device_count()
    if isinstance(hardware.devices, list):
        if name not in ("auto", "gpu", "cuda") or not count:
            raise InputError(
                f"params.yaml: hardware.devices: is {hardware.devices}, but there are no GPUs of NVIDIA to choose from; "
                "set a number"
            )
        if max(hardware.devices) >= count:
            raise InputError(
                f"params.yaml: hardware.devices: names GPU {max(hardware.devices)}, but this machine has {count}, "
                f"counted from 0; correct it"
            )
    if name in ("auto", "gpu", "cuda") and count and isinstance(hardware.devices, int) and hardware.devices > count:
        raise InputError(f"params.yaml: hardware.devices: is {hardware.devices}, but this machine has {count} GPU(s); lower it")


def choose_device(hardware: HardwareParams) -> torch.device:
    """Return the single device of evaluate and predict."""
    check_accelerator(hardware)
    for name in ("cuda", "mps"):
        if hardware.accelerator in ("auto", "gpu", name) and AVAILABLE[name]():
            return torch.device(name)
    return torch.device("cpu")


def check_precision(precision: str, hardware: HardwareParams, key: str = "train.precision") -> None:
    """Refuse a precision that the device does not support, rather than silently use another one; `key` is named in errors."""
    device = choose_device(hardware).type
    if precision == "auto":
        check_measurable(key, num_processes(hardware))
    unfit = (
        (precision == "16-mixed" and device == "cpu")
        or (precision == "64-true" and device == "mps")
        or (precision.startswith("bf16") and device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False))
    )
    if unfit:
        raise InputError(f"params.yaml: {key}: is {precision}, which {device} does not support here; set 32-true or bf16-mixed")


def num_processes(hardware: HardwareParams) -> int:
    """Return the number of processes that train together, one a device."""
    number = known_processes(hardware)
    if number is None:
        number = (torch.cuda.device_count() if choose_device(hardware).type == "cuda" else 1) * hardware.num_nodes
    return number


def is_fast_at_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16; others support it too, but slower than float32."""
    if device.type == "cpu":
        known = torch.cpu.get_capabilities()
        return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def stop_looking_for_gpus() -> None:
    """Where there is no NVIDIA GPU, stop torch from looking for one at every step.

    Lightning lets torch ask NVIDIA's library (`PYTORCH_NVML_BASED_CUDA_CHECK`), so that processes can be forked beside a GPU.
    AdamW asks at every step. A library that is not installed is searched for on the disk each time, in half a millisecond.
    """
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def set_seed(seed: int, device: torch.device) -> None:
    """Seed the random numbers of a device.

    `torch.manual_seed` takes most of a millisecond, since it formats the call stack for every kind of GPU that is absent.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def use_threads(number: int) -> None:
    """Let torch compute with this many threads on a CPU, on however many cores.

    Where threads share a sum, their number decides which terms are added up first, and so the last bits (docs/decisions/0027).
    """
    os.environ["OMP_NUM_THREADS"] = str(number)  # or Lightning sets another number where it starts processes
    torch.set_num_threads(number)


def idle_cores(params: Params) -> str | None:
    """Return what a training on a CPU is told if it leaves cores alone."""
    threads = params.train.threads
    if choose_device(params.hardware).type != "cpu" or cores() <= threads * params.train.processes:
        return None
    return f"{threads} of {cores()} cores compute; a larger train.threads may be faster, and changes the rounding"


def machine(hardware: HardwareParams) -> dict[str, str]:
    """Return what bits depend on of the machine: the same on all machines of a kind, so that they record the same."""
    device = choose_device(hardware)
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device)}
    if device.type == "cpu":
        return {"device": "cpu", "processor": torch.backends.cpu.get_cpu_capability()}
    return {"device": device.type}


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    # macOS and Windows have no sched_getaffinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
