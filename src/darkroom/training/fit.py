"""Training a plan with Lightning, from the beginning or from where it was interrupted."""

import math
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from darkroom.base.errors import InputError, RunError, warn
from darkroom.data.pack import Rows
from darkroom.data.split_file import Split
from darkroom.input.cached_features import CachedFeatures, ComputeFeatures
from darkroom.input.in_memory import describe_input, make_repeating_loader
from darkroom.input.loaders import make_loader
from darkroom.input.samplers import SequentialBatchSampler, ShuffledBatchSampler, every_class_first
from darkroom.training.callbacks.early_stopping import describe_stop, early_stopping
from darkroom.training.callbacks.fit_head import FitHead, cached_features, fit_head_of
from darkroom.training.callbacks.named import build_callbacks
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.fresh_start import describe, refuse_other_versions
from darkroom.training.checkpoints.log_files import write_files
from darkroom.training.checkpoints.restore_optimizer import RestoreOptimizer
from darkroom.training.checkpoints.resume import KeepState, State
from darkroom.training.checkpoints.resume_from import Earlier
from darkroom.training.checkpoints.saved_states import COPIES_IN_STATE, StateStore, Weights
from darkroom.training.checkpoints.soup import Soup, greedy_soup
from darkroom.training.failures import explained
from darkroom.training.observing.observers import Observers, observing
from darkroom.training.observing.progress import ProgressReport
from darkroom.training.observing.steps import LogSteps
from darkroom.training.plan import Plan
from darkroom.training.ranks import RankWatch
from darkroom.training.search_link import report_to_search
from darkroom.training.test_during import TestDuring
from darkroom.training.trainer import make_trainer
from darkroom.training.weight_gradients import fast_weight_gradients


def fit(
    plan: Plan, split: Split, store: StateStore, *, logs: Path | None = None, known: CachedFeatures | None = None
) -> KeepBest:
    """Train, or resume from the state in `store`, and return the callback that has the weights of the best epochs.

    Parameters
    ----------
    plan
        What is trained.
    split
        Rows of the training, validation and test images.
    store
        Where states are saved; the log is written to `store.log_dir`.
    logs
        Folder for loggers and system measurements; None: there are none.
    known
        Features for `train.cache_features`, kept for further trainings; None: they are computed for this one.

    Raises
    ------
    RunError
        If the training fails.
    Interrupted
        If a signal ended it; the state is saved then.
    """
    train, (state, earlier) = plan.params.train, _begin(plan, store)
    num_best = max(train.keep_best, train.soup or 1)
    best = KeepBest(store, train.monitor, plan.objective.mode, num_best=num_best, every=train.keep_every)
    _restore_log(store, state)
    fits = train.fit_head is not None and state is None and earlier is None
    cached = known or cached_features(plan, split, fits=fits)
    with observing(plan.params, logs, state, store.folder.name[:8]) as observers:
        stopping = early_stopping(train, plan.objective.stop_mode)
        callbacks = [*stopping, best, *_callbacks(plan, split, store, best, cached, observers)]
        callbacks += [fit_head_of(plan, split, cached)] if fits and cached else []
        callbacks += [RestoreOptimizer(earlier, plan.params)] if earlier else []
        trainer = make_trainer(plan.params, callbacks, store.log_dir, state, observers=observers)
        _save_last(trainer)
        if trainer.is_global_zero and not earlier and (line := describe(state, store)):
            print(line, flush=True)
        if state is not None and state["darkroom"]["finished"]:
            for callback in (best, *stopping):
                callback.load_state_dict(state["callbacks"][callback.state_key])
            best.publishes = trainer.is_global_zero
        else:
            _check_space(plan, store, best)
            loaders = _loaders(plan, split, trainer, _place(state, earlier), cached if train.cache_features else None)
            if trainer.is_global_zero:
                print(f"train: input: {describe_input(loaders[0])}", flush=True)
                _warn_of_one_class(plan, split)
            with explained(plan.params, trainer, store.log_dir), fast_weight_gradients(trainer.strategy.root_device, train):
                trainer.fit(plan.classifier, *loaders, ckpt_path="state" if state else None)
    if not best.kept:
        raise RunError(f"train: ended before {train.monitor} was measured once; let train.trainer allow at least one epoch")
    if train.soup is not None:
        with explained(plan.params, trainer, store.log_dir):
            best.soup = _soup(plan, trainer, _loaders(plan, split, trainer, _place(state, earlier))[1], best)
    if trainer.is_global_zero and (line := describe_stop(callbacks, epochs=train.epochs, published=best.name)):
        print(line, flush=True)
    return best


