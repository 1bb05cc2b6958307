"""A network in int8 for OpenVINO: weights with a scale a channel, activations with the range that training images give them.

Only the network is quantised: what crops and resizes before it, and temperature, softmax and distances after it, stay as they
are. N images, C channels, H by W pixels.
"""

import copy
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.data.images import ImageArray
from darkroom.export.network import Exported
from darkroom.inference.backends import import_openvino

# Training images that the ranges of activations are taken from, as many as NNCF takes by default.
CALIBRATION = 300
# Instructions that multiply bytes; without them int8 is little faster than float32.
INSTRUCTIONS = ("vnni", "amx_int8", "asimddp", "i8mm")
CPUINFO = Path("/proc/cpuinfo")


class Fitting(nn.Module):
    """The part of an `Exported` network that crops and resizes."""

    def __init__(self, network: Exported):
        super().__init__()
        self.fitted = network.fitted

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) in the size of the network."""
        fitted: Tensor = self.fitted(images)
        return fitted


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's progress bars, and what it and its imports say of a GPU that is not there, from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@_quiet()
def quantise(network: Exported, fitting: torch.export.ExportedProgram, images: Sequence[ImageArray]) -> Any:
    """Return a network as a model of OpenVINO in int8.

    Parameters
    ----------
    network
        In float32.
    fitting
        The program of its `Fitting`.
    images
        Of training, (H, W, 3) uint8, which give the ranges of activations.

    References
    ----------
    https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
    """
    openvino = import_openvino("--format")  # before NNCF, which would report its use over the network
    import nncf

    with torch.inference_mode(False), torch.no_grad():
        fitted = [network.fitted(torch.from_numpy(image)[None]) for image in images]
        rest = copy.copy(network)
        rest._modules = {**network._modules, "fitted": nn.Identity()}
        example = torch.cat([fitted[0], fitted[0]])
        number = torch.export.Dim("number", min=1)
        program = torch.export.export(rest, (example,), dynamic_shapes=({0: number},), strict=False)
    model = openvino.convert_model(program)
    model.reshape([-1, *example.shape[1:]])
    # What follows the network computes in double precision.
    exact = [each.get_friendly_name() for each in model.get_ops() if "f64" in map(_type, each.outputs())]
    small = nncf.quantize(
        model,
        nncf.Dataset([each.numpy() for each in fitted]),
        subset_size=len(fitted),
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=exact, validate=False),
    )
    before = openvino.convert_model(fitting)
    (place,), (end,) = small.get_parameters(), before.get_results()
    for target in place.output(0).get_target_inputs():
        target.replace_source_output(end.input_value(0))
    return openvino.Model(small.get_results(), before.get_parameters(), "int8")


def _type(output: Any) -> str:
    name: str = output.get_element_type().get_type_name()
    return name


def has_instructions() -> bool | None:
    """Return whether this CPU has instructions for products of bytes; None where the system does not say."""
    if not CPUINFO.is_file():
        return None
    flags = CPUINFO.read_text(encoding="utf-8", errors="replace")
    return any(each in flags for each in INSTRUCTIONS)
