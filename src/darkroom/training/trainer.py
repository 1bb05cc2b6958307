"""Makes Lightning's Trainer from params.yaml; arguments that it does not take are reported in one line."""

import logging
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.plugins import environments
from pytorch_lightning.strategies import StrategyRegistry

from darkroom.base.errors import InputError, described, listed, nearest
from darkroom.base.params import HardwareParams, Params
from darkroom.hardware.devices import choose_device, num_processes, stop_looking_for_gpus
from darkroom.stage.launcher import launched
from darkroom.training.checkpoints.resume import State, StateInMemory
from darkroom.training.observing.live import LiveLogger
from darkroom.training.observing.observers import Observers
from darkroom.training.ranks import RankWatch

# Python may take a minute to start on a cluster's file system or a busy machine.
START_SECONDS = 300.0
# Those whose processes hold the whole model each, and are started by this command: any other would publish a part of the weights,
# or nothing, after the last epoch.
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true", "single_device")


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
    assert train.precision != "auto"  # resolve_auto has replaced it
    live = LiveLogger(dir=str(log_dir), dvcyaml=False, save_dvc_exp=False, resume=state is not None)
    further: dict[str, Any] = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, **observers.arguments, **train.trainer.given}
    plugins: list[Any] = [StateInMemory(state)] if state is not None else []
    if launched() is None:  # one task of SLURM, too, is none of several
        plugins.append(environments.LightningEnvironment())  # type: ignore[attr-defined]
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
            callbacks=[RankWatch(hardware.rank_timeout_seconds), *callbacks],
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            use_distributed_sampler=False,
            plugins=plugins,
            **further,
        )
    except Exception as error:
        keys = "train.trainer" if train.trainer.given else "hardware"
        raise InputError(f"params.yaml: {keys}: Lightning refuses it ({described(error)}); correct it") from error
    _check_world(trainer, train.batch_size)
    if hasattr(trainer.strategy, "_timeout"):  # there is no public way for strategies chosen by name
        trainer.strategy._timeout = timedelta(seconds=START_SECONDS)
    return trainer


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
    if hardware.strategy not in STRATEGIES:
        raise InputError(f"params.yaml: hardware.strategy: {_wrong_strategy(hardware.strategy)}")
    _check_launch(hardware)


def _wrong_strategy(name: str) -> str:
    if name in StrategyRegistry.available_strategies():
        return (
            f"is {name}, which divides the model among processes, or starts them so that none can publish it; set ddp, with "
            "train.precision and train.trainer.accumulate_grad_batches if memory is short"
        )
    return f"Lightning has no '{name}'; {nearest(name, STRATEGIES, f'it takes {listed(STRATEGIES)}')}"


def _check_launch(hardware: HardwareParams) -> None:
    """Refuse processes that do not fit the devices: each would train alone and write to the same files, or wait for others."""
    launch, wanted = launched(), num_processes(hardware)
    if launch is None:
        if hardware.num_nodes > 1 and "MASTER_ADDR" not in os.environ:
            raise InputError(
                f"params.yaml: hardware.num_nodes: is {hardware.num_nodes}, but the address of the other machines is not set; "
                "start with torchrun or srun, set MASTER_ADDR, MASTER_PORT and NODE_RANK (docs/sharing.md), or set it to 1"
            )
    elif launch.number not in (0, wanted):
        raise InputError(
            f"params.yaml: hardware.devices: is {hardware.devices} on {hardware.num_nodes} machine(s), which takes {wanted} "
            f"process(es), but {launch.number} were started ({launch.variable}); start one for each device, or a single one"
        )


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
