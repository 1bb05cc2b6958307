"""Names of the files of unfinished trainings in .resume, and what is removed of them once DVC has recorded the training."""

from pathlib import Path

# Phases of a step: its batch was trained on; its epoch, with validation, is over; the training is.
WITHIN_EPOCH, EPOCH_OVER, FINISHED = 0, 1, 2
WEIGHTS_SUFFIX = ".safetensors"


def forget_finished(root: Path) -> None:
    """Remove the states of trainings that came to their end: DVC has recorded them, or no later stage would run."""
    for path in root.glob(f"*/*-{FINISHED}-*.ckpt"):
        # States first: one without its weights would be told to be damaged.
        for pattern in ("*.ckpt", f"[0-9]*{WEIGHTS_SUFFIX}"):
            for file in path.parent.glob(pattern):
                file.unlink()
