"""Makes Lightning's Trainer from params.yaml; arguments that it does not take are reported in one line."""

import logging
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from dvclive.lightning import DVCLiveLogger
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.plugins import environments
from pytorch_lightning.strategies import StrategyRegistry
from torch import distributed

from darkroom.base.errors import InputError, described, listed, nearest
from darkroom.base.params import Params
from darkroom.hardware.devices import choose_device, stop_looking_for_gpus
from darkroom.training.checkpoints.resume import State, StateInMemory
from darkroom.training.observing.observers import Observers

# Python may take a minute to start on a cluster's file system or a busy machine.
START_SECONDS = 300.0
CLUSTERS = ("TorchElastic", "SLURM", "MPI", "LSF")


def make_trainer(
    params: Params,
    callbacks: list[pl.Callback],
    log_dir: Path,
    state: State | None = None,
    *,
    observers: Observers = Observers(),  # noqa: B008 - it is never changed
) -> pl.Trainer:
    """Return the Trainer for `train` and `hardware`, which logs to `log_dir`.

    With a state, `fit` with any `ckpt_path` resumes from it, and the log in `log_dir` is continued.

    Raises
    ------
    InputError
        Naming the key that Lightning does not take.
    """
    train, hardware = params.train, params.hardware
    assert train.precision != "auto"  # resolve_precision has replaced it
    live = DVCLiveLogger(dir=str(log_dir), dvcyaml=False, save_dvc_exp=False, resume=state is not None)
    further: dict[str, Any] = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, **observers.arguments, **train.trainer.given}
    _quieten_lightning()
    stop_looking_for_gpus()
    try:
        trainer = pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            precision=train.precision,
            max_epochs=train.epochs,
            gradient_clip_val=train.gradient_clip,
            logger=[live, *observers.loggers],
            callbacks=[RankTimeout(hardware.rank_timeout_seconds), *callbacks],
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            use_distributed_sampler=False,
            plugins=[StateInMemory(state)] if state is not None else None,
            **further,
        )
    except Exception as error:
        keys = "train.trainer" if train.trainer.given else "hardware"
        raise InputError(f"params.yaml: {keys}: Lightning refuses it ({described(error)}); correct it") from error
    _check_world(trainer, train.batch_size)
    if hasattr(trainer.strategy, "_timeout"):  # there is no public way for strategies chosen by name
        trainer.strategy._timeout = timedelta(seconds=max(START_SECONDS, hardware.rank_timeout_seconds))
    return trainer


class RankTimeout(pl.Callback):
    """Limits how long processes wait for each other, once all of them have started; the start may take longer."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Set the limit after the start, which takes each process a different time."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.set_timeout(timedelta(seconds=self.seconds))


def check_trainer_arguments(params: Params) -> None:
    """Refuse what Lightning, or this machine, cannot do with train.trainer and hardware.

    Raises
    ------
    InputError
        Naming the key.
    """
    train, hardware = params.train, params.hardware
    validated, every = train.trainer.check_val_every_n_epoch or 1, train.keep_every
    if every is not None and every % validated:
        raise InputError(
            f"params.yaml: train.keep_every: is {every}, but only one epoch in {validated} is validated, which is when weights "
            f"are kept; make it a multiple of {validated}"
        )
    if train.trainer.sync_batchnorm and choose_device(hardware).type != "cuda":
        raise InputError(
            "params.yaml: train.trainer.sync_batchnorm: is true, but torch can do that on GPUs of NVIDIA alone; set it to false"
        )
    strategies = ["auto", *StrategyRegistry.available_strategies()]
    if hardware.strategy not in strategies:
        hint = nearest(hardware.strategy, strategies, f"it takes {listed(strategies)}")
        raise InputError(f"params.yaml: hardware.strategy: Lightning has no '{hardware.strategy}'; {hint}")
    if hardware.num_nodes > 1 and "MASTER_ADDR" not in os.environ and not _in_cluster():
        raise InputError(
            f"params.yaml: hardware.num_nodes: is {hardware.num_nodes}, but the address of the other machines is not set; "
            "start with torchrun or srun, set MASTER_ADDR, MASTER_PORT and NODE_RANK, or set it to 1"
        )


def _in_cluster() -> bool:
    return any(getattr(environments, f"{name}Environment").detect() for name in CLUSTERS)


def _check_world(trainer: pl.Trainer, batch_size: int) -> None:
    if batch_size % trainer.world_size:
        raise InputError(
            f"params.yaml: train.batch_size: is {batch_size}, which cannot be divided among {trainer.world_size} devices; "
            f"make it a multiple of {trainer.world_size}"
        )


def _quieten_lightning() -> None:
    """Silence Lightning's messages at every start (devices, tips, processes)."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("lightning_fabric", "lightning_fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
