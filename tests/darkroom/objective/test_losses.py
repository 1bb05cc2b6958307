"""Losses against their formulas, and what weights of classes do to gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.objective.losses import FocalLoss, class_weights, make_loss
from darkroom.training.plan import make_plan

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


def test_focal_loss_is_its_formula() -> None:
    p = LOGITS.softmax(1)[[0, 1], LABELS]
    assert torch.isclose(FocalLoss(gamma=2)(LOGITS, LABELS), (-((1 - p) ** 2) * p.log()).mean())
    assert torch.isclose(FocalLoss(gamma=0)(LOGITS, LABELS), functional.cross_entropy(LOGITS, LABELS))
    weight = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.isclose(FocalLoss(1.0, weight)(LOGITS, LABELS), (-weight[LABELS] * (1 - p) * p.log()).mean())
    shares = functional.one_hot(LABELS, 3).double()
    assert torch.isclose(FocalLoss()(LOGITS, shares), FocalLoss()(LOGITS, LABELS))


def test_focal_loss_of_independent_classes() -> None:
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    plain = functional.binary_cross_entropy_with_logits(LOGITS, labels)
    assert torch.isclose(FocalLoss(gamma=0, multilabel=True)(LOGITS, labels), plain)
    p = torch.where(labels > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    assert torch.isclose(FocalLoss(gamma=2, multilabel=True)(LOGITS, labels), (-((1 - p) ** 2) * p.log()).mean())


def test_balanced_weights_give_every_class_the_same_gradient(make_params: Callable[..., Params]) -> None:
    labels = np.array([0] * 6 + [1] * 2 + [2] * 4)
    weights = class_weights(make_params({"train.class_weights": "balanced"}).train, labels, ["a", "b", "c"])
    assert torch.allclose(weights["weight"], torch.tensor([12 / 18, 12 / 6, 12 / 12]))
    logits = torch.zeros(12, 3, requires_grad=True)
    functional.cross_entropy(logits, torch.from_numpy(labels), weights["weight"]).backward()
    assert logits.grad is not None
    by_class = [float(logits.grad[labels == label, label].sum()) for label in range(3)]
    assert by_class == pytest.approx([by_class[0]] * 3)
    assert by_class[0] < 0


def test_balanced_weights_of_independent_classes(make_params: Callable[..., Params]) -> None:
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], np.uint8)
    weights = class_weights(make_params({"train.class_weights": "balanced"}).train, labels, ["a", "b"])
    assert torch.allclose(weights["pos_weight"], torch.tensor([1 / 3, 3.0]))


def test_given_weights(make_params: Callable[..., Params]) -> None:
    labels = np.array([0, 1])
    weights = class_weights(make_params({"train.class_weights": {"b": 2}}).train, labels, ["a", "b"])
    assert weights["weight"].tolist() == [1, 2]
    with pytest.raises(InputError, match=r"train\.class_weights: there is no class 'd'; they are a, b"):
        class_weights(make_params({"train.class_weights": {"d": 2}}).train, labels, ["a", "b"])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("MultiMarginLoss", None),
        ("SoftTargetCrossEntropy", r"train\.class_weights: SoftTargetCrossEntropy does not take a weight of classes"),
        ({"_target_": "FocalLoss", "weight": 3}, r"train\.class_weights: FocalLoss has a weight of its own"),
    ],
)
def test_losses_that_take_weights(loss: Any, message: str | None, make_params: Callable[..., Params]) -> None:
    params = make_params({"train.loss": loss, "train.class_weights": {"a": 2}})
    weights = {"weight": torch.tensor([2.0, 1.0])}
    if message is None:
        assert make_loss(params, weights, multilabel=False).weight is weights["weight"]
    else:
        with pytest.raises(InputError, match=message):
            make_loss(params, weights, multilabel=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "FocalLoss", "BinaryCrossEntropy", "LabelSmoothingCrossEntropy"])
def test_losses_for_one_class_train(loss: str, make_params: Callable[..., Params], digits: Any) -> None:
    params = make_params({"train.loss": loss, "train.class_weights": None, "hardware.accelerator": "cpu"})
    make_plan(params, digits.pack, digits.split.rows["train"])


def test_validation_is_measured_without_weights(make_params: Callable[..., Params], digits: Any) -> None:
    params = make_params({"train.class_weights": "balanced", "hardware.accelerator": "cpu"})
    classifier = make_plan(params, digits.pack, digits.split.rows["train"]).classifier
    assert classifier.objective.loss.weight is not None
    assert classifier.objective.val_loss.weight is None
