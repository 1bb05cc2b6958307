"""How evaluate and predict compute a trained network: with which backend, in which precision. N images, K classes."""

import time
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from darkroom import paths
from darkroom.errors import warn
from darkroom.inference.backends import BACKENDS, Backend
from darkroom.models.saving import Published, load_model
from darkroom.params import HardwareParams, Params

# Images that choose a precision by time and decisions.
SAMPLE = 64


class Predictor:
    """A trained network that answers; the first images make it ready, and choose what was left to choose.

    Parameters
    ----------
    model
        What is known of the network.
    hardware
        The machine.
    stage
        Whose parameters the next two are, for what is said of them.
    backend, precision
        As `evaluate.backend` and `evaluate.precision`.

    Attributes
    ----------
    precision : str
        What it computes in; `auto` until the first images have come.

    Raises
    ------
    InputError
        If the backend is not installed, or does not compute in this precision on this machine.
    """

    def __init__(
        self,
        model: Published,
        hardware: HardwareParams,
        stage: str = "predict",
        *,
        backend: str = "torch",
        precision: str = "32-true",
    ):
        self.model, self.hardware, self.stage, self.name, self.precision = model, hardware, stage, backend, precision
        self._backend: Backend = BACKENDS[backend](model.network, hardware, f"{stage}.backend")
        self._is_ready = False
        key = f"{stage}.precision"
        if precision != "auto":
            self._backend.check(precision, key)
        if precision == "bf16-mixed" and not self._backend.has_bf16:
            warn(f"params.yaml: {key}: is bf16-mixed, for which this device has no instructions; 32-true is faster here")

    @classmethod
    def load(cls, folder: Path, params: Params, stage: str) -> Self:
        """Open a published model to compute it as `evaluate` or `predict` of params.yaml says."""
        how = getattr(params, stage).model_dump(include={"backend", "precision"})
        return cls(load_model(folder, params, paths.shown(folder)), params.hardware, stage, **how)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._backend.device

    @property
    def record(self) -> dict[str, str]:
        """What to keep beside the results: they depend on it, if little."""
        return {"backend": self.name, "precision": self.precision, **self._backend.packages}

    @property
    def about(self) -> dict[str, Any]:
        """What predictions say of the model and of this."""
        return {"classes": self.model.card.classes, "multilabel": self.model.multilabel, "backend": self.record}

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) uint8."""
        if not self._is_ready:
            self._backend.prepare(images)
            if self.precision == "auto":
                self.precision, why = self._chosen(images[:SAMPLE])
                print(f"{self.stage}: computes in {self.precision}: {why}", flush=True)
            self._is_ready = True
        return self._backend.answer(images, self.precision)

    def _chosen(self, images: Tensor) -> tuple[str, str]:
        """Return the precision that is faster on some images, and why; bf16-mixed only if it decides alike on all of them."""
        if not self._backend.has_bf16:
            return "32-true", f"no instructions for bf16 on this {self.device.type}"
        decisions, seconds = zip(*(self._tried(images, precision) for precision in ("32-true", "bf16-mixed")), strict=True)
        differing = int((decisions[0] != decisions[1]).sum())
        if differing:
            return "32-true", f"bf16-mixed decides otherwise {differing} times on {len(images)} images"
        ratio = seconds[0] / seconds[1]
        how = f"{ratio:.1f} times as fast as 32-true" if ratio > 1 else f"bf16-mixed is {ratio:.1f} times as fast"
        return "bf16-mixed" if ratio > 1 else "32-true", f"{how}, the same decisions on {len(images)} images"

    def _tried(self, images: Tensor, precision: str) -> tuple[Tensor, float]:
        """Return the decisions in a precision, (N,) or (N, K), and the seconds that they took."""
        self._backend.answer(images, precision)  # the first time, memory is fetched and kernels are chosen
        start = time.perf_counter()
        logits = self._backend.answer(images, precision).cpu()
        return logits > 0 if self.model.multilabel else logits.argmax(dim=1), time.perf_counter() - start
