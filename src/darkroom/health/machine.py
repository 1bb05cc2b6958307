"""Checks of torch and its device, and of disk space."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from darkroom.base.errors import counted
from darkroom.health.findings import TORCH_INDEX, WITHOUT_CUDA, Finding, install_command, shown_size, within

# The first import of torch from a network disk is slow.
PROBE_SECONDS = 120
WARN_BYTES, FAIL_BYTES = 5_000_000_000, 500_000_000
GPUS_OF_DRIVER = Path("/proc/driver/nvidia/gpus")
OTHER_CUDA = "pip uninstall -y torch torchvision && " + WITHOUT_CUDA.format(index=TORCH_INDEX + "cu128")
EDIT_PARAMS = "${EDITOR:-nano} params.yaml"


def check_torch(root: Path) -> Iterator[Finding]:
    """Import torch and torchvision, and find the device that training would use.

    In a subprocess, since a build for another CPU, or a broken driver, may crash the process.
    """
    search = os.pathsep.join(filter(None, [str(root / "src"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "darkroom.hardware.probe"]
    run = subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True, timeout=PROBE_SECONDS
    )
    if run.returncode:
        yield Finding("fail", "torch", _error_of(run), install_command(root))
        return
    found = json.loads(run.stdout.splitlines()[-1])
    yield Finding("ok", "torch", f"torch {found['torch']} and torchvision {found['torchvision']} can be imported")
    yield _device(found)


def _error_of(run: "subprocess.CompletedProcess[str]") -> str:
    if run.returncode < 0:
        return f"Python was killed by {signal.Signals(-run.returncode).name} while importing torch"
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    return f"cannot be imported: {lines[-1] if lines else f'exit status {run.returncode}'}"


def _device(found: dict[str, Any]) -> Finding:
    if found["problem"]:
        return Finding("fail", "device", found["problem"], EDIT_PARAMS)
    gpus = counted(len(found["gpus"]), "GPU") + (f": {found['gpus'][0]}" if found["gpus"] else "")
    text = f"training would use {found['device']} ({gpus}); bf16-mixed {'works' if found['bf16'] else 'does not work'} on it"
    if not found["gpus"] and GPUS_OF_DRIVER.is_dir() and any(GPUS_OF_DRIVER.iterdir()):
        return Finding("warn", "device", f"torch {found['torch']} cannot use the NVIDIA GPU of this machine; {text}", OTHER_CUDA)
    return Finding("ok", "device", text)


def check_disk(root: Path, subject: str, folders: Iterable[Path], clean: str) -> Iterator[Finding]:
    """Check the free space of the first folder, and whether all can be written; the command `clean` frees space."""
    places = [_existing(folder) for folder in folders]
    closed = next((place for place in places if not _is_writable(place)), None)
    free = shutil.disk_usage(places[0]).free
    name = within(root, places[0])
    room = f"{shown_size(free)} free in {'the repository' if name == '.' else name}"
    if closed:
        yield Finding("fail", subject, f"{within(root, closed)} is not writable", _open_command(root, closed))
    elif free < WARN_BYTES:
        yield Finding("fail" if free < FAIL_BYTES else "warn", subject, f"only {room}", clean)
    else:
        yield Finding("ok", subject, room)


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _is_writable(folder: Path) -> bool:
    # Tested by writing, since permissions do not show a read-only disk; the file is removed at once.
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _open_command(root: Path, folder: Path) -> str:
    name = shlex.quote(within(root, folder))
    return f"chmod -R u+rwX {name}" if folder.stat().st_uid == os.getuid() else f'sudo chown -R "$(id -u)" {name}'
