"""Which GPUs each job of a search trains on, so that no two searches on a machine share one; the lock between searches."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import HardwareParams
from darkroom.stage.lock import locked

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS = 30


def visible_gpus() -> list[str]:
    """Return the GPUs that may be used, by number or as the environment names them; none without a driver."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return found.split()


@contextmanager
def lease_gpus(
    hardware: HardwareParams, jobs: int, gpus: list[str], folder: Path | None = None
) -> Iterator[list[dict[str, str]]]:
    """Reserve `hardware.devices` GPUs for each job, and yield the environment variables that give them to it.

    A lease is a locked file in a folder of this machine; it ends with its process.

    Raises
    ------
    InputError
        If there are not enough free GPUs.
    """
    if hardware.accelerator in ("cpu", "mps") or not gpus:
        yield [{} for _ in range(jobs)]
        return
    if isinstance(hardware.devices, list):
        raise InputError(
            f"params.yaml: hardware.devices: is {hardware.devices}, but parallel runs take whichever GPUs are free; set a number"
        )
    each = hardware.devices if isinstance(hardware.devices, int) else max(1, len(gpus) // jobs)
    place = folder or Path(tempfile.gettempdir()) / f"darkroom-gpus-{os.getuid()}"
    with ExitStack() as stack:
        free: list[str] = []
        for gpu in gpus:
            if len(free) == each * jobs:
                break
            try:
                stack.enter_context(locked(place / f"{gpu}.lock", "tune", patient=False))
            except RunError:  # leased by another search
                continue
            free.append(gpu)
        if len(free) < each * jobs:
            raise InputError(
                f"--jobs: {jobs} jobs with {each} GPU each need {each * jobs}, but {len(free)} of {len(gpus)} are free here; "
                "start fewer jobs, or stop other searches"
            )
        yield [{VISIBLE: ",".join(free[job * each : (job + 1) * each])} for job in range(jobs)]


@contextmanager
def search_lock(path: Path) -> Iterator[None]:
    """Hold a lock of all searches of this repository, which each of them holds only for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
