"""Networks of timm with their published weights and their own classes, as models that nobody has trained here.

K classes.
"""

from collections import Counter
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError, RunError, described, listed

if TYPE_CHECKING:
    from darkroom.models.saving import Published


def is_network(name: str) -> bool:
    """Return whether a name is that of a network of timm or of this repository."""
    from darkroom.hardware.compiler import import_timm

    import_timm()
    import timm

    from darkroom.models.builtin.side_by_side import SIDE_BY_SIDE
    from darkroom.models.networks import BUILTIN

    return name in (*BUILTIN, SIDE_BY_SIDE) or bool(timm.is_model(name))


def network_names() -> list[str]:
    """Return the names of the networks of timm."""
    from darkroom.hardware.compiler import import_timm

    import_timm()
    import timm

    return list(timm.list_models())


def open_pretrained(where: str, name: str) -> "Published":
    """Return a network of timm with the weights that are installed, in timm's cache or on the hub, in this order.

    An image is fitted to the size of the weights as `train.resize: crop` does, which leaves a little more of its border than
    timm's own evaluation.

    Parameters
    ----------
    where
        Key or flag that names it, for messages.
    name
        Such as `tf_efficientnet_lite0`.

    Raises
    ------
    InputError
        If it has no published weights, or these have no classes with names.
    RunError
        If the weights cannot be downloaded.
    """
    from darkroom.base.params import Network
    from darkroom.features.backbone import installed
    from darkroom.models.model_json import Card
    from darkroom.models.networks import build_network, without_weights
    from darkroom.models.preprocessing import Normalized, Preprocessing
    from darkroom.models.saving import Published, refuse_unsafe_loading
    from darkroom.transfer.pretrained import describe_weights, with_hashes

    refuse_unsafe_loading()
    classes, there = _classes(where, name), listed(installed())
    network = Network(provider="timm", name=name, pretrained=True, kwargs={})
    about = describe_weights(network)
    assert about is not None
    try:
        built = build_network(network, num_classes=len(classes), channels=3).eval()
    except RunError as error:
        why = described(error.__cause__) if error.__cause__ else str(error)
        raise RunError(
            f"{where}: the weights of {name} cannot be downloaded ({why}); check the connection, or name one whose weights are "
            f"installed: {there or 'none is'}"
        ) from error
    origin = with_hashes(about.origin, network)
    seen = Preprocessing(image_size=about.image_size, channels=3, mean=about.mean, std=about.std)
    card = Card.model_validate(
        {
            "format": 1, "network": without_weights(network), "classes": classes, "preprocessing": seen,
            "weights_sha256": next(iter(origin.sha256.values()), ""), "epoch": 0, "monitor": "", "score": 0.0,
            "data_sha256": {}, "params": {}, "packages": {}, "origin": origin,
        }
    )  # fmt: skip
    return Published(Normalized(built, seen).eval(), card, name)


def _classes(where: str, name: str) -> list[str]:
    """Return the names of the classes that the weights of a network know."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
    from timm.models import get_pretrained_cfg, is_model, is_model_pretrained

    config = get_pretrained_cfg(name) if is_model(name) and is_model_pretrained(name) else None
    if config is None:
        raise InputError(f"{where}: {name} has no published weights; train it as train.model, or name a model of yours")
    subset = infer_imagenet_subset(config) if config.num_classes else None
    if subset is None:
        raise InputError(
            f"{where}: the weights of {name} have no classes with names, only features; "
            f"'./darkroom predict --embeddings --backbone {name}' writes these"
        )
    known = ImageNetInfo(subset)
    return distinct_names([known.index_to_description(place) for place in range(config.num_classes)])


def distinct_names(described: list[str]) -> list[str]:
    """Return the first of the names that ImageNet has for each class; all of them, and a number, where others have it, too."""
    short = [each.partition(",")[0] for each in described]
    counts = Counter(short)
    named = [each if counts[each] == 1 else full for each, full in zip(short, described, strict=True)]
    again = Counter(named)
    return [each if again[each] == 1 else f"{each} ({place})" for place, each in enumerate(named)]