def _begin(plan: Plan, store: StateStore) -> tuple[State | None, Earlier | None]:
    """Return the state to resume from, and the other training that it is of (`train.resume_from`)."""
    saved, earlier = store.latest(), plan.earlier
    if saved is not None:
        return saved, None
    refuse_other_versions(store)
    if earlier is not None:
        store.adopt(earlier.weights)
    return (earlier.state if earlier else None), earlier


def _save_last(trainer: pl.Trainer) -> None:
    """Let the state be saved last; Lightning puts each ModelCheckpoint behind all other callbacks.

    A head is fitted once signals are handled.
    """
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.sort(key=lambda callback: isinstance(callback, KeepState) + 2 * isinstance(callback, FitHead))


def _restore_log(store: StateStore, state: State | None) -> None:
    shutil.rmtree(store.log_dir, ignore_errors=True)
    store.log_dir.mkdir()  # an output of the stage, also of a fast_dev_run, which logs nothing
    if state is not None:
        write_files(store.log_dir, state["darkroom"]["log"])


def _callbacks(
    plan: Plan, split: Split, store: StateStore, best: KeepBest, cached: CachedFeatures | None, observers: Observers
) -> list[pl.Callback]:
    """Return further callbacks in the order in which Lightning calls them; states are saved last."""
    train = plan.params.train
    named = build_callbacks(plan.params, plan.objective.extra_metrics, observers.folder or store.folder / "logs")
    has_bar = any(isinstance(callback, ProgressBar) for callback in named)
    report = ProgressReport(train.monitor, train.batch_size, plan.params.hardware.progress_refresh)
    callbacks: list[pl.Callback] = [] if has_bar and sys.stdout.isatty() else [report]
    if train.log_every != "epoch":
        callbacks.append(LogSteps(1 if train.log_every == "step" else train.log_every))
    if train.test_every is not None:
        callbacks.append(TestDuring(train.test_every, partial(_test_loader, plan, split)))
    if cached is not None:
        callbacks.append(ComputeFeatures(cached, plan.params))
    callbacks += report_to_search(store)
    if train.compile is not None:
        from darkroom.training.torch_compile import Compile  # its imports take a second

        callbacks.append(Compile(train.compile))
    kept = best if train.keep_states else None
    return [*callbacks, *observers.callbacks, *named, KeepState(store, train.checkpoint.every_minutes, kept, plan.computes)]


def _check_space(plan: Plan, store: StateStore, best: KeepBest) -> None:
    num_bytes = sum(value.nbytes for value in plan.classifier.network.state_dict().values())
    num_regular = plan.params.train.epochs // best.every if best.every else 0
    num_kept = best.num_best + num_regular
    # A state, and the weights of the best epochs until then.
    num_of_states = (num_kept + 1) * (COPIES_IN_STATE + best.num_best) if plan.params.train.keep_states else 0
    store.check_space(num_bytes, num_kept + num_of_states)


