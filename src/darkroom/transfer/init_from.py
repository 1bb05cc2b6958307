"""`train.init_from`: another published model whose weights a training starts with. K classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.models.saving import open_content
from darkroom.transfer.pretrained import Pretrained
from darkroom.transfer.weights_file import differing

KEY = "params.yaml: train.init_from"


@dataclass(frozen=True)
class InitialWeights:
    """A published model whose files were verified.

    Attributes
    ----------
    name : str
        As in train.init_from, with the commit.
    classes : list of str
        Class names of its K outputs; of a binary task the positive class alone.
    weights : dict of Tensor
        State of a `Normalized` network.
    expects : Pretrained
        Image size, normalisation and licence of the weights.
    key : str
        Begins error messages.
    """

    name: str
    classes: list[str]
    weights: dict[str, Tensor]
    expects: Pretrained
    key: str = KEY


def open_initial_weights(name: str, content: Mapping[str, bytes], key: str = KEY) -> InitialWeights:
    """Verify a published model.

    Parameters
    ----------
    name
        As in train.init_from, with the commit.
    content
        The bytes of model.json and model.safetensors.
    key
        Begins error messages.

    Raises
    ------
    InputError
        If one of the files is damaged.
    """
    card, weights = open_content(key, name, content)
    seen, origin = card.preprocessing, card.as_origin(f"{key.rpartition('.')[2]}: {name}")
    expects = Pretrained(seen.mean, seen.std, seen.image_size, origin, seen.dtype)
    return InitialWeights(name, card.outputs, weights, expects, key)


def load_initial_weights(
    initial: InitialWeights, network: nn.Module, build_other: Callable[[], nn.Module], classes: list[str]
) -> str:
    """Load the weights into a network, without the last layer if the classes differ.

    Parameters
    ----------
    initial
        The published model.
    network
        A `Normalized` network, changed in place.
    build_other
        Builds the same network for one class more: the tensors whose shapes differ are the last layer.
    classes
        Class names of the network's outputs.

    Returns
    -------
    summary : str
        How many tensors were loaded and which were not, on one line.

    Raises
    ------
    InputError
        If the weights are those of another network.
    """
    own = network.state_dict()
    same_classes = classes == initial.classes
    left_out = [] if same_classes else differing(own, build_other().state_dict())
    if not same_classes and not left_out:
        raise InputError(
            f"{initial.key}: {initial.name} has other classes, and the network's last layer cannot be identified; "
            "let the network take num_classes"
        )
    wanted = {name for name in own if name not in left_out}
    unfit = [name for name in wanted if name not in initial.weights or initial.weights[name].shape != own[name].shape]
    unfit += [name for name in initial.weights if name not in own]
    if unfit:
        more = f" and {len(unfit) - 1} more" if len(unfit) > 1 else ""
        raise InputError(
            f"{initial.key}: the weights of {initial.name} do not fit train.model ({min(unfit)}{more}); "
            "set train.model to the network that it was trained with"
        )
    network.load_state_dict({name: initial.weights[name] for name in wanted}, strict=False)
    skipped = ", ".join(name.removeprefix("network.") for name in left_out)
    without = f" (without {skipped}: its classes differ)" if left_out else ""
    return f"loaded {len(wanted)} of {len(own)} tensors from {initial.name}{without}"
