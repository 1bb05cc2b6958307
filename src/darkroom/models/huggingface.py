"""Image classifiers of the library `transformers`, by a name of the hub or a folder; opened again from their configuration alone.

Of a repository nothing is read but configurations, the model card and safetensors, and of a configuration nothing but the fields
that the library declares for the kind of network: no code, no address and no further repository can be named by either.
N images, C channels, H by W pixels, K classes.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darkroom import files, paths
from darkroom.errors import InputError, RunError, described, one_line, warn
from darkroom.models.errors import check_kwargs, no_weights
from darkroom.params import Network

KEY = "params.yaml: train.model"
NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w.-]+))?")
FACTS = ("config.json", "preprocessor_config.json", "processor_config.json", "README.md")
WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
# timm's networks have a provider of their own; ShieldGemma answers yes or no to questions of its own.
NO_CLASSIFIERS = {"timm_wrapper": "set provider to timm, and name to that of the network there", "shieldgemma2": "name another"}


@dataclass(frozen=True)
class Repository:
    """A network in a folder as `save_pretrained` writes it.

    Attributes
    ----------
    folder : Path
        Its files; weights of the hub are fetched when they are needed.
    name : str
        As people know it, with the commit if it is of the hub.
    hub : tuple of str or None
        Name on the hub and commit; None for a folder of this machine.
    """

    folder: Path
    name: str
    hub: tuple[str, str] | None

    @cached_property
    def licence(self) -> str | None:
        """The licence that the model card names, with the owner's own name for it."""
        from huggingface_hub import ModelCard

        path = self.folder / "README.md"
        about = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else {}
        names = [about.get(key) for key in ("license", "license_name")]
        return " ".join(", ".join(name) if isinstance(name, list) else str(name) for name in names if name) or None

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes of the weights of a folder here; those of the hub are known by the commit."""
        found = [] if self.hub else sorted(path for pattern in WEIGHTS for path in self.folder.glob(pattern))
        return {path.name: files.sha256(path) for path in found}

    def config(self) -> dict[str, Any]:
        """Return config.json."""
        try:
            content = json.loads((self.folder / "config.json").read_bytes())
        except FileNotFoundError:
            raise InputError(f"{KEY}.name: {self.name} has no config.json; name a network of the library transformers") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{KEY}.name: config.json of {self.name} is damaged ({one_line(error)}); name another") from None
        return content if isinstance(content, dict) else {}


class HuggingFaceClassifier(nn.Module):
    """A network of the library that answers with its logits alone.

    Attributes
    ----------
    config : dict
        What it can be built from again.
    """

    def __init__(self, network: nn.Module, config: dict[str, Any]):
        super().__init__()
        self.network, self.config = network, config

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, 3, H, W)."""
        logits: Tensor = self.network(images).logits
        return logits


