"""`train.fit_head`: epoch 1 fits the last layer on features of the training images; later epochs train on from there.

N images, D features, K classes.
"""

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import nn

from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.input.cached_features import CachedFeatures
from darkroom.input.samplers import every_class_first
from darkroom.models.probe_network import Probe
from darkroom.objective.losses import image_weights
from darkroom.training.checkpoints.counters import count_as_done
from darkroom.training.classifier import Classifier
from darkroom.training.plan import Plan
from darkroom.transfer.logistic_head import LogisticHead, fit_logistic


class FitHead(pl.Callback):
    """Gives the last layer the weights of a logistic regression, then validates them as epoch 1.

    All features are divided by one number, so that their mean square length is 1 and a strength means the same for every network.
    The layer takes it into its weights.

    Parameters
    ----------
    cached
        With the features of the training images, which `ComputeFeatures` has filled by then.
    pack
        With the labels of the images, and the groups that cross-validation does not divide.
    rows : (N,)
        The training images.
    weights : (N,)
        What each of them counts.
    seed
        Of the folds of cross-validation.
    releases
        Whether no later epoch needs the features.
    """

    def __init__(
        self,
        cached: CachedFeatures,
        pack: Pack,
        rows: Rows,
        weights: NDArray[np.float64] | None = None,
        *,
        seed: int,
        releases: bool,
    ):
        self.cached, self.pack, self.rows, self.weights = cached, pack, rows, weights
        self.seed, self.releases = seed, releases

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit, validate, and count one epoch as done."""
        assert isinstance(pl_module, Classifier)
        probe, positive = pl_module.network, pl_module.objective.positive
        assert isinstance(probe, Probe)
        fitted = self.fit() if trainer.is_global_zero else None
        # Processes on other machines may round otherwise.
        head = trainer.strategy.broadcast(fitted)
        assert head is not None
        set_head(probe.head, head, positive)
        if pl_module.objective.average is not None:
            pl_module.objective.average.network.load_state_dict(probe.state_dict())
        if self.releases:
            self.cached.features = torch.empty(0)
        pl_module.on_train_start()  # a frozen part is in the mode of a validation, and a teacher on the device
        _validate(trainer)
        count_as_done(trainer, 1)
        if trainer.is_global_zero:
            names = dict.fromkeys(("val/loss", "val/accuracy", pl_module.objective.monitor))
            measured = {name: float(trainer.callback_metrics[name]) for name in names}
            values = "  ".join(f"{name} {value:.4f}" for name, value in measured.items())
            print(f"epoch 1/{trainer.max_epochs}  {values}", flush=True)

    def fit(self, strength: float | None = None) -> LogisticHead:
        """Return the head, of a strength that cross-validation chooses if none is given."""
        features = self.cached.of(self.rows).flatten(1).numpy()
        scale = float(np.sqrt(np.mean(np.sum(np.square(features, dtype=np.float64), axis=1)))) or 1.0
        head = fit_logistic(
            (features / scale).astype(np.float32),
            self.pack.labels[self.rows].astype(np.int64),
            num_classes=len(self.pack.classes),
            groups=_groups(self.pack, self.rows),
            weights=self.weights,
            seed=self.seed,
            strength=strength,
        )
        print(
            f"train: the last layer is a logistic regression on {features.shape[1]} features of {len(features)} images, "
            f"of strength {head.strength:g}",
            flush=True,
        )
        return LogisticHead((head.weight / scale).astype(np.float32), head.bias, head.strength)


def cached_features(plan: Plan, split: Split, *, fits: bool) -> CachedFeatures | None:
    """Return the features, to be computed, of the images that the head is trained on, and of those that it is fitted on."""
    network, train = plan.classifier.network, plan.params.train
    if not isinstance(network, Probe) or not (train.cache_features or fits):
        return None
    rows = [split.rows["train"], split.rows["val"]] if train.cache_features else [fitted_rows(plan, split)]
    return CachedFeatures(plan.images.plain(), np.concatenate(rows), network.shape)


def fit_head_of(plan: Plan, split: Split, cached: CachedFeatures) -> FitHead:
    """Return the callback for a plan; `cached` will have the features of `fitted_rows`."""
    params, pack, rows = plan.params, plan.images.pack, fitted_rows(plan, split)
    weights = image_weights(params.train, pack.labels[rows], pack.classes, plan.model.positive)
    return FitHead(cached, pack, rows, weights, seed=params.base.seed, releases=not params.train.cache_features)


def fitted_rows(plan: Plan, split: Split) -> Rows:
    """Return the rows that the head is fitted on; those of an epoch that is cut short are of every class."""
    train, rows = plan.params.train, split.rows["train"]
    limit = int(train.trainer.fast_dev_run or 0) or train.trainer.limit_train_batches or 1.0
    number = limit * train.batch_size if isinstance(limit, int) else max(1, int(limit * len(rows)))
    if number >= len(rows):
        return rows
    chosen: Rows = np.sort(every_class_first(rows, plan.images.pack.labels[rows])[:number])
    return chosen


def set_head(layer: nn.Module, head: LogisticHead, positive: int | None = None) -> None:
    """Copy weights (K, D) and bias (K,) into a linear layer; into one output if there is a positive class of two."""
    assert isinstance(layer, nn.Linear)
    weight, bias = torch.from_numpy(head.weight), torch.from_numpy(head.bias)
    if positive is not None:  # the sigmoid of the difference is the softmax of both
        weight, bias = (weight[positive] - weight[1 - positive])[None], (bias[positive] - bias[1 - positive])[None]
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def _validate(trainer: pl.Trainer) -> None:
    """Run the validation of an epoch, as Lightning's loop does after the batches of one."""
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True


def _groups(pack: Pack, rows: Rows) -> NDArray[np.int64] | None:
    """Return a number for the group of each image, (N,); those without one are groups of their own. None: there are none."""
    names = [pack.groups[row] for row in rows]
    if not any(name is not None for name in names):
        return None
    # A group may have any name, also that of a row.
    texts = [f"row {row}" if name is None else f"group {name}" for row, name in zip(rows, names, strict=True)]
    return np.unique(texts, return_inverse=True)[1]
