"""`train.compile`: compiles the network with torch.compile, and reports how long that took."""

import time
from typing import Any

import pytorch_lightning as pl
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import calculate_time_spent

from darkroom.base.errors import RunError, described

# Of a compiler's message, which may be pages long.
MOST_LETTERS = 200


class Compile(pl.Callback):
    """Compiles the network in place, so that its tensors keep their names, and reports at the end how long that took.

    Another network that is validated, such as an average, is not compiled. Other image or batch sizes, and validation, are
    compiled when they first occur.

    Parameters
    ----------
    mode
        Mode of torch.compile; `reduce-overhead` and `max-autotune` record the steps as CUDA graphs on a GPU.
    """

    def __init__(self, mode: str):
        self.mode = mode
        self._begun = self._spent = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the first step compile the network."""
        self._begun, self._spent = time.perf_counter(), _spent()
        network: Any = pl_module.network
        network.compile(mode=self.mode)
        if trainer.is_global_zero:
            print(f"train.compile: {self.mode}; the first step takes longer", flush=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Report how long it took."""
        if trainer.is_global_zero:
            seconds, spent = time.perf_counter() - self._begun, _spent() - self._spent
            print(f"train.compile: took {spent:.1f} s of the training's {seconds:.1f} s", flush=True)


def _spent() -> float:
    return calculate_time_spent()["total_wall_time"]


def explain_compiler(error: RuntimeError) -> None:
    """Explain that the network cannot be compiled, or that a compiler is missing."""
    if isinstance(error, TorchDynamoException):
        why = " ".join(described(error).split())[:MOST_LETTERS]
        raise RunError(
            f"params.yaml: train.compile: this network cannot be compiled here ({why}); set it to null, or install a C++ compiler"
        ) from error
