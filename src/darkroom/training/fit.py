"""Lightning trains what was planned, from the beginning or from where it was interrupted; what goes wrong is one line."""

import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytorch_lightning as pl

from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.errors import RunError
from darkroom.input.cached_features import CachedFeatures, ComputeFeatures
from darkroom.input.dataset import ImageDataset
from darkroom.input.in_memory import described_input, make_repeating_loader
from darkroom.input.loaders import make_loader
from darkroom.input.samplers import SequentialBatchSampler, ShuffledBatchSampler
from darkroom.models.probe_network import Probe
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.resume import KeepState, State, describe, write_files
from darkroom.training.checkpoints.soup import Soup, Weights, greedy_soup
from darkroom.training.checkpoints.store import StateStore
from darkroom.training.failures import explained
from darkroom.training.observing.observers import observing
from darkroom.training.observing.progress import ProgressReport
from darkroom.training.observing.steps import LogSteps
from darkroom.training.plan import Plan
from darkroom.training.search_link import of_search
from darkroom.training.test_during import TestDuring
from darkroom.training.trainer import early_stopping, make_trainer


def fit(plan: Plan, pack: Pack, split: Split, store: StateStore, *, logs: Path | None = None) -> KeepBest:
    """Train, or go on from the state in `store`, and return the callback that knows the weights of the best epochs.

    The log is written to `store.log_dir`, what is observed beside it to a folder in `logs`, if there is one.

    Raises
    ------
    RunError
        If the training fails.
    Interrupted
        If a signal ended it; the state is saved then.
    """
    train = plan.params.train
    num_best = max(train.keep_best, train.soup or 1)
    best = KeepBest(store, train.monitor, plan.mode, num_best=num_best, every=train.keep_every)
    keep = KeepState(store, train.checkpoint.every_minutes)
    state = store.latest()
    shutil.rmtree(store.log_dir, ignore_errors=True)
    store.log_dir.mkdir()  # a promised output, also of a fast_dev_run, which logs nothing
    if state is not None:
        write_files(store.log_dir, state["darkroom"]["log"])
    finished = state is not None and state["darkroom"]["finished"]
    with observing(plan.params, logs, state, store.folder.name[:8]) as observers:
        computing = _computing(plan, pack, split)
        progress = ProgressReport(train.monitor, train.batch_size)
        callbacks = [*early_stopping(train, plan.mode), best, progress, *_measuring(plan, pack, split), *computing]
        callbacks += of_search(store)
        if train.compile is not None:
            from darkroom.training.torch_compile import Compile  # its imports take a second

            callbacks.append(Compile(train.compile))
        trainer = make_trainer(plan.params, [*callbacks, *observers.callbacks, keep], store.log_dir, state, observers=observers)
        if trainer.is_global_zero and (line := describe(state, store)):
            print(line, flush=True)
        if state is not None and finished:
            best.load_state_dict(state["callbacks"]["KeepBest"])
            best.publishes = trainer.is_global_zero
        else:
            num_bytes = sum(value.nbytes for value in plan.classifier.network.state_dict().values())
            store.check_space(num_bytes, num_best + train.epochs // (train.keep_every or train.epochs + 1))
            loaders = _loaders(plan, pack, split, trainer, state, computing[0].cached if computing else None)
            if trainer.is_global_zero:
                print(f"train: input: {described_input(loaders[0])}", flush=True)
            with explained(plan.params, trainer, store.log_dir):
                trainer.fit(plan.classifier, *loaders, ckpt_path="state" if state else None)
    if not best.kept:
        _no_epoch(train.monitor)
    if train.soup is not None:
        with explained(plan.params, trainer, store.log_dir):
            best.soup = _soup(plan, trainer, _loaders(plan, pack, split, trainer, state)[1], best)
    return best


def _soup(plan: Plan, trainer: pl.Trainer, val_loader: Any, best: KeepBest) -> Soup | None:
    """Return the soup of the best epochs, each of its steps measured as a validation measures.

    It is a function of what the finished training has kept: one that was killed here is cooked anew.
    """
    train = plan.params.train
    # Nothing that logs, keeps or stops is to see these validations.
    trainer.callbacks, trainer.loggers = [], []  # type: ignore[attr-defined]
    candidates = {kept.epoch: kept for kept in best.kept[: train.soup]}

    def measure(weights: Weights) -> float:
        plan.classifier.published.load_state_dict(weights)
        trainer.validate(plan.classifier, val_loader, verbose=False)
        return float(trainer.callback_metrics.get(train.monitor, math.nan))

    scores = {epoch: kept.score for epoch, kept in candidates.items()}
    return greedy_soup(scores, lambda epoch: best.load(candidates[epoch]), measure, sign=best.sign)


def _loaders(
    plan: Plan, pack: Pack, split: Split, trainer: pl.Trainer, state: State | None, cached: CachedFeatures | None = None
) -> tuple[Any, Any]:
    params, preprocessing = plan.params, plan.preprocessing
    batch_size, seed = params.train.batch_size, params.base.seed
    rank, world_size = trainer.global_rank, trainer.world_size
    val = ImageDataset(pack, image_size=preprocessing.image_size, channels=preprocessing.channels)
    train = val.augmented(plan.transforms, seed).at_sizes(params.train.image_sizes or {})
    labels = pack.labels if params.train.sampler == "balanced" else None
    order = ShuffledBatchSampler(
        split.rows["train"], batch_size=batch_size, seed=seed, rank=rank, world_size=world_size, balance_by=labels
    )
    if state is not None:
        order.set_epoch(state["darkroom"]["epoch"])
        order.resume_at = (state["darkroom"]["epoch"], state["darkroom"]["batch"])
    val_order = SequentialBatchSampler(
        split.rows["val"], batch_size=-(-batch_size // world_size), rank=rank, world_size=world_size
    )
    if cached is not None:  # which are in memory already
        return make_loader(cached, order, readers=0), make_loader(cached, val_order, readers=0)
    device = trainer.strategy.root_device
    loader = partial(make_repeating_loader, hardware=params.hardware, device=device, num_devices=trainer.num_devices)
    return loader(train, order), loader(val, val_order)


def _computing(plan: Plan, pack: Pack, split: Split) -> list[ComputeFeatures]:
    """Return what computes the features of the images that the training sees, if they are cached."""
    network, preprocessing = plan.classifier.network, plan.preprocessing
    if not isinstance(network, Probe):
        return []
    images = ImageDataset(pack, image_size=preprocessing.image_size, channels=preprocessing.channels)
    rows = np.concatenate([split.rows["train"], split.rows["val"]])
    return [ComputeFeatures(CachedFeatures(images, rows, network.shape), plan.params)]


def _measuring(plan: Plan, pack: Pack, split: Split) -> list[pl.Callback]:
    """Return what logs more than the epochs' metrics of training and validation."""
    train, preprocessing = plan.params.train, plan.preprocessing
    callbacks: list[pl.Callback] = [LogSteps()] if train.log_every == "step" else []
    if train.test_every is not None:
        test = ImageDataset(pack, image_size=preprocessing.image_size, channels=preprocessing.channels)

        def load(rank: int, world_size: int) -> Any:
            size = -(-train.batch_size // world_size)
            order = SequentialBatchSampler(split.rows["test"], batch_size=size, rank=rank, world_size=world_size)
            return make_loader(test, order, readers=0)

        callbacks.append(TestDuring(train.test_every, load))
    return callbacks


def _no_epoch(monitor: str) -> NoReturn:
    raise RunError(f"train: ended before {monitor} was measured once; let train.trainer allow at least one epoch")
