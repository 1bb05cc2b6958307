"""Blended images, the shares of their labels, and the loss and metrics that come of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.input.dataset import Batch
from darkroom.objective.mixup import Mixing
from darkroom.training.plan import make_plan


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    return Batch(images=torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8), labels=torch.tensor([0, 1, 2, 1]))


def shares(batch: Batch, share: Tensor) -> Tensor:
    own = functional.one_hot(batch["labels"], 3).float()
    return share * own + (1 - share) * own.roll(1, 0)


def test_mixup_is_the_blend_of_images_and_labels(batch: Batch) -> None:
    torch.manual_seed(3)
    mixed = Mixing(0.4, None, 3)(batch)
    images = batch["images"].float()
    difference = images - images.roll(1, 0)
    share = ((mixed["images"] - images.roll(1, 0)) * difference).sum() / (difference**2).sum()
    assert 0 < share < 1
    assert torch.allclose(mixed["images"], share * images + (1 - share) * images.roll(1, 0), atol=1e-3)
    assert torch.allclose(mixed["labels"], shares(batch, share), atol=1e-5)


def test_cutmix_pastes_a_part_and_blends_labels_by_its_area(batch: Batch) -> None:
    torch.manual_seed(1)
    mixed = Mixing(None, 1.0, 3)(batch)
    images = batch["images"]
    pasted = (mixed["images"] != images).any(dim=0).any(dim=0)
    assert torch.equal(mixed["images"], torch.where(pasted, images.roll(1, 0), images))
    share = 1 - pasted.sum() / pasted.numel()
    assert 0 < share < 1
    assert torch.allclose(mixed["labels"], shares(batch, share))


def test_with_both_every_batch_has_one_of_them(batch: Batch) -> None:
    mixing, kinds = Mixing(0.4, 1.0, 3), set()
    for seed in range(20):
        torch.manual_seed(seed)
        kinds.add(mixing(batch)["images"].dtype)
    assert kinds == {torch.uint8, torch.float32}


class Fixed(nn.Module):
    """Logits that do not depend on the images."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def test_the_loss_is_the_one_computed_by_hand(make_params: Callable[..., Params], digits: Any, batch: Batch) -> None:
    loss = {"_target_": "CrossEntropyLoss"}
    params = make_params({"train.mixup": 0.4, "train.loss": loss, "train.augment": [], "hardware.accelerator": "cpu"})
    classifier = make_plan(params, digits.pack, digits.split.rows["train"]).classifier
    logits = torch.arange(10.0)
    classifier.network = Fixed(logits)
    torch.manual_seed(5)
    found = classifier.training_step(batch, 0)
    torch.manual_seed(5)
    given = Mixing(0.4, None, 10)(batch)["labels"]
    assert torch.isclose(found, -(given * logits.log_softmax(0)).sum(1).mean())
    # The class with the greater share is the right one.
    assert classifier.train_metrics.counts is not None
    assert torch.equal(classifier.train_metrics.counts[1], torch.bincount(given.argmax(1), minlength=10))


def test_a_loss_that_takes_no_shares_is_refused(make_params: Callable[..., Params], digits: Any) -> None:
    params = make_params({"train.cutmix": 1.0, "train.loss": "MultiMarginLoss", "hardware.accelerator": "cpu"})
    with pytest.raises(InputError, match=r"train\.loss: does not take \(logits, labels\)"):
        make_plan(params, digits.pack, digits.split.rows["train"])
