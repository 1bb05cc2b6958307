"""Averages of the weights over a training, which are what is validated and published in place of the last weights."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from darkroom.params import TrainParams


class Average(nn.Module):
    """A network whose weights, and statistics of normalisation, are the average of another's: exponential, or of epochs.

    Parameters
    ----------
    network
        The one that is trained.
    train
        With `ema`, the average moves by 1 - ema of the way after every optimizer step, and by more at the beginning: by
        (1 + step) ** -2/3 if that is more. With `swa`, it is the mean over the ends of epochs, from that share of them on.

    References
    ----------
    Izmailov et al. 2018, https://arxiv.org/abs/1803.05407 (swa); timm's ModelEmaV3 (ema).
    """

    def __init__(self, network: nn.Module, train: TrainParams):
        super().__init__()
        self.begins = 0 if train.swa is None else min(round(train.swa * train.epochs), train.epochs - 1)
        self.is_exponential = train.ema is not None
        made = _exponential(network, train.ema) if train.ema is not None else AveragedModel(network, use_buffers=True)
        # Nobody trains it: processes that train together need not agree on its gradients.
        self.made: Any = made.requires_grad_(False)

    @property
    def network(self) -> nn.Module:
        """The average."""
        network: nn.Module = self.made.module
        return network

    def update(self, network: nn.Module, *, step: int, epoch: int, is_last: bool) -> None:
        """Take the weights in, after an optimizer step: so many are done, of the last batch of an epoch or not."""
        if self.is_exponential:
            self.made.update(network, step)
        elif is_last and epoch >= self.begins:
            self.made.update_parameters(network)

    @property
    def has_begun(self) -> bool:
        """Whether it is the average of anything yet."""
        return self.is_exponential or int(self.made.n_averaged) > 0


def _exponential(network: nn.Module, decay: float) -> nn.Module:
    from timm.utils.model_ema import ModelEmaV3  # timm takes a second to import, and most trainings do without

    return ModelEmaV3(network, decay=decay, use_warmup=True)