def _soup(plan: Plan, trainer: pl.Trainer, val_loader: Any, best: KeepBest) -> Soup | None:
    """Return the soup of the best epochs, with every candidate validated.

    It is a function of the weights that the finished training has kept: if it is interrupted, it is computed again.
    """
    train = plan.params.train
    # These validations are not logged and stop nothing.
    trainer.callbacks = [each for each in trainer.callbacks if isinstance(each, RankWatch)]  # type: ignore[attr-defined]
    trainer.loggers = []
    candidates = {kept.epoch: kept for kept in best.kept[: train.soup]}

    def measure(weights: Weights) -> float:
        plan.classifier.published.load_state_dict(weights)
        trainer.validate(plan.classifier, val_loader, verbose=False)
        return float(trainer.callback_metrics.get(train.monitor, math.nan))

    scores = {epoch: kept.score for epoch, kept in candidates.items()}
    return greedy_soup(scores, lambda epoch: best.load(candidates[epoch]), measure, sign=best.sign)


def _place(state: State | None, earlier: Earlier | None) -> tuple[int, int] | None:
    """Return the number of finished epochs, and of batches of the next one, with which the training begins."""
    if state is not None:
        return state["darkroom"]["epoch"], state["darkroom"]["batch"]
    return (earlier.epoch, 0) if earlier else None


def _loaders(
    plan: Plan, split: Split, trainer: pl.Trainer, place: tuple[int, int] | None, cached: CachedFeatures | None = None
) -> tuple[Any, Any]:
    """Return the loaders of training and validation, the first from an epoch and a batch on."""
    params, images = plan.params, plan.images
    batch_size, rank, world_size = params.train.batch_size, trainer.global_rank, trainer.world_size
    train_order = ShuffledBatchSampler(
        split.rows["train"],
        batch_size=batch_size,
        seed=params.base.seed,
        rank=rank,
        world_size=world_size,
        balance_by=images.pack.labels if params.train.sampler == "balanced" else None,
    )
    if place is not None:
        train_order.set_epoch(place[0])
        train_order.resume_at = place
    if len(split.rows["val"]) < world_size:
        raise InputError(
            f"params.yaml: hardware.devices: {world_size} processes share {len(split.rows['val'])} validation image(s); "
            "use fewer, or raise split.val_fraction"
        )
    val_order = SequentialBatchSampler(
        _val_rows(plan, split), batch_size=-(-batch_size // world_size), rank=rank, world_size=world_size
    )
    if cached is not None:  # in memory already
        return make_loader(cached, train_order, readers=0), make_loader(cached, val_order, readers=0)
    device = trainer.strategy.root_device
    loader = partial(make_repeating_loader, hardware=params.hardware, device=device, num_devices=trainer.num_devices)
    train_images = images.at_sizes(params.train.image_sizes or {})
    return loader(train_images, train_order), loader(images.plain(), val_order)


def _val_rows(plan: Plan, split: Split) -> Rows:
    """Return the rows of the validation; one that is cut short begins with images of every class."""
    trainer, rows = plan.params.train.trainer, split.rows["val"]
    # 1.0 is all of them, 1 is one batch.
    is_cut = trainer.fast_dev_run or isinstance(trainer.limit_val_batches, int) or (trainer.limit_val_batches or 1.0) < 1.0
    return every_class_first(rows, plan.images.pack.labels[rows]) if is_cut else rows


def _warn_of_one_class(plan: Plan, split: Split) -> None:
    """Say so where all images of the validation are of one class: its metrics are then 0 or 1, whatever was learnt."""
    trainer, labels = plan.params.train.trainer, plan.images.pack.labels[_val_rows(plan, split)]
    batches = int(trainer.fast_dev_run or 0) or trainer.limit_val_batches
    if isinstance(batches, int):
        labels = labels[: batches * plan.params.train.batch_size]
    if labels.ndim == 1 and len(set(labels.tolist())) == 1:
        warn(
            f"train: all {len(labels)} images of the validation are of class {split.classes[labels[0]]}, so that its metrics say "
            "nothing about the others; raise split.val_fraction or train.trainer.limit_val_batches"
        )


def _test_loader(plan: Plan, split: Split, rank: int, world_size: int) -> Any:
    size = -(-plan.params.train.batch_size // world_size)
    order = SequentialBatchSampler(split.rows["test"], batch_size=size, rank=rank, world_size=world_size)
    return make_loader(plan.images.plain(), order, readers=0)
