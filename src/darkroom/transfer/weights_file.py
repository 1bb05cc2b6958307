"""A file of weights alone, of this project or another: `train.model.weights`, a checkpoint in `train.resume_from` or `--model`.

Opening it runs no code of the file. K classes.
"""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from darkroom.base import files, paths
from darkroom.base.errors import InputError, described
from darkroom.base.params import Network, Target
from darkroom.models.bounds import check_header
from darkroom.models.licence import WeightsOrigin
from darkroom.transfer.pretrained import Pretrained

KEY = "params.yaml: train.model.weights"
ENDINGS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
# Under which Lightning, timm and the references of torchvision keep the weights in a checkpoint.
INSIDE = ("state_dict", "model_state_dict", "model")
# What Lightning modules, DataParallel, torch.compile and this project put before a name.
PREFIXES = ("model.", "module.", "_orig_mod.", "network.", "net.")
AVERAGE = "objective_modules.average.made.module."
SHOWN = 3


@dataclass(frozen=True)
class FileWeights:
    """The tensors of a file.

    Attributes
    ----------
    key
        Begins error messages.
    name
        As given by the user.
    tensors
        By their names in the file.
    sha256
        Of the file.
    expects
        Image size and normalisation, if they are known.
    """

    key: str
    name: str
    tensors: Mapping[str, Tensor]
    sha256: str
    expects: Pretrained | None = None

    @property
    def origin(self) -> WeightsOrigin:
        """What model.json records; a file names no licence."""
        return WeightsOrigin(source=f"file: {self.name}", licence=None, sha256={Path(self.name).name: self.sha256})


def open_model_weights(model: Network | Target) -> FileWeights | None:
    """Open the file of `train.model.weights`, None if it is null.

    Raises
    ------
    InputError
        If it does not exist, has another hash, or cannot be opened.
    """
    name, sha256 = getattr(model, "weights", None), getattr(model, "weights_sha256", None)
    if isinstance(model, Target) and name is None:
        given = model.arguments.get("weights")  # without weights_sha256 it is an argument of the class
        if not (isinstance(given, str) and given.endswith(ENDINGS) and (paths.ROOT / given).is_file()):
            return None
        name = given
    return open_file(KEY, name, read_pinned(KEY, name, f"{KEY}_sha256", sha256)) if name is not None else None


def read_pinned(key: str, name: str, sha256_key: str, sha256: str | None) -> bytes:
    """Read a file whose hash params.yaml has to name, so that the same parameters mean the same file.

    Raises
    ------
    InputError
        If it does not exist or has another hash.
    """
    content = read_file(key, name)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is None:
        raise InputError(f"{sha256_key}: is missing, but the content of {name} has to be pinned; set it to {found}")
    if sha256 != found:
        raise InputError(f"{sha256_key}: is not that of {name}, which is {found}; restore the file, or set the key to this")
    return content


def read_file(key: str, name: str) -> bytes:
    """Read a file, relative to the repository; an `InputError` says what is wrong with it."""
    path = paths.ROOT / Path(name).expanduser()
    try:
        return files.read_regular(path)
    except FileNotFoundError:
        elsewhere = "use an absolute path, since this folder has only files that Git tracks"
        fix = elsewhere if ".dvc/tmp/exps" in paths.ROOT.as_posix() else "correct the path"
        raise InputError(f"{key}: {name} does not exist; {fix}") from None
    except OSError as error:
        raise InputError(f"{key}: {name} cannot be read ({error.strerror}); name a file") from None


def open_file(key: str, name: str, content: bytes) -> FileWeights:
    """Return the tensors in the bytes of a file.

    Raises
    ------
    InputError
        If it holds code, is damaged, or holds no weights.
    """
    loaded = load_without_code(key, name, content)
    found = next((loaded[inside] for inside in INSIDE if _has_tensors(loaded.get(inside))), loaded)
    tensors = {str(each): value for each, value in found.items() if isinstance(value, Tensor)}
    # In a state of this project the average is what is validated and published.
    tensors = {each.removeprefix(AVERAGE): value for each, value in tensors.items() if each.startswith(AVERAGE)} or tensors
    if not tensors:
        raise InputError(
            f"{key}: {name} holds no weights, which are named tensors or those under 'state_dict'; name another file"
        )
    return FileWeights(key, name, tensors, hashlib.sha256(content).hexdigest())


