"""The loss of train.loss, its class weights, and the focal loss. N images, K classes."""

import inspect

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError, listed, nearest
from darkroom.base.instantiate import Builder
from darkroom.base.params import Params, TrainParams
from darkroom.base.params_checks import POS_WEIGHT
from darkroom.data.labels import Labels, count_labels, is_multilabel


class FocalLoss(nn.Module):
    """Cross entropy that weighs each image by (1 - p) ** gamma, with the probability p of the right class.

    Parameters
    ----------
    gamma
        0 gives the plain cross entropy.
    weight : (K,)
        Weights of the classes; the mean is over images, not over weights, as in the paper.
    multilabel
        Whether outputs are independent of each other, or there is only one; filled in by the train stage.
    pos_weight : (K,) or (1,)
        Weights of the positive labels of independent outputs.

    References
    ----------
    Lin et al. 2017, https://arxiv.org/abs/1708.02002
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, gamma: float = 2.0, weight: Tensor | None = None, multilabel: bool = False, pos_weight: Tensor | None = None
    ):
        if gamma < 0:
            raise ValueError(f"gamma is {gamma}, but must not be negative")
        super().__init__()
        self.gamma, self.multilabel = gamma, multilabel
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("pos_weight", pos_weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over images, from logits (N, K) and labels (N,), or (N, K) of values between 0 and 1."""
        if labels.ndim == 1:
            labels = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        if self.multilabel:
            right, wrong = functional.logsigmoid(logits), functional.logsigmoid(-logits)
            positive = labels if self.pos_weight is None else labels * self.pos_weight
            losses = -positive * (1 - right.exp()) ** self.gamma * right - (1 - labels) * (1 - wrong.exp()) ** self.gamma * wrong
        else:
            right = logits.log_softmax(dim=1)
            losses = -labels * (1 - right.exp()) ** self.gamma * right
        if self.weight is not None:
            losses = losses * self.weight
        return losses.mean() if self.multilabel else losses.sum(dim=1).mean()


class BinaryLoss(nn.Module):
    """A loss of one output, from the labels of two classes.

    Parameters
    ----------
    loss
        From logits (N, 1) and labels (N, 1) between 0 and 1 to one number.
    positive
        Label of the positive class.
    """

    def __init__(self, loss: nn.Module, positive: int):
        super().__init__()
        self.loss, self.positive = loss, positive

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, 1) and labels (N,), or (N, 2) of shares of blended images."""
        share = labels[:, self.positive] if labels.ndim == 2 else labels == self.positive
        dtype = torch.promote_types(logits.dtype, torch.float32)  # shares of blended images are not rounded
        value: Tensor = self.loss(logits.to(dtype), share.to(dtype).unsqueeze(1))
        return value


def class_weights(train: TrainParams, labels: Labels, classes: list[str], positive: int | None = None) -> dict[str, Tensor]:
    """Return the weights of `train.class_weights` or `train.pos_weight` as the argument of a loss; empty if both are null.

    With `balanced`, all classes count equally: a class with n of N images has the `weight` N / (K n) or, if classes are
    independent, the `pos_weight` (N - n) / n. Of a binary task, the `pos_weight` is the weight of the positive class by that of
    the other.

    Parameters
    ----------
    train
        Section `train` of params.yaml.
    labels : (N,) or (N, K)
        Labels of the training images.
    classes
        The K class names.
    positive
        Label of the positive class of a binary task.

    Raises
    ------
    InputError
        If there is no class of that name, or the task has no positive labels.
    """
    multilabel = is_multilabel(labels)
    if train.pos_weight is not None and not multilabel and positive is None:
        raise InputError(f"params.yaml: train.pos_weight: {POS_WEIGHT}")
    if isinstance(train.pos_weight, float):
        return {"pos_weight": torch.tensor([train.pos_weight])}
    if train.class_weights is None and train.pos_weight is None:
        return {}
    if "balanced" in (train.class_weights, train.pos_weight):
        counts = torch.from_numpy(count_labels(labels, len(classes))).double().clamp(min=1)
        weights = (len(labels) - counts).clamp(min=1) / counts if multilabel else len(labels) / (len(classes) * counts)
    else:
        assert isinstance(train.class_weights, dict)
        for name in train.class_weights:
            if name not in classes:
                hint = nearest(name, classes, f"they are {listed(classes)}")
                raise InputError(f"params.yaml: train.class_weights: there is no class '{name}'; {hint}")
        weights = torch.tensor([train.class_weights.get(name, 1.0) for name in classes], dtype=torch.float64)
    if positive is not None:
        return {"pos_weight": (weights[positive] / weights[1 - positive]).float().reshape(1)}
    return {"pos_weight" if multilabel else "weight": weights.float()}


def image_weights(train: TrainParams, labels: Labels, classes: list[str], positive: int | None = None) -> NDArray[np.float64]:
    """Return what each image counts for a loss with these class weights, and as often as `train.sampler` draws it, (N,) float64.

    Parameters are those of `class_weights`; labels are (N,).
    """
    of_class = np.ones(len(classes))
    found = class_weights(train, labels, classes, positive)
    if "weight" in found:
        of_class = found["weight"].double().numpy()
    elif "pos_weight" in found:
        of_class[positive] = float(found["pos_weight"])
    if train.sampler == "balanced":
        of_class = of_class * len(labels) / (len(classes) * np.maximum(count_labels(labels, len(classes)), 1))
    weights: NDArray[np.float64] = of_class[labels]
    return weights


def make_loss(params: Params, weights: dict[str, Tensor], *, multilabel: bool, positive: int | None = None) -> nn.Module:
    """Return the loss that `train.loss` names, with the weights that `class_weights` returns; `positive` as there."""
    independent = multilabel or positive is not None
    # timm's BinaryCrossEntropy smooths only labels that are class indices, unless it is told to.
    smooth = {"smooth_dense": True} if positive is not None else {}
    builder = Builder("train.loss", (nn.Module,), params.base.allow_targets, {**weights, "multilabel": independent, **smooth})
    target = params.train.loss
    found = builder.find(target.target)
    if found is nn.BCEWithLogitsLoss and "pos_weight" in target.arguments:
        raise InputError("params.yaml: train.loss.pos_weight: is a tensor in torch; set train.pos_weight in its place")
    taken = inspect.signature(found).parameters
    key = "train.class_weights" if params.train.pos_weight is None else "train.pos_weight"
    for name in weights:
        if name not in taken or name in target.arguments:
            raise InputError(
                f"params.yaml: {key}: {target.target} "
                f"{'has' if name in taken else 'does not take'} a {name} {'of its own' if name in taken else 'of classes'}; "
                f"set {'one of the two' if name in taken else key} to null, or name another loss"
            )
    loss: nn.Module = builder.build(target)
    return loss if positive is None else BinaryLoss(loss, positive)
