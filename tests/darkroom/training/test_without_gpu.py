"""Without a GPU: tensors that have a device and a shape but no values pass through what a GPU would do in a step.

What would have to wait for values, or mixes devices, fails.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.nn import functional

from darkroom.inference.tta import TTAModel
from darkroom.input.augment import AlternatingFlip, BatchAugmentation, RandomColor, RandomFlip, RandomShift
from darkroom.input.dataset import ImageDataset
from darkroom.input.in_memory import InMemoryLoader
from darkroom.input.samplers import ShuffledBatchSampler
from darkroom.metrics.epoch import EpochMetrics, MultilabelEpochMetrics
from darkroom.models.builtin.whitened_cnn import WhitenedCNN

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _without_values() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def images(count: int = 16) -> torch.Tensor:
    return torch.empty(count, 32, 32, 3, dtype=torch.uint8, device=GPU).permute(0, 3, 1, 2)


@pytest.mark.parametrize("make", [RandomFlip, AlternatingFlip, RandomColor, lambda: RandomShift(2)])
def test_augmentations_stay_there(make: Any) -> None:
    augmentation: BatchAugmentation = make()
    made = augmentation(images(), torch.empty(16, augmentation.num_random, device=GPU))
    assert (made.device, made.dtype, made.shape) == (GPU, torch.uint8, (16, 3, 32, 32))
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_batches_are_cut_out_there(digits: Any) -> None:
    batches = ImageDataset(digits.pack, image_size=8, channels=3, transforms=[AlternatingFlip(), RandomShift(1), RandomColor()])
    order = ShuffledBatchSampler(np.arange(100), batch_size=32, seed=0)
    made = list(InMemoryLoader(batches, order, GPU, fill=lambda plain, rows: [plain[key] for key in rows]))
    assert [len(batch["images"]) for batch in made] == [32, 32, 32, 4]
    assert {value.device for batch in made for value in batch.values()} == {GPU}  # type: ignore[attr-defined]


@pytest.mark.parametrize("multilabel", [False, True])
def test_counting_waits_for_nothing(multilabel: bool) -> None:
    with GPU:
        network = WhitenedCNN(10, 3, widths=[8, 8])
        labels = torch.empty(16, 10) if multilabel else torch.empty(16, dtype=torch.int64)
    epoch_metrics = MultilabelEpochMetrics(10) if multilabel else EpochMetrics(10)
    logits = network(images().float())
    loss = functional.cross_entropy(logits, labels)
    epoch_metrics.add(logits.detach(), labels, loss.detach())
    assert epoch_metrics.counts is not None
    assert epoch_metrics.counts.device == logits.device == GPU


def test_views_are_made_there() -> None:
    with GPU:
        network = WhitenedCNN(10, 3, widths=[8, 8])
    assert TTAModel(lambda seen: network(seen.float()), "flip_shift")(images()).device == GPU


def test_what_waits_is_found() -> None:
    with pytest.raises(DynamicOutputShapeException):
        torch.bincount(torch.empty(16, dtype=torch.int64, device=GPU))
    with pytest.raises(RuntimeError):
        torch.empty(16, device=GPU) + torch.empty(16)
