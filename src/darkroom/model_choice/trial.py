"""One training of a recipe as the stage train does it, in a temporary folder, and what is measured of it.

N images, C channels, H by W pixels, K classes.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from darkroom.base.params import Params
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.hardware.devices import choose_device
from darkroom.input.cached_features import CachedFeatures
from darkroom.input.in_memory import make_repeating_loader
from darkroom.input.loaders import make_loader
from darkroom.input.samplers import SequentialBatchSampler
from darkroom.model_choice.costs import training_seconds
from darkroom.model_choice.judging import judge, speed
from darkroom.models.probe_network import Probe
from darkroom.training.auto_precision import resolve_auto
from darkroom.training.callbacks.fit_head import fit_head_of, set_head
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

# Images of a batch of validation, and of the one that the speed of inference is measured on.
BATCH, FEW = 64, 32


@dataclass(frozen=True, eq=False)
class Measured:
    """What a training of one split has given.

    Attributes
    ----------
    rows : (N,) int64
        The images that it was judged on.
    right : (N,) bool
        Whether the class of each, or all of them, is predicted correctly.
    published : float
        `published.accuracy` of metrics/train.json, as the stage would write it.
    seconds : float
        That it took.
    images_per_second : float
        Speed of the network on images that have been read.
    """

    rows: Rows
    right: NDArray[np.bool_]
    published: float
    seconds: float
    images_per_second: float


class Trial:
    """A training that was checked and can start.

    Parameters
    ----------
    params
        Of the recipe.
    pack
        The images.
    folds
        Which of them are trained and judged on. Of a network whose features are computed once, the last layer is trained on each;
        of another one, only the first counts.

    Attributes
    ----------
    expected : float
        Seconds that it will take, as one or two steps promise.

    Raises
    ------
    InputError
        If the recipe does not fit the images or this machine.
    """

    def __init__(self, params: Params, pack: Pack, folds: Sequence[Split]):
        self.params, self.pack, self.begun = params, pack, time.monotonic()
        self.folds = folds if params.train.cache_features else folds[:1]
        with silent():
            self.plan = resolve_auto(make_plan(params, pack, folds[0].rows["train"]))
        self.device = choose_device(params.hardware)
        self.expected = training_seconds(self.plan, params, folds[0], self.device, len(self.folds))

    def run(self) -> Iterator[Measured]:
        """Train, and judge the published weights, on one fold after the other.

        Raises
        ------
        RunError
            If the training fails.
        """
        features, strength = self._features(), None
        first, network = self._trained(self.folds[0], features)
        yield first
        for split in self.folds[1:]:
            if not self._is_solved:
                self.begun = time.monotonic()
                with silent():  # another last layer to begin with
                    self.plan = resolve_auto(make_plan(self.params, self.pack, split.rows["train"]))
                yield replace(self._trained(split, features)[0], images_per_second=first.images_per_second)
                continue
            begun = time.monotonic()
            assert features is not None
            assert isinstance(network, Probe)
            with silent():
                head = fit_head_of(self.plan, split, features).fit(strength)
            # It is chosen once: it hardly differs between folds, and choosing it is most of the work.
            strength = head.strength
            set_head(network.head, head, self.plan.objective.positive)
            right = self._judge(network, split.rows["val"], features)
            seconds = time.monotonic() - begun
            yield Measured(split.rows["val"], right, float(right.mean()), seconds, first.images_per_second)

    def _trained(self, split: Split, features: CachedFeatures | None) -> tuple[Measured, nn.Module]:
        """Train on a split as the stage train does; return what it gives, and the published network."""
        with tempfile.TemporaryDirectory(prefix="darkroom-find-") as folder, silent():
            store = StateStore(Path(folder), {})
            with store.held():
                best = fit(self.plan, split, store, known=features)
                published = best.measured(store.log_dir)["accuracy"]
                network = self._published(best)
        right = self._judge(network, split.rows["val"], features)
        seconds = time.monotonic() - self.begun
        images = self.plan.images.plain()[0, split.rows["val"][:FEW]]["images"]
        found = speed(network, images.to(self.device), self.plan.params.train.precision)
        return Measured(split.rows["val"], right, published, seconds, found), network

    @property
    def _is_solved(self) -> bool:
        """Whether a solver fits the last layer, and nothing is trained."""
        train = self.params.train
        return train.cache_features and train.fit_head is not None and train.epochs == 1

    def _features(self) -> CachedFeatures | None:
        """Return the features, to be computed, of all images of all folds, if only the last layer is trained."""
        network = self.plan.classifier.network
        if not self.params.train.cache_features:
            return None
        assert isinstance(network, Probe)
        rows = np.unique(np.concatenate([self.folds[0].rows[each] for each in ("train", "val")]))
        return CachedFeatures(self.plan.images.plain(), rows, network.shape)

    def _published(self, best: KeepBest) -> nn.Module:
        published = self.plan.classifier.published
        published.load_state_dict(best.weights)
        return published.to(self.device)

    def _judge(self, network: nn.Module, rows: Rows, features: CachedFeatures | None) -> NDArray[np.bool_]:
        """Return whether each image (N,) is predicted correctly."""
        order = SequentialBatchSampler(rows, batch_size=min(BATCH, self.params.train.batch_size))
        loader = (
            make_loader(features, order, readers=0)
            if features is not None
            else make_repeating_loader(self.plan.images.plain(), order, self.params.hardware, device=self.device)
        )
        return judge(network, loader, self.device, self.plan.params.train.precision, self.plan.objective.positive)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Leave out what a training prints for whoever watches it alone."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
