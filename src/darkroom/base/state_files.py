"""Names of the files in .resume, with the states of unfinished trainings, and their removal after DVC recorded the training."""

from pathlib import Path

# When a state was saved: after a step within an epoch, after an epoch and its validation, after the training.
WITHIN_EPOCH, EPOCH_OVER, FINISHED = 0, 1, 2
WEIGHTS_SUFFIX, KEPT_STATE_SUFFIX, FINISHED_MARK = ".safetensors", ".state", "finished"


def forget_finished(root: Path) -> None:
    """Remove the states of finished trainings, which DVC has recorded, since a later stage runs."""
    for path in root.glob(f"*/*-{FINISHED}-*.ckpt"):
        (path.parent / FINISHED_MARK).touch()
        for pattern in ("*.ckpt", f"[0-9]*{WEIGHTS_SUFFIX}", f"[0-9]*{KEPT_STATE_SUFFIX}"):  # a state without weights is damaged
            for file in path.parent.glob(pattern):
                file.unlink()
