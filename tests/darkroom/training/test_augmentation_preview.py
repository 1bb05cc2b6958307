"""What is shown of the augmentations is what the training sees."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from darkroom.base.params import Params
from darkroom.input.dataset import ImageDataset
from darkroom.training.augmentation_preview import MAX_EPOCHS, augmented_views
from darkroom.training.plan import make_plan

SMALL = {"train.model.kwargs": {"width": 8, "stages": 2}, "hardware.accelerator": "cpu"}


def test_they_are_the_images_of_the_first_epochs(make_params: Callable[..., Params], digits: Any) -> None:
    rows = digits.split.rows["train"]
    plan = make_plan(make_params(SMALL), digits.pack, rows)
    views = augmented_views(plan, rows[:5])
    assert [view.shape for view in views] == [(5, 8, 8, 1)] * (1 + MAX_EPOCHS)
    assert np.array_equal(views[0], digits.pack.batch(rows[:5]))
    # Among others, in batches as they come in training.
    training = ImageDataset(digits.pack, image_size=8, channels=1, transforms=plan.images.transforms, seed=0)
    for epoch in range(MAX_EPOCHS):
        batch = training[epoch, rows[:64]]["images"][:5]
        assert torch.equal(batch, torch.from_numpy(views[1 + epoch]).permute(0, 3, 1, 2))
    assert len({view.tobytes() for view in views}) == len(views)


def test_they_are_the_same_again_and_show_no_epoch_that_is_not_trained(make_params: Callable[..., Params], photos: Any) -> None:
    flip = {"_target_": "torchvision.transforms.v2.RandomHorizontalFlip"}
    plan = make_plan(
        make_params(SMALL | {"train.epochs": 2, "train.augment": [flip], "train.image_size": 16}), photos.pack, np.arange(20)
    )
    first = augmented_views(plan, np.arange(9))
    torch.rand(3)
    second = augmented_views(plan, np.arange(9))
    assert [view.shape for view in first] == [(9, 16, 16, 3)] * 3
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert not np.array_equal(first[1], first[2])
