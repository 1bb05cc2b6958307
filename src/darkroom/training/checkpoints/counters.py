"""Lightning's counters of epochs, steps and batches, set to a boundary between two steps."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.progress import _ProcessedTracker as ProcessedTracker


def set_counters(loops: dict[str, Any], epoch: int, batch: int, *, validated: bool) -> None:
    """Set Lightning's counters to the boundary before a batch of an epoch.

    Its own counters depend on the hook that saves, and are wrong in the checkpoints after a resume from the last batch of an
    epoch (seen with 2.6.6).

    Parameters
    ----------
    loops
        State of the fit loop, changed in place.
    epoch
        Number of finished epochs.
    batch
        Number of batches of the next one that were trained on.
    validated
        Whether the validation after that batch, if there is one, is done.
    """
    begun = epoch + (batch > 0)
    loops["epoch_progress"] = _progress(begun, epoch)
    train = loops["epoch_loop.batch_progress"]
    total = train["total"]["processed"]
    train["total"], train["current"] = _counts(total, total), _counts(batch, batch)
    train["is_last_batch"] = train["is_last_batch"] and batch > 0
    val = loops["epoch_loop.val_loop.batch_progress"]
    # A batch that was begun and not finished makes Lightning repeat the validation.
    val["total"], val["current"], val["is_last_batch"] = _counts(int(not validated), 0), _counts(0, 0), False
    if batch > 0 and validated:
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def _progress(begun: int, over: int) -> dict[str, Any]:
    return {"total": _counts(begun, over), "current": _counts(begun, over)}


def _counts(begun: int, over: int) -> dict[str, int]:
    return {"ready": begun, "started": begun, "processed": over, "completed": over}


def count_as_done(trainer: pl.Trainer, epochs: int) -> None:
    """Let a training that is about to start count as many epochs as done, with their steps and batches."""
    loop = trainer.fit_loop
    batches = epochs * int(trainer.num_training_batches)
    steps = epochs * -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
    for kind in ("total", "current"):
        setattr(loop.epoch_progress, kind, ProcessedTracker(**_counts(epochs, epochs)))
    loop.epoch_loop.batch_progress.total = ProcessedTracker(**_counts(batches, batches))
    optimizer = loop.epoch_loop.automatic_optimization.optim_progress.optimizer
    optimizer.step.total.ready = optimizer.step.total.completed = steps
    loop.epoch_loop._batches_that_stepped = steps
