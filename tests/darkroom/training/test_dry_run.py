"""What cannot be trained fails before training, naming the key, and leaves the network as it was."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.input.dataset import Batch
from darkroom.training.dry_run import try_step
from darkroom.transfer.network_check import check_network

BATCH = Batch(images=torch.arange(2 * 48, dtype=torch.uint8).view(2, 3, 4, 4), labels=torch.tensor([0, 4]))


class Floats(nn.Module):
    """From bytes to numbers."""

    def forward(self, images: Tensor) -> Tensor:
        """Return images between 0 and 1."""
        return images / 255


class Training(nn.Module):
    """Does something else while it trains."""

    def __init__(self, what: Any):
        super().__init__()
        self.what = what
        self.layers = simple()

    def forward(self, images: Tensor) -> Any:
        """Return logits while it does not train."""
        logits = self.layers(images)
        return self.what(logits) if self.training else logits


def simple() -> nn.Module:
    return nn.Sequential(Floats(), nn.Flatten(), nn.BatchNorm1d(48), nn.Dropout(), nn.Linear(48, 5))


def fail(_: Tensor) -> Tensor:
    raise ZeroDivisionError("no luck")


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.1)


def step(network: nn.Module, loss: nn.Module | None = None, make_optimizer: Any = sgd) -> None:
    try_step(network, loss or nn.CrossEntropyLoss(), make_optimizer, BATCH, 5)


def test_the_network_and_the_random_numbers_stay_as_they_were() -> None:
    network = simple().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    check_network(network, BATCH["images"], 5)
    step(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert not network.training


def test_lazy_layers_get_their_shape() -> None:
    network = nn.Sequential(Floats(), nn.Flatten(), nn.LazyLinear(5))
    check_network(network, BATCH["images"], 5)
    step(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Flatten(), "train.model: returns (2, 48), not logits (2, 5); give it 5 outputs"),
        (nn.Conv2d(1, 5, 3), "train.model: does not take images of 4 pixels and 3 channel(s) (RuntimeError: "),
    ],
)
def test_unfit_networks(network: nn.Module, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_network(network, BATCH["images"], 5)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("network", "loss", "make_optimizer", "message"),
    [
        (
            Training(lambda logits: (logits, logits)),
            None,
            sgd,
            "train.model: returns a tuple in training mode, not logits (2, 5)",
        ),
        (
            Training(fail),
            None,
            sgd,
            "train.model: does not take images of 4 pixels and 3 channel(s) (ZeroDivisionError: no luck)",
        ),
        (simple(), nn.CrossEntropyLoss(reduction="none"), sgd, "train.loss: does not return one number; let it return the mean"),
        (simple(), nn.MSELoss(), sgd, "train.loss: does not take (logits, labels) ("),
        (Training(lambda logits: logits.detach()), None, sgd, "train.optimizer: SGD cannot train this network (RuntimeError: "),
        (
            simple(),
            None,
            lambda network: torch.optim.SparseAdam(list(network.parameters())),
            "train.optimizer: SparseAdam cannot train this network (RuntimeError: SparseAdam does not support dense gradients",
        ),
    ],
)
def test_what_cannot_be_trained(network: nn.Module, loss: nn.Module | None, make_optimizer: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        step(network, loss, make_optimizer)
    assert message in str(caught.value)


def test_several_labels_need_a_loss_for_them() -> None:
    batch = Batch(images=BATCH["images"], labels=torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]))
    try_step(simple(), nn.BCEWithLogitsLoss(), sgd, batch, 5, multilabel=True)
    try_step(simple(), nn.MultiLabelSoftMarginLoss(), sgd, batch, 5, multilabel=True)
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)):
        with pytest.raises(InputError, match=r"train\.loss: CrossEntropyLoss is for one class per image, but these have any"):
            try_step(simple(), loss, sgd, batch, 5, multilabel=True)
