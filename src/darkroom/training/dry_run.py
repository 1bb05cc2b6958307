"""One training step on two images before anything is written, so that mistakes show within seconds.

N images, K classes.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.base.errors import InputError, described
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Rows
from darkroom.data.resizing import Size
from darkroom.input.dataset import Batch, ImageDataset
from darkroom.objective.losses import BinaryLoss
from darkroom.training.classifier import Classifier
from darkroom.training.failures import ONE_VALUE, one_image
from darkroom.transfer.network_check import checked_logits, state_kept

LOGIT_SHIFT = 5.0


def dry_run(
    classifier: Classifier,
    images: ImageDataset,
    rows: Rows,
    *,
    epochs: int,
    batch_size: int = 2,
    image_sizes: Mapping[int, Size] | None = None,
) -> None:
    """Take one step on a few training images, make the schedule, and restore the network.

    Parameters
    ----------
    classifier
        What is trained; its network and objective are tried, not a training_step of its own.
    images
        The training images.
    rows : (M,)
        Their rows.
    epochs
        Epochs of the training.
    batch_size
        Images of a batch.
    image_sizes
        Sizes of the images by epoch, at each of which augmentation is tried.

    Raises
    ------
    InputError
        Naming the key of params.yaml, and what is wrong with it.
    """
    objective, pack = classifier.objective, images.pack
    num_classes, multilabel = len(pack.classes), is_multilabel(pack.labels)
    # Not as many images as classes: a loss that takes labels for logits would broadcast them without an error.
    batch = images[0, rows[: 3 if num_classes == 2 else 2]]
    for epoch in image_sizes or {}:
        images.at_sizes(image_sizes or {})[epoch, rows[:2]]
    if objective.teacher:
        objective.teacher.check(batch["images"], pack.classes, multilabel=multilabel, positive=objective.positive)
    with state_kept(classifier.network):
        mixed = objective.mixing(batch) if objective.mixing else batch
    num_outputs = num_classes if objective.positive is None else 1
    try_step(classifier.network, objective.loss, objective.make_optimizer, mixed, num_outputs, multilabel=multilabel)
    if batch_size == 1 and not (objective.frozen and objective.frozen.names):
        _check_one_image(classifier.network, batch["images"][:1])
    objective.make_scheduler(objective.make_optimizer(classifier.network), epochs)


def _check_one_image(network: nn.Module, image: Tensor) -> None:
    """Refuse a network that a batch of one image (1, C, H, W) cannot train."""
    saved = [(value, value.detach().clone()) for value in network.buffers()]
    with state_kept(network), torch.no_grad():
        try:
            network.train()(image)
        except ValueError as error:
            if ONE_VALUE in str(error):
                raise one_image() from error
            raise
        finally:
            for value, before in saved:
                value.copy_(before)


def try_step(
    network: nn.Module,
    loss: nn.Module,
    make_optimizer: Callable[[nn.Module], Optimizer],
    batch: Batch,
    num_classes: int,
    *,
    multilabel: bool = False,
) -> None:
    """Train on one batch, then restore the network.

    Parameters
    ----------
    network
        From images (N, C, H, W) uint8 to logits (N, K).
    loss
        From logits (N, K) and labels (N,) or (N, K) to one number.
    make_optimizer
        Makes the optimizer of the network.
    batch
        A few training images.
    num_classes
        K; of a binary task 1.
    multilabel
        Whether labels (N, K) are those of independent classes, rather than shares that add up to 1.

    Raises
    ------
    InputError
        Naming train.model, train.loss or train.optimizer, and what is wrong with it.
    """
    images, labels = batch["images"], batch["labels"]
    saved = [(value, value.detach().clone()) for value in (*network.parameters(), *network.buffers())]
    with state_kept(network):
        try:
            _check_loss(loss, checked_logits(network.train(), images, num_classes), labels, multilabel=multilabel)
            _step(network, make_optimizer(network), lambda: loss(network(images), labels))
        finally:
            with torch.no_grad():
                for value, before in saved:
                    value.copy_(before)
            network.zero_grad(set_to_none=True)


def _check_loss(loss: nn.Module, logits: Tensor, labels: Tensor, *, multilabel: bool) -> None:
    where = "params.yaml: train.loss"
    try:
        value = loss(logits, labels)
        shifted = loss(logits + LOGIT_SHIFT, labels) if multilabel or isinstance(loss, BinaryLoss) else None
    except Exception as error:
        raise InputError(f"{where}: does not take (logits, labels) ({described(error)}); name another") from error
    if not isinstance(value, Tensor) or value.shape != ():
        raise InputError(f"{where}: does not return one number; let it return the mean")
    # A loss that compares classes with each other ignores a number that is added to all logits.
    if isinstance(shifted, Tensor) and torch.isclose(value, shifted, rtol=1e-3):
        if isinstance(loss, BinaryLoss):
            raise InputError(
                f"{where}: {type(loss.loss).__name__} compares several outputs, but a binary network has one; "
                "run with '-S train.loss=BCEWithLogitsLoss', or see './darkroom preset binary'"
            )
        raise InputError(
            f"{where}: {type(loss).__name__} is for one class per image, but these have any number of them; "
            "set _target_ to torch.nn.BCEWithLogitsLoss, or see './darkroom preset multilabel'"
        )


def _step(network: nn.Module, optimizer: Optimizer, measure: Callable[[], Tensor]) -> None:
    def closure() -> float:
        optimizer.zero_grad()
        value = measure()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    try:
        optimizer.step(closure)
    except Exception as error:
        name = type(optimizer).__name__
        raise InputError(
            f"params.yaml: train.optimizer: {name} cannot train this network ({described(error)}); "
            "name another optimizer, network or loss"
        ) from error
    if not any(value.grad is not None for value in network.parameters()):
        raise InputError("params.yaml: train.loss: has no gradient, so nothing is trained; name another loss or network")
