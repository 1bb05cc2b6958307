"""`train.cache_features`: the output of the frozen layers is computed once per image, and only the head is trained on it.

`train.fit_head` fits the head on such features.

N images, C channels, H by W pixels, K classes. The features of an image are the input of the head.
"""

import math
import sys
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset

from darkroom.base.errors import RunError
from darkroom.base.params import Params
from darkroom.data.pack import Rows
from darkroom.hardware.folding import FEW, fold_batch_norm, piece_size
from darkroom.hardware.memory import free_memory
from darkroom.input.dataset import Batch, ImageDataset
from darkroom.input.loaders import make_loader, num_readers
from darkroom.input.samplers import BatchKey, SequentialBatchSampler
from darkroom.models.probe_network import KEY, Probe, evaluating, key_of

# Share of the memory that is free when training starts.
USABLE = 0.5


class CachedFeatures(Dataset[Batch]):
    """Batches by (epoch, rows) of features in place of images, the same in every epoch.

    Parameters
    ----------
    images
        The images, without augmentation.
    rows : (N,)
        Rows of the pack with features.
    shape
        Shape of the features of one image.

    Attributes
    ----------
    features : (N, *shape) float32
        On the CPU; empty until `ComputeFeatures` has filled it.
    """

    def __init__(self, images: ImageDataset, rows: Rows, shape: torch.Size):
        self.images, self.rows, self.shape = images, rows, shape
        self.features = torch.empty(0)
        self._places = np.full(len(images.pack), -1)
        self._places[rows] = np.arange(len(rows))

    @property
    def nbytes(self) -> int:
        """The memory that the features need."""
        return 4 * len(self.rows) * math.prod(self.shape)

    def of(self, rows: Rows) -> torch.Tensor:
        """Return the features (M, *shape) of rows (M,)."""
        return self.features[torch.from_numpy(self._places[rows])]

    def __getitem__(self, key: BatchKey) -> Batch:
        _, rows = key
        return Batch(images=self.of(rows), labels=self.images.labels(rows), rows=torch.tensor(rows))


class ComputeFeatures(pl.Callback):
    """Computes the features before training starts, in each process for itself.

    Parameters
    ----------
    cached
        The cache.
    params
        With the batch size, and the settings for reading images.
    """

    def __init__(self, cached: CachedFeatures, params: Params):
        self.cached, self.params = cached, params
        self.key = key_of(params.train)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute the features with the device and precision of a validation.

        Raises
        ------
        RunError
            If they do not fit in memory.
        """
        cached, probe = self.cached, pl_module.network
        assert isinstance(probe, Probe)
        if len(cached.features):
            return  # an earlier training has computed them
        _check_memory(cached.nbytes * trainer.num_devices, self.key)
        if trainer.is_global_zero:
            numbers, size = math.prod(cached.shape), cached.nbytes / 1e6
            print(f"train: computing {numbers} features of {len(cached.rows)} images once ({size:.3g} MB)", flush=True)
        cached.features = torch.empty(len(cached.rows), *cached.shape, dtype=torch.float32)
        done, network = 0, None
        with evaluating(probe), torch.inference_mode():
            for batch in self._shown(trainer):
                images = trainer.strategy.batch_to_device(batch)["images"]
                network = network or _folded(probe, images)
                for piece in torch.split(images, piece_size(images, images.device)):
                    with trainer.precision_plugin.val_step_context():
                        features = network.features(piece)
                    cached.features[done : done + len(features)] = features
                    done += len(features)
        # One process may take minutes longer than another, which exceeds the time limit during training.
        trainer.strategy.barrier()

    def _shown(self, trainer: pl.Trainer) -> Any:
        """Return the batches, with a progress bar on a terminal."""
        hardware, images = self.params.hardware, self.cached.images
        order = SequentialBatchSampler(self.cached.rows, batch_size=-(-self.params.train.batch_size // trainer.world_size))
        on_gpu = trainer.strategy.root_device.type == "cuda"
        readers = num_readers(hardware, images, on_gpu=on_gpu, num_devices=trainer.num_devices)
        loader = make_loader(images, order, readers=readers, timeout=hardware.worker_timeout_seconds, pin_memory=on_gpu)
        hidden = not (trainer.is_global_zero and sys.stdout.isatty())
        return track(loader, "features", len(order), console=Console(), transient=True, disable=hidden)


def _folded(probe: Probe, images: torch.Tensor) -> Probe:
    """Return the network with its batch normalisation folded, which is nearly twice as fast."""
    with torch.inference_mode(False):
        folded = fold_batch_norm(probe, images[:FEW].clone())
    assert isinstance(folded, Probe)
    return folded


def _check_memory(needed: int, key: str) -> None:
    free = free_memory()
    if needed > USABLE * free:
        off = "false" if key == KEY else "null"
        raise RunError(
            f"{key}: the features need {needed / 1e9:.1f} GB of memory, more than half of the {free / 1e9:.1f} GB that are free; "
            f"set it to {off}, or free memory"
        )
