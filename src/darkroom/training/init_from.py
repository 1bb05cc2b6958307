"""`train.init_from`: another published model whose weights a training starts with. K classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darkroom.errors import InputError
from darkroom.models.pretrained import Pretrained
from darkroom.models.saving import open_content

KEY = "params.yaml: train.init_from"


@dataclass(frozen=True)
class Start:
    """A published model whose weights were verified.

    Attributes
    ----------
    name : str
        As it was asked for, with the commit.
    classes : list of str
        What its K outputs stand for.
    weights : dict of Tensor
        Of a `Normalized` network.
    expects : Pretrained
        What is known of them.
    """

    name: str
    classes: list[str]
    weights: dict[str, Tensor]
    expects: Pretrained

    def give(self, network: nn.Module, build_other: Callable[[], nn.Module], classes: list[str]) -> str:
        """Put the weights into a network, but for its last layer if the classes are others, and say how many in one line.

        Parameters
        ----------
        network
            A `Normalized` network, changed in place.
        build_other
            Builds it for one class more: what differs then is the last layer.
        classes
            What its outputs are to stand for.

        Raises
        ------
        InputError
            If it is another network than the weights are of.
        """
        own = network.state_dict()
        left_out = _differing(own, build_other().state_dict()) if classes != self.classes else []
        if classes != self.classes and not left_out:
            raise InputError(
                f"{KEY}: {self.name} is of other classes, and which layer answers cannot be told; "
                "let the network take num_classes"
            )
        wanted = {name for name in own if name not in left_out}
        unfit = [name for name in wanted if name not in self.weights or self.weights[name].shape != own[name].shape]
        unfit += [name for name in self.weights if name not in own]
        if unfit:
            more = f" and {len(unfit) - 1} more" if len(unfit) > 1 else ""
            raise InputError(
                f"{KEY}: {self.name} is of another network than train.model ({min(unfit)}{more} does not fit); "
                "set train.model to what it was trained with"
            )
        network.load_state_dict({name: self.weights[name] for name in wanted}, strict=False)
        shown = f", not {', '.join(name.removeprefix('network.') for name in left_out)}: the classes are others"
        return f"{len(wanted)} of {len(own)} tensors of {self.name}{shown if left_out else ''}"


def open_start(name: str, content: Mapping[str, bytes]) -> Start:
    """Verify a published model that was read; `name` is as it was asked for, `content` the bytes of its files.

    Raises
    ------
    InputError
        If one of them is damaged.
    """
    card, weights = open_content(KEY, name, content)
    seen, origin = card.preprocessing, card.as_origin(f"init_from: {name}")
    return Start(name, card.classes, weights, Pretrained(seen.mean, seen.std, seen.image_size, origin))


def _differing(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in own.items() if torch.Size(value.shape) != torch.Size(other[name].shape)]
