"""One step of training on two images before anything is written, so that what does not fit together fails in seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import InputError, described
from darkroom.input.dataset import Batch

LOGIT_SHIFT = 5.0


def check_network(network: nn.Module, images: Tensor, num_classes: int) -> None:
    """Send images (N, C, H, W) uint8 through, as in validation; lazy layers get their shape here.

    Raises
    ------
    InputError
        If the network is unfit for the size, the channels or the number of classes.
    """
    with _untouched(network), torch.no_grad():
        _forward(network.eval(), images, num_classes)


def dry_run(
    network: nn.Module,
    loss: nn.Module,
    make_optimizer: Callable[[nn.Module], Optimizer],
    batch: Batch,
    num_classes: int,
    *,
    multilabel: bool = False,
) -> None:
    """Train on one batch, then put the network back to what it was.

    Parameters
    ----------
    network
        From images (N, C, H, W) uint8 to logits (N, K).
    loss
        From logits (N, K) and labels (N,) or (N, K) to one number.
    make_optimizer
        Makes the optimizer of the network.
    batch
        N = 2 training images.
    num_classes
        K.
    multilabel
        Whether labels (N, K) are those of independent classes, rather than shares that add up to 1.

    Raises
    ------
    InputError
        Naming train.model, train.loss or train.optimizer, and what is wrong with it.
    """
    images, labels = batch["images"], batch["labels"]
    saved = [(value, value.detach().clone()) for value in (*network.parameters(), *network.buffers())]
    with _untouched(network):
        try:
            _check_loss(loss, _forward(network.train(), images, num_classes), labels, multilabel=multilabel)
            _step(network, make_optimizer(network), lambda: loss(network(images), labels))
        finally:
            with torch.no_grad():
                for value, before in saved:
                    value.copy_(before)
            network.zero_grad(set_to_none=True)


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """Leave mode and random numbers as they were."""
    was_training = network.training
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        network.train(was_training)


def _forward(network: nn.Module, images: Tensor, num_classes: int) -> Any:
    num, channels, size, _ = images.shape
    where = "params.yaml: train.model"
    try:
        logits = network(images)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{where}: does not take images of {size} pixels and {channels} channel(s) ({described(error)}); "
            "change train.image_size or train.model"
        ) from error
    if isinstance(logits, Tensor) and logits.shape == (num, num_classes):
        return logits
    found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    when = " while it trains" if network.training else ""
    raise InputError(f"{where}: returns {found}{when}, not logits {(num, num_classes)}; let it have {num_classes} outputs")


def _check_loss(loss: nn.Module, logits: Tensor, labels: Tensor, *, multilabel: bool) -> None:
    where = "params.yaml: train.loss"
    try:
        value = loss(logits, labels)
        shifted = loss(logits + LOGIT_SHIFT, labels) if multilabel else None
    except Exception as error:
        raise InputError(f"{where}: does not take (logits, labels) ({described(error)}); name another") from error
    if not isinstance(value, Tensor) or value.shape != ():
        raise InputError(f"{where}: does not return one number; let it take the mean")
    # What compares classes with each other does not see a number that is added to all of them.
    if isinstance(shifted, Tensor) and torch.isclose(value, shifted, rtol=1e-3):
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
        raise InputError("params.yaml: train.loss: has no gradient, so that nothing can be learnt; name another loss or network")
