"""`train.compile`: the network's steps as code of their own, made by torch.compile, and what making it cost."""

import time
from typing import Any

import pytorch_lightning as pl
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import calculate_time_spent

from darkroom.errors import RunError, described

# Of what a compiler says, which may be pages.
MOST_LETTERS = 200


class Compile(pl.Callback):
    """Compiles the network that is trained, under the names that its parts have, and says at the end how long that took.

    A network that is validated beside it, such as an average, stays as it is. Other sizes of images or of batches, and
    validation, are compiled when they come first.

    Parameters
    ----------
    mode
        That of torch.compile; `reduce-overhead` and `max-autotune` record the steps as CUDA graphs on a GPU.
    """

    def __init__(self, mode: str):
        self.mode = mode
        self._begun = self._spent = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have it compiled by the first step."""
        self._begun, self._spent = time.perf_counter(), _spent()
        network: Any = pl_module.network
        network.compile(mode=self.mode)
        if trainer.is_global_zero:
            print(f"train.compile: {self.mode}; the first step waits for it", flush=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Say what it cost."""
        if trainer.is_global_zero:
            seconds, spent = time.perf_counter() - self._begun, _spent() - self._spent
            print(f"train.compile: took {spent:.1f} s of the training's {seconds:.1f} s", flush=True)


def _spent() -> float:
    return calculate_time_spent()["total_wall_time"]


def explain_compiler(error: RuntimeError) -> None:
    """Turn what torch says of a network that it cannot compile, or of a compiler that is missing, into one line."""
    if isinstance(error, TorchDynamoException):
        why = " ".join(described(error).split())[:MOST_LETTERS]
        raise RunError(
            f"params.yaml: train.compile: this network cannot be compiled here ({why}); set it to null, or see that "
            "there is a C++ compiler"
        ) from error