def build(model: Network, *, num_classes: int, config: Mapping[str, Any] | None = None) -> nn.Module:
    """Build the network of a configuration that was recorded, without looking at the name, or else the one of that name.

    Raises
    ------
    InputError
        If there is no such network, or it takes no such arguments.
    RunError
        If the hub cannot be reached.
    """
    library = _library()
    if config is not None:
        return HuggingFaceClassifier(_from_config(_make_config(config, num_classes)), dict(config))
    repository = find_repository(model)
    config_class = _config_class(repository.config())
    check_kwargs(model, _fields(config_class))
    made = _make_config(repository.config() | model.kwargs, num_classes)
    recorded = {"model_type": config_class.model_type, **_declared(config_class, made.to_dict())}
    if not model.pretrained:
        return HuggingFaceClassifier(_from_config(made), recorded)
    _fetch_weights(model, repository)
    network, info = library.AutoModelForImageClassification.from_pretrained(
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
    return HuggingFaceClassifier(network, recorded)


def find_repository(model: Network) -> Repository:
    """Find a folder of this machine, from the repository's root on, or else a repository of the hub, with all but its weights.

    Raises
    ------
    InputError
        If the hub has none of this name.
    RunError
        If the hub cannot be reached.
    """
    _library()
    folder = paths.ROOT / model.name
    if folder.is_dir():
        return Repository(folder, model.name, None)
    found = NAME.fullmatch(model.name)
    if not found:
        raise InputError(
            f"{KEY}.name: '{one_line(model.name)}' is neither a folder here nor a name of the hub; "
            "write it as owner/name, or owner/name@commit"
        )
    try:
        return _of_hub(found["name"], found["revision"])
    except (InputError, RunError):
        raise
    except Exception as error:
        raise no_weights(model, error) from error


def expected_images(model: Network, repository: Repository) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Return mean and standard deviation, of values between 0 and 1, and the side in pixels that the weights expect.

    Raises
    ------
    InputError
        If the repository does not say it.
    """
    try:
        processor: Any = _library().AutoImageProcessor.from_pretrained(
            str(repository.folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise InputError(
            f"{KEY}.name: {repository.name} does not say what images it expects in preprocessor_config.json "
            f"({described(error).splitlines()[0]}); name another, or set train.model.pretrained to false"
        ) from error
    if getattr(processor, "do_flip_channel_order", None):
        warn(f"{KEY}.name: {repository.name} was trained on images with red and blue exchanged, and here sees them as they are")
    normalises = processor.do_normalize
    mean, std = (processor.image_mean, processor.image_std) if normalises else ((0.0,) * 3, (1.0,) * 3)
    # The library scales bytes by a factor, less 1 if there is an offset; here they are between 0 and 1 before all that.
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    offset = 1.0 if getattr(processor, "rescale_offset", None) else 0.0
    size = (processor.crop_size if getattr(processor, "do_center_crop", None) else None) or processor.size
    side = model.kwargs.get("image_size") or size.height or size.shortest_edge or size.longest_edge
    return tuple((value + offset) / scale for value in mean), tuple(value / scale for value in std), int(side)


def _library() -> Any:
    try:
        import transformers
    except ImportError:
        advice = "run 'pip install -c requirements-dev.txt transformers'"
        raise InputError(f"{KEY}.provider: huggingface needs a package that is not installed; {advice}") from None
    # What matters of its reports and bars is said in one line, by `_check_fit`.
    library: Any = transformers
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


@cache
def _of_hub(name: str, revision: str | None) -> Repository:
    """Find the commit that a name means today, once, and fetch what is small."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    is_commit = revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision)
    try:
        commit = revision if is_commit else HfApi(library_name="darkroom").model_info(name, revision=revision, timeout=20).sha
        folder = snapshot_download(name, revision=commit, allow_patterns=list(FACTS), library_name="darkroom", etag_timeout=20)
    except (RepositoryNotFoundError, GatedRepoError, RevisionNotFoundError) as error:
        raise InputError(
            f"{KEY}.name: the hub does not give {name}{'@' + revision if revision else ''} ({type(error).__name__}); "
            "correct the name, or run 'hf auth login' if it is private"
        ) from None
    assert commit is not None
    return Repository(Path(folder), f"{name}@{commit}", (name, commit))


def _fetch_weights(model: Network, repository: Repository) -> None:
    from huggingface_hub import snapshot_download

    if repository.hub:
        name, commit = repository.hub
        try:
            snapshot_download(name, revision=commit, allow_patterns=list(WEIGHTS), library_name="darkroom")
        except Exception as error:
            raise no_weights(model, error) from error
    if not any(file for pattern in WEIGHTS for file in repository.folder.glob(pattern)):
        raise InputError(
            f"{KEY}.pretrained: {repository.name} has no model.safetensors, and weights in other files could run code; "
            "name another, or set it to false"
        )


def _config_class(content: Mapping[str, Any]) -> Any:
    """Return the class of a configuration, of the library's own for classifiers alone."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    kind = content.get("model_type")
    if isinstance(kind, str) and kind in NO_CLASSIFIERS:
        raise InputError(f"{KEY}.name: is of the kind {kind}; {NO_CLASSIFIERS[kind]}")
    if not isinstance(kind, str) or kind not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise InputError(f"{KEY}.name: is of the kind {one_line(str(kind))}, which does not classify images; name another")
    return CONFIG_MAPPING[kind]


def _fields(config_class: Any) -> list[str]:
    """Return the fields that a kind of network has of its own; those of every kind name code, precision and labels."""
    from transformers import PreTrainedConfig

    common = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return [field.name for field in dataclasses.fields(config_class) if not (field.name in common or field.name.startswith("_"))]


def _declared(config_class: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that the library declares, also in those within it."""
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
    network: nn.Module = _library().AutoModelForImageClassification.from_config(
        config, dtype=torch.float32, trust_remote_code=False
    )
    return network


def _check_fit(network: nn.Module, info: Mapping[str, Any], num_classes: int) -> None:
    """Refuse weights of another shape, but for the last layer's, and say which are not in the files at all."""
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
