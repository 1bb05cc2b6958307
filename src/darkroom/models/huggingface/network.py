"""Image classifiers of the library `transformers`, built from a repository or again from a recorded configuration.

Of a configuration only the fields are used that the library declares for this kind of network: it can name no code, no address
and no other repository. N images, C channels, H by W pixels, K classes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError, one_line, warn
from darkroom.base.params import Network
from darkroom.models.errors import check_kwargs
from darkroom.models.huggingface.repository import KEY, fetch_weights, find_repository, library
from darkroom.models.stem import adapt_stem

# timm's networks have a provider of their own; ShieldGemma classifies by questions in its prompt.
NO_CLASSIFIERS = {"timm_wrapper": "set provider to timm, and name to timm's name of it", "shieldgemma2": "name another"}


class HuggingFaceClassifier(nn.Module):
    """A network of the library that returns its logits alone.

    Attributes
    ----------
    config : dict
        Configuration from which it can be built again.
    """

    def __init__(self, network: nn.Module, config: dict[str, Any]):
        super().__init__()
        self.network, self.config = network, config

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, 3, H, W)."""
        logits: Tensor = self.network(images).logits
        return logits


def build_huggingface(
    model: Network, *, num_classes: int, channels: int = 3, config: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build the network of a recorded configuration, without looking up its name, or else the one of that name.

    Pretrained weights are of RGB; the first convolution is adapted to another number of channels.

    Raises
    ------
    InputError
        If there is no such network, or it takes no such arguments.
    RunError
        If the hub cannot be reached.
    """
    transformers = library()
    if config is not None:
        return HuggingFaceClassifier(_from_config(_make_config(config, num_classes)), dict(config))
    repository = find_repository(model)
    config_class = _config_class(repository.config())
    check_kwargs(model, _fields(config_class))
    made = _make_config(repository.config() | model.kwargs, num_classes)
    if channels != 3 and not hasattr(made, "num_channels"):
        raise InputError(
            f"{KEY}.name: {config_class.model_type} takes RGB only, but the images have {channels} channels; name another"
        )
    if channels != 3 and not model.pretrained:
        made.num_channels = channels
    recorded = {"model_type": config_class.model_type, **_declared(config_class, made.to_dict())}
    if not model.pretrained:
        return HuggingFaceClassifier(_from_config(made), recorded)
    fetch_weights(model, repository)
    network, info = transformers.AutoModelForImageClassification.from_pretrained(
        str(repository.folder),
        config=made,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _check_fit(network, info, num_classes)
    if channels != getattr(made, "num_channels", 3):
        _adapt_channels(network, channels)
        recorded["num_channels"] = channels
    return HuggingFaceClassifier(network, recorded)


def _adapt_channels(network: nn.Module, channels: int) -> None:
    adapt_stem(network, channels)
    for part in network.modules():
        # What the library compares images with.
        if isinstance(getattr(part, "num_channels", None), int):
            part.num_channels = channels  # type: ignore[assignment]
        if hasattr(getattr(part, "config", None), "num_channels"):
            part.config.num_channels = channels  # type: ignore[union-attr]


def _config_class(content: Mapping[str, Any]) -> Any:
    """Return the library's configuration class, for image classifiers only."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    kind = content.get("model_type")
    if isinstance(kind, str) and kind in NO_CLASSIFIERS:
        raise InputError(f"{KEY}.name: has the model type {kind}; {NO_CLASSIFIERS[kind]}")
    if not isinstance(kind, str) or kind not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise InputError(f"{KEY}.name: has the model type {one_line(str(kind))}, which does not classify images; name another")
    return CONFIG_MAPPING[kind]


def _fields(config_class: Any) -> list[str]:
    """Return the fields specific to a model type; the common ones are about code, precision and labels."""
    from transformers import PreTrainedConfig

    common = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return [field.name for field in dataclasses.fields(config_class) if not (field.name in common or field.name.startswith("_"))]


def _declared(config_class: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that the library declares, also in nested configurations."""
    parts = config_class.sub_configs
    chosen = {name: content[name] for name in _fields(config_class) if name in content and name != "num_labels"}
    return {
        name: _declared(parts[name], value) if name in parts and isinstance(value, Mapping) else value
        for name, value in chosen.items()
    }


def _make_config(content: Mapping[str, Any], num_classes: int) -> Any:
    config_class = _config_class(content)
    return config_class(**_declared(config_class, content), num_labels=num_classes)


def _from_config(config: Any) -> nn.Module:
    network: nn.Module = library().AutoModelForImageClassification.from_config(
        config, dtype=torch.float32, trust_remote_code=False
    )
    return network


def _check_fit(network: nn.Module, info: Mapping[str, Any], num_classes: int) -> None:
    """Refuse weights of other shapes, except the last layer's, and warn of weights that the files do not have."""
    unfit = {name.rpartition(".")[0] for name, *_ in info["mismatched_keys"]}
    missing = {name.rpartition(".")[0] for name in info["missing_keys"]}
    heads = {name for name in unfit | missing if _is_head(network.get_submodule(name), num_classes)}
    if unfit - heads:
        raise InputError(
            f"{KEY}.pretrained: the weights do not fit {', '.join(sorted(unfit - heads))}; correct kwargs, or set it to false"
        )
    if missing - heads:
        warn(f"{KEY}.pretrained: the files have no weights of {', '.join(sorted(missing - heads))}, which start from scratch")


def _is_head(layer: nn.Module, num_classes: int) -> bool:
    outputs = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
    return isinstance(layer, nn.Linear | nn.Conv2d) and outputs == num_classes
