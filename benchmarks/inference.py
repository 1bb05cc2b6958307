"""Compare inference with eager torch, ONNX Runtime and OpenVINO: python benchmarks/inference.py [NETWORK ...].

The networks are timm's with random weights; the inputs are uint8 noise in memory, so that only computation is measured. All
predict the same images and alternate, round after round. The table shows the median of images per second of a core, which is
disturbed least by other work with `--threads 1`. Preparation (folding, export, compilation) is not included; it has its own
column.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
import timm
import torch
from numpy.typing import NDArray

from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.hardware.devices import is_fast_at_bf16
from darkroom.inference.predictor import Predictor
from darkroom.models.model_json import Card
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import Published

SIZE = 224
SEEN = Preprocessing(image_size=SIZE, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PACKAGES = ("torch", "timm", "onnxruntime", "openvino")
Predict = Callable[[torch.Tensor], NDArray[np.float32]]


def make_network(name: str) -> Normalized:
    """Return a network of timm with its normalisation in front; the weights are the same every time."""
    torch.manual_seed(0)
    return Normalized(timm.create_model(name, pretrained=False), SEEN).eval()


def eager(name: str, device: torch.device) -> Predict:
    """Return the network in eager mode."""
    network = make_network(name).to(device)

    @torch.no_grad()
    def predict(images: torch.Tensor) -> NDArray[np.float32]:
        return network(images.contiguous().to(device)).cpu().numpy()

    return predict


def darkroom(name: str, accelerator: str, **how: str) -> Predict:
    """Return the predictor of the stages."""
    content = read_yaml(ROOT / "params.yaml")
    content["hardware"]["accelerator"] = accelerator
    model = Published(make_network(name), Card.model_construct(task="multiclass"))
    predictor = Predictor(model, check_params(content).hardware, **how)

    @torch.inference_mode()
    def predict(images: torch.Tensor) -> NDArray[np.float32]:
        return predictor(images.to(predictor.device)).cpu().numpy()

    return predict


def onnx_runtime(name: str, example: torch.Tensor, folder: Path) -> Predict:
    """Return a session of ONNX Runtime, for the network exported by torch."""
    import onnxruntime

    path = folder / f"{name}.onnx"
    shapes = ({0: torch.export.Dim("number")},)
    torch.onnx.export(make_network(name), (example[:2].contiguous(),), path, dynamic_shapes=shapes, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    return lambda images: session.run(None, {entry: images.contiguous().numpy()})[0]


def openvino(name: str, example: torch.Tensor) -> Predict:
    """Return the network compiled by OpenVINO alone, for batches of this size."""
    import openvino

    program = openvino.convert_model(torch.export.export(make_network(name), (example.contiguous(),)))
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(program, "CPU", options)
    return lambda images: compiled(images.contiguous().numpy())[0]


def contenders(name: str, images: torch.Tensor, accelerator: str, folder: Path) -> dict[str, Callable[[], Predict]]:
    """Return what is compared, by its name in the table; ratios are relative to the first."""
    device = torch.device("cpu" if accelerator == "cpu" else "cuda")
    made: dict[str, Callable[[], Predict]] = {
        "torch, eager, `no_grad`": lambda: eager(name, device),
        "Darkroom": lambda: darkroom(name, accelerator),
    }
    if is_fast_at_bf16(device):
        made["Darkroom, `precision=bf16-mixed`"] = lambda: darkroom(name, accelerator, precision="bf16-mixed")
    made["Darkroom, `backend=torch.compile`"] = lambda: darkroom(name, accelerator, backend="torch.compile")
    if is_fast_at_bf16(device):
        made["Darkroom, compiled in bf16"] = lambda: darkroom(name, accelerator, backend="torch.compile", precision="bf16-mixed")
    if accelerator != "cpu":
        return made
    made["Darkroom, `backend=openvino`"] = lambda: darkroom(name, accelerator, backend="openvino")
    if is_fast_at_bf16(device):
        made["Darkroom, OpenVINO in bf16"] = lambda: darkroom(name, accelerator, backend="openvino", precision="bf16-mixed")
    made["ONNX Runtime, float32"] = lambda: onnx_runtime(name, images, folder)
    made["OpenVINO by itself, float32, fixed batch"] = lambda: openvino(name, images)
    return made


def run(name: str, images: torch.Tensor, rounds: int, accelerator: str) -> None:
    """Print the rows of one network."""
    predictors: dict[str, Predict] = {}
    expected: NDArray[Any] | None = None
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for who, make in contenders(name, images, accelerator, Path(folder)).items():
            start = time.perf_counter()
            predictors[who] = make()
            logits = predictors[who](images)
            ready = time.perf_counter() - start
            expected = logits if expected is None else expected
            same = (logits.argmax(1) == expected.argmax(1)).mean()
            notes[who] = f"{ready:.1f} | {np.abs(logits - expected).max() / np.abs(expected).max():.0e} | {same:.0%}"
        walls: dict[str, list[float]] = {who: [] for who in predictors}
        cores: dict[str, list[float]] = {who: [] for who in predictors}
        for _ in range(rounds):
            for who, predict in predictors.items():
                wall, core = time.perf_counter(), time.process_time()
                predict(images)
                walls[who].append(len(images) / (time.perf_counter() - wall))
                cores[who].append(len(images) / (time.process_time() - core))
    first = next(iter(predictors))
    for who in predictors:
        counted = walls if accelerator != "cpu" else cores
        ratio = statistics.median(own / other for own, other in zip(counted[who], counted[first], strict=True))
        each = ", ".join(f"{value:.2f}" for value in cores[who])
        speeds = f"{statistics.median(walls[who]):.1f} | {statistics.median(cores[who]):.2f} ({each})"
        print(f"| {name} | {who} | {speeds} | {ratio:.2f} | {notes[who]} |", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", default=["resnet50", "vit_tiny_patch16_224"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=32, help="batch size (32)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--accelerator", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    torch.set_num_threads(arguments.threads)
    shape = (arguments.images, SIZE, SIZE, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # the memory layout in which the loaders yield images
    known = torch.cpu.get_capabilities()
    flags = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if known.get(name)]
    print(f"{known.get('cpu_name')} ({', '.join(flags)}), {os.cpu_count()} cores, {arguments.threads} threads")
    print(f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)}; {arguments.images} images of {SIZE} px\n")
    speeds = "images/s | per second of a core: median (all) | ratio"
    print(f"| network | computed by | {speeds} | preparation, s | largest difference | same classes |\n{'|---' * 8}|")
    for name in arguments.networks:
        run(name, images, arguments.rounds, arguments.accelerator)


if __name__ == "__main__":
    main()
