"""Averages of the weights over a training, which are validated and published in place of the current weights."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from darkroom.base.params import TrainParams


class Average(nn.Module):
    """The average of a network's weights and normalisation statistics: exponential (ema), or over epochs (swa).

    Parameters
    ----------
    network
        The network that is trained.
    train
        With `ema`, the average moves towards the weights by 1 - ema after every optimizer step, or by (1 + step) ** -2/3 if
        that is more, which it is at the beginning. With `swa`, it is the mean over the ends of the epochs after that share of
        them.

    References
    ----------
    Izmailov et al. 2018, https://arxiv.org/abs/1803.05407 (swa); timm's ModelEmaV3 (ema).
    """

    def __init__(self, network: nn.Module, train: TrainParams):
        super().__init__()
        self.begins = 0 if train.swa is None else min(round(train.swa * train.epochs), train.epochs - 1)
        self.is_exponential = train.ema is not None
        made = _exponential(network, train.ema) if train.ema is not None else AveragedModel(network, use_buffers=True)
        # It is not trained, so that processes need not reduce gradients for it.
        self.made: Any = made.requires_grad_(False)

    @property
    def network(self) -> nn.Module:
        """The averaged network."""
        network: nn.Module = self.made.module
        return network

    def update(self, network: nn.Module, *, step: int, epoch: int, is_last: bool) -> None:
        """Add the weights after an optimizer step; `step` counts finished steps, `is_last` is true at the end of an epoch."""
        if self.is_exponential:
            self.made.update(network, step)
        elif is_last and epoch >= self.begins:
            self.made.update_parameters(network)

    @property
    def has_begun(self) -> bool:
        """Whether any weights were added yet."""
        return self.is_exponential or int(self.made.n_averaged) > 0


def _exponential(network: nn.Module, decay: float) -> nn.Module:
    from timm.utils.model_ema import ModelEmaV3  # timm takes a second to import, and most trainings do without

    return ModelEmaV3(network, decay=decay, use_warmup=True)
