"""The loss of train.loss, its class weights, and the focal loss. N images, K classes."""

import inspect

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.base.instantiate import Builder
from darkroom.base.params import Params, TrainParams
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
        Whether classes are independent of each other; filled in by the train stage.

    References
    ----------
    Lin et al. 2017, https://arxiv.org/abs/1708.02002
    """

    weight: Tensor | None

    def __init__(self, gamma: float = 2.0, weight: Tensor | None = None, multilabel: bool = False):
        if gamma < 0:
            raise ValueError(f"gamma is {gamma}, but must not be negative")
        super().__init__()
        self.gamma, self.multilabel = gamma, multilabel
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over images, from logits (N, K) and labels (N,), or (N, K) of values between 0 and 1."""
        if labels.ndim == 1:
            labels = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        if self.multilabel:
            right, wrong = functional.logsigmoid(logits), functional.logsigmoid(-logits)
            losses = -labels * (1 - right.exp()) ** self.gamma * right - (1 - labels) * (1 - wrong.exp()) ** self.gamma * wrong
        else:
            right = logits.log_softmax(dim=1)
            losses = -labels * (1 - right.exp()) ** self.gamma * right
        if self.weight is not None:
            losses = losses * self.weight
        return losses.mean() if self.multilabel else losses.sum(dim=1).mean()


def class_weights(train: TrainParams, labels: Labels, classes: list[str]) -> dict[str, Tensor]:
    """Return the class weights of `train.class_weights` as the argument of a loss, by name; empty if it is null.

    With `balanced`, all classes count equally: a class with n of N images has the `weight` N / (K n) or, if classes are
    independent, the `pos_weight` (N - n) / n.

    Parameters
    ----------
    train
        Section `train` of params.yaml.
    labels : (N,) or (N, K)
        Labels of the training images.
    classes
        The K class names.

    Raises
    ------
    InputError
        If there is no class of that name.
    """
    if train.class_weights is None:
        return {}
    multilabel = is_multilabel(labels)
    if train.class_weights == "balanced":
        counts = torch.from_numpy(count_labels(labels, len(classes))).double().clamp(min=1)
        weights = (len(labels) - counts).clamp(min=1) / counts if multilabel else len(labels) / (len(classes) * counts)
    else:
        for name in train.class_weights:
            if name not in classes:
                raise InputError(f"params.yaml: train.class_weights: there is no class '{name}'; they are {', '.join(classes)}")
        weights = torch.tensor([train.class_weights.get(name, 1.0) for name in classes], dtype=torch.float64)
    return {"pos_weight" if multilabel else "weight": weights.float()}


def make_loss(params: Params, weights: dict[str, Tensor], *, multilabel: bool) -> nn.Module:
    """Return the loss that `train.loss` names, with the weights that `class_weights` returns."""
    filled = {**weights, "multilabel": multilabel}
    builder = Builder("train.loss", (nn.Module,), params.base.allow_targets, filled)
    taken = inspect.signature(builder.find(params.train.loss.target)).parameters
    for name in weights:
        if name not in taken or name in params.train.loss.arguments:
            raise InputError(
                f"params.yaml: train.class_weights: {params.train.loss.target} "
                f"{'has' if name in taken else 'does not take'} a {name} {'of its own' if name in taken else 'of classes'}; "
                f"set one of the two to null, or name another loss"
            )
    loss: nn.Module = builder.build(params.train.loss)
    return loss
