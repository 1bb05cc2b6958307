"""`train.cache_features`: what frozen layers make of every picture is computed once, and the head alone is trained on it.

N pictures, C channels, H by W pixels, K classes. The features of a picture are what the head is given of it.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import Dataset

from darkroom.data.dividing import Rows
from darkroom.errors import InputError, RunError
from darkroom.params import Params
from darkroom.training.batches import Batch, PictureBatches
from darkroom.training.layers import head_name
from darkroom.training.loading import make_loader, num_readers
from darkroom.training.memory import free_memory
from darkroom.training.networks import Normalized, Preprocessing
from darkroom.training.orders import BatchKey, OrderedRows

KEY = "params.yaml: train.cache_features"
# Of the memory that is free when training begins.
USABLE = 0.5
# A picture in a batch of its own may be computed by another kernel.
TOLERANCE = 1e-3


class Probe(Normalized):
    """A network that takes features in place of pictures, too; all its weights have the names that they always have.

    Attributes
    ----------
    shape : torch.Size
        Of the features of one picture, once `features` was called.
    """

    shape = torch.Size()

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__(network, preprocessing)
        self.head_name = head_name(network)

    @property
    def head(self) -> nn.Module:
        """The module that is trained."""
        return self.network.get_submodule(self.head_name)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of pictures (N, C, H, W) uint8, or of their features (N, …) float."""
        if images.dtype == torch.uint8:
            return super().forward(images)
        logits: Tensor = self.head(images.to(self.mean.dtype))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, …) of pictures (N, C, H, W) uint8.

        Raises
        ------
        InputError
            If the head is not given one tensor, once.
        """
        given: list[Any] = []

        def record(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            # The head may work in place.
            given.extend(value.clone() if isinstance(value, Tensor) else None for value in (*arguments, *named.values()))

        handle = self.head.register_forward_pre_hook(record, with_kwargs=True)
        try:
            super().forward(images)
        finally:
            handle.remove()
        if len(given) != 1 or given[0] is None or len(given[0]) != len(images):
            raise self._unfit()
        features: Tensor = given[0]
        self.shape = features.shape[1:]
        return features

    @torch.no_grad()
    def check(self, images: Tensor) -> None:
        """Refuse a network whose answer is not what its head makes of each picture's features.

        Raises
        ------
        InputError
            Naming the network.
        """
        if not self.head_name:
            raise self._unfit()
        with evaluating(self):
            features = self.features(images)
            alone = torch.cat([self.features(image[None]) for image in images])
            if not (_agree(self(features), self(images)) and _agree(alone, features)):
                raise self._unfit()

    def _unfit(self) -> InputError:
        return InputError(
            f"{KEY}: cannot be used with {type(self.network).__name__}, whose answer is not that of one last module "
            f"({self.head_name or 'there are several'}) to each picture by itself; set it to false"
        )


def make_probe(network: nn.Module, preprocessing: Preprocessing, images: Tensor) -> Probe:
    """Return a network whose head is trained on features, checked on pictures (N, C, H, W) uint8.

    Raises
    ------
    InputError
        If its answer is not that of its head.
    """
    probe = Probe(network, preprocessing)
    probe.check(images)
    return probe


class CachedFeatures(Dataset[Batch]):
    """Batches by (epoch, rows) of features in place of pictures, the same in every epoch.

    Parameters
    ----------
    pictures
        What they are computed from, not augmented.
    rows : (N,)
        Those of the pack of which there are features.
    shape
        Of the features of one picture.

    Attributes
    ----------
    features : (N, *shape) float32
        To be filled, on the CPU.
    """

    def __init__(self, pictures: PictureBatches, rows: Rows, shape: torch.Size):
        self.pictures, self.rows, self.shape = pictures, rows, shape
        self.features = torch.empty(0)
        self._places = np.full(len(pictures.pack), -1)
        self._places[rows] = np.arange(len(rows))

    @property
    def nbytes(self) -> int:
        """The memory that they need."""
        return 4 * len(self.rows) * math.prod(self.shape)

    def __getitem__(self, key: BatchKey) -> Batch:
        _, rows = key
        features = self.features[torch.from_numpy(self._places[rows])]
        return Batch(images=features, labels=self.pictures.labels(rows), rows=torch.tensor(rows))


class ComputeFeatures(pl.Callback):
    """Fills the cache before training begins; of several processes each its own.

    Parameters
    ----------
    cached
        The cache.
    params
        With the batch size, and how pictures are read.
    """

    def __init__(self, cached: CachedFeatures, params: Params):
        self.cached, self.params = cached, params

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute them, with the device and precision of a validation.

        Raises
        ------
        RunError
            If they do not fit in memory.
        """
        cached, probe = self.cached, pl_module.network
        assert isinstance(probe, Probe)
        _check_memory(cached.nbytes * trainer.num_devices)
        if trainer.is_global_zero:
            numbers, size = math.prod(cached.shape), cached.nbytes / 1e6
            print(f"train: computing {numbers} features of {len(cached.rows)} pictures once ({size:.3g} MB)", flush=True)
        cached.features = torch.empty(len(cached.rows), *cached.shape, dtype=torch.float32)
        done = 0
        with evaluating(probe), torch.inference_mode():
            for batch in self._shown(trainer):
                images = trainer.strategy.batch_to_device(batch)["images"]
                with trainer.precision_plugin.val_step_context():
                    features = probe.features(images)
                cached.features[done : done + len(features)] = features
                done += len(features)
        # One process may need minutes longer than another, which is more than they wait for each other once they train.
        trainer.strategy.barrier()

    def _shown(self, trainer: pl.Trainer) -> Any:
        """Return the batches, with a bar on a terminal."""
        hardware, pictures = self.params.hardware, self.cached.pictures
        order = OrderedRows(self.cached.rows, batch_size=-(-self.params.train.batch_size // trainer.world_size))
        on_gpu = trainer.strategy.root_device.type == "cuda"
        readers = num_readers(hardware, pictures, on_gpu=on_gpu, num_devices=trainer.num_devices)
        loader = make_loader(pictures, order, readers=readers, timeout=hardware.worker_timeout_seconds, pin_memory=on_gpu)
        hidden = not (trainer.is_global_zero and sys.stdout.isatty())
        return track(loader, "features", len(order), console=Console(), transient=True, disable=hidden)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Let a network evaluate for a while; whoever freezes a part of it does so again when training starts."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def _check_memory(needed: int) -> None:
    free = free_memory()
    if needed > USABLE * free:
        raise RunError(
            f"{KEY}: the features need {needed / 1e9:.1f} GB of memory, more than half of the {free / 1e9:.1f} GB that are free; "
            "set it to false, or free some"
        )


def _agree(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= TOLERANCE * wanted.abs().max())
