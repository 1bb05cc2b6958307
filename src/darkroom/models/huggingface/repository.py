"""Repositories of the Hugging Face hub, and folders in their form: configuration, licence, expected images and weights.

Only configurations, the model card and safetensors are read, so that no code of a repository runs.
"""

import json
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError, described, one_line, warn
from darkroom.base.params import Network
from darkroom.models.errors import no_weights

KEY = "params.yaml: train.model"
NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w.-]+))?")
FACTS = ("config.json", "preprocessor_config.json", "processor_config.json", "README.md")
WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Repository:
    """A network in a folder as `save_pretrained` writes it.

    Attributes
    ----------
    folder : Path
        The files; weights are downloaded from the hub when they are needed.
    name : str
        Name for users, with the commit if it is on the hub.
    hub : tuple of str or None
        Name on the hub and commit; None for a folder of this machine.
    """

    folder: Path
    name: str
    hub: tuple[str, str] | None

    @cached_property
    def licence(self) -> str | None:
        """The licence that the model card names, with the owner's name for a licence of their own."""
        from huggingface_hub import ModelCard

        path = self.folder / "README.md"
        about = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else {}
        names = [about.get(key) for key in ("license", "license_name")]
        return " ".join(", ".join(name) if isinstance(name, list) else str(name) for name in names if name) or None

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes of the weights in a local folder; on the hub, the commit identifies them."""
        found = [] if self.hub else sorted(path for pattern in WEIGHTS for path in self.folder.glob(pattern))
        return {path.name: files.sha256(path) for path in found}

    @property
    def describes_images(self) -> bool:
        """Whether a file says how images are prepared."""
        return any((self.folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))

    def config(self) -> dict[str, Any]:
        """Return config.json."""
        try:
            content = json.loads((self.folder / "config.json").read_bytes())
        except FileNotFoundError:
            raise InputError(f"{KEY}.name: {self.name} has no config.json; name a network of the library transformers") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{KEY}.name: config.json of {self.name} is damaged ({one_line(error)}); name another") from None
        return content if isinstance(content, dict) else {}


def find_repository(model: Network) -> Repository:
    """Find a local folder, relative to the root of this repository, or else a repository of the hub, without its weights.

    Raises
    ------
    InputError
        If the hub has none of this name.
    RunError
        If the hub cannot be reached.
    """
    library()
    folder = paths.ROOT / model.name
    if folder.is_dir():
        return Repository(folder, model.name, None)
    found = NAME.fullmatch(model.name)
    if not found:
        raise InputError(
            f"{KEY}.name: '{one_line(model.name)}' is neither a local folder nor a name on the hub; "
            "write it as owner/name, or owner/name@commit"
        )
    try:
        return _find_on_hub(found["name"], found["revision"])
    except (InputError, RunError):
        raise
    except Exception as error:
        raise no_weights(model, error) from error


def expected_images(model: Network, repository: Repository) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Return mean and standard deviation, of values between 0 and 1, and the side in pixels that the weights expect.

    Raises
    ------
    InputError
        If the repository does not describe its images.
    """
    try:
        processor = _processor(repository)
    except Exception as error:
        raise InputError(
            f"{KEY}.name: {repository.name} does not describe the images that it expects in preprocessor_config.json "
            f"({described(error).splitlines()[0]}); name another, or set train.model.pretrained to false"
        ) from error
    if getattr(processor, "do_flip_channel_order", None):
        warn(f"{KEY}.name: {repository.name} was trained on images with red and blue exchanged, which they are not here")
    normalises = processor.do_normalize
    mean, std = (processor.image_mean, processor.image_std) if normalises else ((0.0,) * 3, (1.0,) * 3)
    # The library multiplies bytes by a factor and subtracts 1 if there is an offset; here they are scaled to 0..1 before.
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    offset = 1.0 if getattr(processor, "rescale_offset", None) else 0.0
    size = (processor.crop_size if getattr(processor, "do_center_crop", None) else None) or processor.size
    configured = None if repository.describes_images else repository.config().get("image_size")
    side = model.kwargs.get("image_size") or configured or size.height or size.shortest_edge or size.longest_edge
    return tuple((value + offset) / scale for value in mean), tuple(value / scale for value in std), int(side)


def _processor(repository: Repository) -> Any:
    """Return what prepares images, by its configuration, or with the defaults of the network's kind if there is none."""
    if repository.describes_images:
        return library().AutoImageProcessor.from_pretrained(
            str(repository.folder), local_files_only=True, trust_remote_code=False
        )
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

    kind = repository.config().get("model_type")
    config = library().AutoConfig.from_pretrained(str(repository.folder), local_files_only=True, trust_remote_code=False)
    found = IMAGE_PROCESSOR_MAPPING[type(config)]
    processor = next(each for each in (found.values() if isinstance(found, dict) else found) if each is not None)()
    warn(
        f"{KEY}.name: {repository.name} has no preprocessor_config.json; images are prepared as is usual for {kind}: "
        f"mean {list(processor.image_mean)}, std {list(processor.image_std)}"
    )
    return processor


def library() -> Any:
    """Import `transformers`, which need not be installed, and silence its reports and bars."""
    try:
        import transformers
    except ImportError:
        advice = "run 'pip install -c requirements-dev.txt transformers'"
        raise InputError(f"{KEY}.provider: huggingface needs a package that is not installed; {advice}") from None
    # `_check_fit` reports what matters in one line.
    library: Any = transformers
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


@cache
def _find_on_hub(name: str, revision: str | None) -> Repository:
    """Find the commit of a name, once, and download the small files."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    is_commit = revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision)
    try:
        commit = revision if is_commit else HfApi(library_name="darkroom").model_info(name, revision=revision, timeout=20).sha
        folder = snapshot_download(name, revision=commit, allow_patterns=list(FACTS), library_name="darkroom", etag_timeout=20)
    except (RepositoryNotFoundError, GatedRepoError, RevisionNotFoundError) as error:
        raise InputError(
            f"{KEY}.name: the hub refuses {name}{'@' + revision if revision else ''} ({type(error).__name__}); "
            "correct the name, or run 'hf auth login' if it is private"
        ) from None
    assert commit is not None
    return Repository(Path(folder), f"{name}@{commit}", (name, commit))


def fetch_weights(model: Network, repository: Repository) -> None:
    """Download the weights of a repository of the hub into its folder.

    Raises
    ------
    RunError
        If they cannot be downloaded.
    InputError
        If the repository has none that can be opened without running code.
    """
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
