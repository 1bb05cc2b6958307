"""Backends that compute a trained network: torch, torch.compile, or OpenVINO where it is installed.

N images, C channels, H by W pixels, K classes.
"""

import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError, described, one_line
from darkroom.base.params import HardwareParams
from darkroom.hardware.devices import check_precision, choose_device, is_fast_at_bf16
from darkroom.hardware.folding import FEW, TOLERANCE, close, fold_batch_norm, piece_size

# Allowed difference of compiled code from torch in bfloat16, which keeps two to three digits, as a fraction of the largest logit.
BF16_TOLERANCE = 0.05

Network = Callable[[Tensor], Tensor]


class Backend(Protocol):
    """Computes the logits of one network."""

    device: torch.device
    """Where it computes."""
    has_bf16: bool
    """Whether the device has instructions for bfloat16."""
    packages: dict[str, str]
    """Versions of further packages that the logits depend on."""

    def check(self, precision: str, key: str) -> None:
        """Raise InputError if it cannot compute in a precision, `32-true` or `bf16-mixed`; `key` of params.yaml names it."""

    def prepare(self, images: Tensor) -> None:
        """Prepare the network, testing it with a few of the first images (N, C, H, W) uint8."""

    def logits(self, images: Tensor, precision: str) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) uint8, on any device, in float32 or more."""


class TorchBackend:
    """Torch, with channels last and the batch normalisation folded."""

    def __init__(self, network: nn.Module, hardware: HardwareParams, key: str):  # noqa: ARG002
        self.hardware, self.device = hardware, choose_device(hardware)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.has_bf16 = is_fast_at_bf16(self.device)
        self.packages: dict[str, str] = {}

    def check(self, precision: str, key: str) -> None:
        """Raise InputError if the device cannot compute in a precision."""
        check_precision(precision, self.hardware, key)

    def prepare(self, images: Tensor) -> None:
        """Fold the batch normalisation."""
        self.network = fold_batch_norm(self.network, images[:FEW].to(self.device))

    def logits(self, images: Tensor, precision: str) -> Tensor:
        """Return the logits (N, K)."""
        pieces = torch.split(images.to(self.device), piece_size(images, self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = torch.cat([self._compute(piece, precision) for piece in pieces])
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _compute(self, images: Tensor, precision: str) -> Tensor:  # noqa: ARG002
        """Return the logits (N, K) of images that are computed at once."""
        logits: Tensor = self.network(images)
        return logits


class CompiledBackend(TorchBackend):
    """Torch with the network compiled by torch.compile, which takes up to half a minute and is reported.

    References
    ----------
    https://docs.pytorch.org/docs/2.15/generated/torch.compile.html
    """

    def __init__(self, network: nn.Module, hardware: HardwareParams, key: str):
        super().__init__(network, hardware, key)
        self.key = key
        self._compiled: Network = network
        self._count = 0
        self._known: set[tuple[str, int]] = set()

    def prepare(self, images: Tensor) -> None:
        """Fold the batch normalisation; the network is compiled at the first batch of a precision."""
        super().prepare(images)
        # The size of the first batch, the largest: code for the few images that choose a precision would be of no other use.
        self._count = piece_size(images, self.device)
        self._compiled = torch.compile(self.network, dynamic=False)

    def _compute(self, images: Tensor, precision: str) -> Tensor:
        # Code is compiled for one number of images: smaller pieces are padded, or it would be compiled again for the last one.
        self._count = max(self._count, len(images))
        padded = functional.pad(images, [0] * 7 + [self._count - len(images)])
        if (precision, self._count) not in self._known:
            self._compile(padded, precision)
            self._known.add((precision, self._count))
        return self._compiled(padded)[: len(images)]

    def _compile(self, images: Tensor, precision: str) -> None:
        """Compile the network for a precision and a number of images, and compare its logits with those of torch.

        Raises
        ------
        InputError
            If there is no compiler, it cannot compile the network, or the logits differ.
        """
        # Imported here: the compiler takes a second.
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor import config

        start = time.perf_counter()
        try:
            # Weights become constants, laid out and rounded once. As an option of torch.compile, only part of this takes effect.
            with config.patch(freezing=True):
                logits = self._compiled(images)
        except TorchDynamoException as error:
            reason = one_line(described(error))[:200]
            way_out = "set it to torch, or install a C++ compiler"
            raise InputError(f"params.yaml: {self.key}: this network cannot be compiled here ({reason}); {way_out}") from error
        seconds = time.perf_counter() - start
        tolerance = TOLERANCE if precision == "32-true" else BF16_TOLERANCE
        if not close(logits.float(), self.network(images).float(), tolerance):
            raise InputError(f"params.yaml: {self.key}: compiled, the network has other logits than before; set it to torch")
        print(f"{self.key}: torch.compile took {seconds:.1f} s for {precision}", flush=True)


class OpenVinoBackend:
    """OpenVINO, on the CPU.

    References
    ----------
    https://docs.openvino.ai/2026/openvino-workflow/running-inference/optimize-inference/precision-control.html
    """

    def __init__(self, network: nn.Module, hardware: HardwareParams, key: str):
        if hardware.accelerator not in ("auto", "cpu"):
            raise InputError(
                f"params.yaml: {key}: openvino computes on the CPU, but hardware.accelerator is {hardware.accelerator}; "
                "set backend to torch, or accelerator to cpu"
            )
        self.network, self.key, self.device = network, key, torch.device("cpu")
        self.core = import_openvino(key).Core()
        self.has_bf16 = "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.packages = {"openvino": version("openvino")}
        self._program: Any = None
        self._compiled: dict[str, Any] = {}

    def check(self, precision: str, key: str) -> None:
        """Raise InputError for bfloat16 where OpenVINO would compute in float32 without a warning."""
        if precision == "bf16-mixed" and not self.has_bf16:
            raise InputError(f"params.yaml: {key}: openvino has no bf16 on this CPU; set it to 32-true or auto")

    def prepare(self, images: Tensor) -> None:
        """Convert the network, and compare its logits with those of torch.

        Raises
        ------
        InputError
            If OpenVINO cannot convert the network, or its logits differ.
        """
        # The example must not be created in inference mode, which torch.export does not support.
        with torch.inference_mode(False), torch.no_grad():
            example = torch.zeros((2, *images.shape[1:]), dtype=images.dtype)
            number = torch.export.Dim("number")
            try:
                program = torch.export.export(self.network, (example,), dynamic_shapes=({0: number},))
                self._program = import_openvino(self.key).convert_model(program)
                self._program.reshape([-1, *images.shape[1:]])
                is_close = close(self.logits(images[:FEW], "32-true"), self.network(images[:FEW]))
            except Exception as error:
                reason = one_line(described(error))[:200]
                raise InputError(
                    f"params.yaml: {self.key}: openvino cannot convert this network ({reason}); set it to torch"
                ) from error
        if not is_close:
            raise InputError(
                f"params.yaml: {self.key}: with openvino the network has other logits than with torch; set it to torch"
            )

    def logits(self, images: Tensor, precision: str) -> Tensor:
        """Return the logits (N, K)."""
        if precision not in self._compiled:
            # By default OpenVINO takes bfloat16 where the CPU has it, and all cores.
            kind = {"32-true": "f32", "bf16-mixed": "bf16"}[precision]
            options = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
            self._compiled[precision] = self.core.compile_model(self._program, "CPU", options | {"PERFORMANCE_HINT": "LATENCY"})
        return torch.from_numpy(self._compiled[precision](images.numpy())[0])


BACKENDS: dict[str, type[TorchBackend] | type[OpenVinoBackend]] = {
    "torch": TorchBackend,
    "torch.compile": CompiledBackend,
    "openvino": OpenVinoBackend,
}


def import_openvino(key: str) -> ModuleType:
    """Import OpenVINO, with its usage reporting over the network disabled; `key` of params.yaml names it."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        how = "run 'pip install -c requirements-dev.txt openvino', or set it to torch"
        raise InputError(f"params.yaml: {key}: openvino is not installed; {how}") from None
    return openvino  # type: ignore[no-any-return]