def load_without_code(key: str, name: str, content: bytes) -> dict[Any, Any]:
    """Return what a .safetensors file, or one of torch.save, holds."""
    if not name.endswith(ENDINGS):
        raise InputError(f"{key}: {name} is no file of weights; name one that ends with {', '.join(ENDINGS)}")
    try:
        if name.endswith(".safetensors"):
            check_header(content)
            return dict(load(content))
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{key}: {name} holds more than tensors, and opening it could run code; save its weights alone, "
            "with torch.save(model.state_dict(), FILE), where it was made"
        ) from None
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, OSError, AttributeError, TypeError) as error:
        raise InputError(f"{key}: {name} is damaged ({described(error).splitlines()[0]}); copy it again") from None
    return dict(loaded) if isinstance(loaded, Mapping) else {}


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(each, Tensor) for each in value.values())


def load_file_weights(weights: FileWeights, network: nn.Module, build_other: Callable[[], nn.Module]) -> str:
    """Load a file's weights into a network, without the last layer if it has other shapes or another name there.

    Parameters
    ----------
    weights
        The file.
    network
        A `Normalized` network, changed in place.
    build_other
        Builds the same network for one class more: the tensors whose shapes differ are the last layer.

    Returns
    -------
    summary : str
        Which tensors were taken, left out and new, on one line.

    Raises
    ------
    InputError
        If the weights are those of another network.
    """
    own = network.state_dict()
    names = {_bare(name): name for name in own}
    found = _by_bare_name(weights)
    unfit = [name for name in names if name not in found or found[name].shape != own[names[name]].shape]
    head = [_bare(name) for name in differing(own, build_other().state_dict())] if unfit else []
    # Batch normalisation had no counter in old versions of torch.
    wrong = [name for name in unfit if name not in head and not name.endswith("num_batches_tracked")]
    children = {name.partition(".")[0] for name in names if name not in head}
    left_out = [name for name in found if name not in names or name in unfit]
    wrong += [name for name in left_out if name not in head and name.partition(".")[0] in children]
    if wrong:
        raise InputError(
            f"{weights.key}: {weights.name} does not fit train.model ({listed(sorted(set(wrong)))}); "
            "set train.model to the network that it was made with"
        )
    # A last layer is taken as a whole or not at all.
    new = [name for name in names if name in head or name in unfit]
    taken = [name for name in names if name not in new]
    left_out += [name for name in head if name in found and name not in left_out]
    if not taken:
        raise InputError(
            f"{weights.key}: {weights.name} has no tensor of train.model; set it to the network that it was made with"
        )
    network.load_state_dict({names[name]: found[name] for name in taken}, strict=False)
    without = f"; left out {listed(left_out)}" if left_out else ""
    fresh = f"; new {listed(new)}" if new else ""
    return f"loaded {len(taken)} of {len(own)} tensors from {weights.name} ({listed(taken)}){without}{fresh}"


def _by_bare_name(weights: FileWeights) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in weights.tensors.items():
        if _bare(name) in found:
            raise InputError(
                f"{weights.key}: {weights.name} has two tensors {_bare(name)}, one as {name}; save the weights of one network"
            )
        found[_bare(name)] = value
    return found


def _bare(name: str) -> str:
    """Return the name of a tensor without what wrappers of a network put before it."""
    while prefix := next((each for each in PREFIXES if name.startswith(each)), None):
        name = name.removeprefix(prefix)
    return name


def differing(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors whose shapes differ between two states of networks with the same names."""
    return [name for name, value in own.items() if torch.Size(value.shape) != torch.Size(other[name].shape)]


def listed(names: list[str]) -> str:
    """Return the first names and the number of all."""
    return ", ".join(names[:SHOWN]) + (f", … {len(names)} in all" if len(names) > SHOWN else "")
