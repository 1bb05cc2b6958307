"""Names of the files in .resume, with the states of unfinished trainings, and their removal after DVC recorded the training."""

import fcntl
import json
from contextlib import suppress
from pathlib import Path

# When a state was saved: after a step within an epoch, after an epoch and its validation, after the training.
WITHIN_EPOCH, EPOCH_OVER, FINISHED = 0, 1, 2
WEIGHTS_SUFFIX, KEPT_STATE_SUFFIX, FINISHED_MARK = ".safetensors", ".state", "finished"


def forget_finished(root: Path, run: Path) -> None:
    """Remove the states of the finished training that a run.json records, unless another workspace trains the same now."""
    try:
        folder = root / bytes.fromhex(json.loads(run.read_text(encoding="utf-8"))["state"]).hex()[:16]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # of an earlier version, or none; old states are collected in time
    if not any(folder.glob(f"*-{FINISHED}-*.ckpt")):
        return
    # Another process may hold the lock, or have removed the folder.
    with suppress(BlockingIOError, FileNotFoundError), (folder / "lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / FINISHED_MARK).touch()
        for pattern in ("*.ckpt", f"[0-9]*{WEIGHTS_SUFFIX}", f"[0-9]*{KEPT_STATE_SUFFIX}"):  # a state without weights is damaged
            for file in folder.glob(pattern):
                file.unlink()
