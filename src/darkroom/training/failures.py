"""Known errors of torch, DVC and the machine during training, each explained in one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.input.loaders import timed_out
from darkroom.repository.dvc import site_cache_dir

# In torch's message.
ONE_VALUE = "more than 1 value per channel"


@contextmanager
def explained(params: Params, trainer: pl.Trainer, log_dir: Path) -> Iterator[None]:
    """Turn known errors into one line that says what to do."""
    try:
        with files.naming(log_dir):
            yield
    except sqlite3.Error as error:
        raise RunError(
            f"{site_cache_dir(paths.ROOT)}: DVC cannot write there ({error}); free disk space, fix the permissions "
            "or set DVC_SITE_CACHE_DIR to another folder"
        ) from error
    except ValueError as error:
        _explain_batch(error)
        raise
    except RuntimeError as error:
        _explain_memory(error, params.train.batch_size)
        _explain_workers(error, params)
        _explain_ranks(error, trainer.world_size)
        if params.train.compile is not None:
            from darkroom.training.torch_compile import explain_compiler

            explain_compiler(error)
        raise


def _explain_batch(error: ValueError) -> None:
    """Explain that batch normalisation has no deviation of one value."""
    if ONE_VALUE in str(error):
        raise one_image() from error


def one_image() -> InputError:
    """Return the error of a network that cannot be trained on a batch of one image."""
    return InputError(
        "params.yaml: train.batch_size: is one image for a process, on which batch normalisation cannot be trained; "
        "raise it, or train.image_size"
    )


def _explain_memory(error: RuntimeError, batch_size: int) -> None:
    """Explain that memory ran out, a GPU's or the machine's."""
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
        raise RunError(
            f"params.yaml: train.batch_size: {batch_size} images do not fit in the device's memory; lower it, "
            "and raise train.trainer.accumulate_grad_batches to keep the effective batch size"
        ) from error


def _explain_workers(error: RuntimeError, params: Params) -> None:
    """Explain that a worker process of a DataLoader died or hangs."""
    if "DataLoader timed out" in str(error):
        raise timed_out(params.hardware.worker_timeout_seconds) from error
    if "DataLoader worker" in str(error):
        raise RunError(
            f"params.yaml: hardware.num_workers: a worker process died ({str(error).splitlines()[0]}); "
            "lower it if memory ran out, and run the same command to resume"
        ) from error


def _explain_ranks(error: RuntimeError, world_size: int) -> None:
    """Explain that another process of a distributed training failed."""
    text = " ".join(str(error).split())
    if "EADDRINUSE" in text:
        raise RunError("MASTER_PORT: is used by another program; set another port, or unset it") from error
    if world_size > 1 and any(word in text for word in ("gloo", "NCCL", "Timed out", "Connection closed", "Connection reset")):
        raise RunError(
            f"params.yaml: hardware.devices: one of {world_size} processes died or did not respond ({text[:120]}); "
            "run the same command to resume"
        ) from error
