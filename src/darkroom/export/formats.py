"""The formats of an export: how each is written, and how it is run to compare it. N images, H by W pixels, K classes."""

import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from darkroom.base import files
from darkroom.base.errors import InputError, described, one_line
from darkroom.data.images import ImageArray
from darkroom.export.network import Exported
from darkroom.inference.backends import import_openvino

Run = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], ...]]
"""From images (N, H, W, 3) to probabilities (N, K), features (N, D) and distances (N,), as far as the network has them."""
INPUT, KEY = "images", "darkroom"
OPSET = 18
# Images of a batch, rows, columns.
MOST = 65536
# Of the example with which a network is traced; no two sizes are equal, so that none is taken for the other.
EXAMPLE = (2, 83, 71, 3)


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes
    ----------
    ending
        Of its file.
    packages
        That write and run it.
    write
        Writes a network and what is known of it to a file.
    open
        Returns what runs a file.
    is_quantised
        Whether it rounds the network's weights: `write` is also given images of training, and other decisions do not fail.
    """

    ending: str
    packages: tuple[str, ...]
    write: Callable[..., None]
    open: Callable[[Path], Run]
    is_quantised: bool = False

    def check(self, name: str) -> None:
        """Refuse the format where a package is missing."""
        if missing := [package for package in self.packages if find_spec(package) is None]:
            # nncf wants an older numpy than is pinned for these Pythons: it sets numpy back, which records of stages then say.
            pins = "" if "nncf" in missing and sys.version_info >= (3, 12) else "-c requirements-dev.txt "
            raise InputError(f"--format: {name} needs {', '.join(missing)}; run 'pip install {pins}{' '.join(missing)}'")


def _dynamic() -> dict[str, dict[int, Any]]:
    """Return which sizes of the input are free: number, height and width."""
    number, height, width = (torch.export.Dim(name, min=1, max=MOST) for name in ("number", "height", "width"))
    return {INPUT: {0: number, 1: height, 2: width}}


def _example() -> torch.Tensor:
    return torch.arange(int(np.prod(EXAMPLE)), dtype=torch.int64).remainder(251).to(torch.uint8).reshape(EXAMPLE)


def _program(network: nn.Module) -> torch.export.ExportedProgram:
    with torch.inference_mode(False), torch.no_grad():
        return torch.export.export(network, (_example(),), dynamic_shapes=_dynamic(), strict=False)


def _write_onnx(network: Exported, about: Mapping[str, Any], path: Path) -> None:
    import onnx

    made = torch.onnx.export(
        _program(network),
        input_names=[INPUT],
        output_names=list(network.outputs),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    model = made.model_proto
    onnx.helper.set_model_props(model, {KEY: json.dumps(about, ensure_ascii=False)})
    with files.replaced_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: tuple(map(np.asarray, session.run(None, {INPUT: images})))


def _write_openvino(network: Exported, about: Mapping[str, Any], path: Path) -> None:
    _save_openvino(import_openvino("--format").convert_model(_program(network)), network, about, path)


def _write_int8(network: Exported, about: Mapping[str, Any], path: Path, images: Sequence[ImageArray]) -> None:
    from darkroom.export.int8 import Fitting, quantise

    _save_openvino(quantise(network, _program(Fitting(network)), images), network, about, path)


def _save_openvino(model: Any, network: Exported, about: Mapping[str, Any], path: Path) -> None:
    for name, output in zip(network.outputs, model.outputs, strict=True):
        output.get_tensor().set_names({name})
    model.set_rt_info(json.dumps(about, ensure_ascii=False), KEY)
    import_openvino("--format").save_model(model, path, compress_to_fp16=False)


def _open_openvino(path: Path) -> Run:
    openvino = import_openvino("--format")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(path, "CPU", options)
    return lambda images: tuple(np.array(each) for each in compiled(images).values())


def _write_torch(network: Exported, about: Mapping[str, Any], path: Path) -> None:
    content = io.BytesIO()  # torch warns of a temporary file's name
    torch.export.save(_program(network), content, extra_files={KEY: json.dumps(about, ensure_ascii=False)})
    with files.replaced_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _open_torch(path: Path) -> Run:
    program = torch.export.load(path).module()

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with torch.inference_mode():
            return tuple(each.numpy() for each in program(torch.from_numpy(images)))

    return run


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _open_onnx),
    "openvino": Format(".xml", ("openvino",), _write_openvino, _open_openvino),
    "openvino-int8": Format("-int8.xml", ("openvino", "nncf"), _write_int8, _open_openvino, is_quantised=True),
    "torch": Format(".pt2", (), _write_torch, _open_torch),
}


def write(name: str, network: Exported, about: Mapping[str, Any], path: Path, calibration: Sequence[ImageArray] = ()) -> None:
    """Write a network in a format; one that quantises takes its ranges from images of training, `calibration`.

    Raises
    ------
    InputError
        If the format cannot hold it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters, about their own code
            FORMATS[name].write(network, about, path, *([calibration] if FORMATS[name].is_quantised else []))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"--format: {name} cannot hold this network ({one_line(described(error))[:200]}); name another"
        ) from error
