"""A trained network with the backend and precision of evaluate or predict. N images, K classes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.base import paths
from darkroom.base.errors import InputError, warn
from darkroom.base.params import HardwareParams, Params
from darkroom.hardware.devices import use_threads
from darkroom.hardware.memory import keep_freed_memory
from darkroom.inference.backends import BACKENDS, Backend
from darkroom.inference.calibrated import Rule, make_rule, read_calibration
from darkroom.input.preprocess import Preprocess, published_preprocess
from darkroom.metrics.decision import THRESHOLD, Decision
from darkroom.models.model_json import CARD
from darkroom.models.preprocessing import Preprocessing
from darkroom.models.saving import Published, load_model

# Number of images on which precisions are compared by time and predicted classes.
SAMPLE = 64
OpenModel = Callable[[], Published]


class Predictor:
    """A trained network ready to compute logits. The first images prepare the backend, and choose the precision if it is `auto`.

    Parameters
    ----------
    model
        The published model.
    hardware
        `hardware` of params.yaml.
    stage
        The stage that `backend` and `precision` belong to, for messages.
    backend, precision, threshold
        As `evaluate.backend`, `evaluate.precision` and `evaluate.threshold`.

    Attributes
    ----------
    decision : Decision
        Which classes are predicted.
    preprocess : Preprocess or None
        What every image goes through first.
    rule : Rule
        What predict makes of the probabilities.
    precision : str
        The precision; `auto` until the first images have chosen it.

    Raises
    ------
    InputError
        If the backend is not installed, or cannot compute in this precision on this machine, or the model has no threshold.
    """

    def __init__(
        self,
        model: Published,
        hardware: HardwareParams,
        stage: str = "predict",
        *,
        backend: str = "torch",
        precision: str = "32-true",
        threshold: float | None = None,
    ):
        if threshold is not None and model.card.task == "multiclass":
            raise InputError(
                f"params.yaml: {stage}.threshold: is {threshold}, but the model predicts the most probable of several classes; "
                "set it to null"
            )
        self.decision = Decision(THRESHOLD if threshold is None else threshold, model.card.positive)
        self.model, self.hardware, self.stage, self.name, self.precision = model, hardware, stage, backend, precision
        # One that was just trained would normalise each batch by itself, which depends on what else is in it.
        self._backend: Backend = BACKENDS[backend](model.network.eval(), hardware, f"{stage}.backend")
        self._is_ready = False
        self.preprocess: Preprocess | None = None
        self.rule = Rule(self.decision, None, model.multilabel, is_calibrated=False)
        key = f"{stage}.precision"
        if precision != "auto":
            self._backend.check(precision, key)
        if precision == "bf16-mixed" and not self._backend.has_bf16:
            warn(f"params.yaml: {key}: is bf16-mixed, but this device has no bf16 instructions; 32-true is faster here")

    @classmethod
    def load(cls, model: Path | OpenModel, params: Params, stage: str) -> Self:
        """Load the model of a folder, or another one, with backend and precision of `evaluate` or `predict` in params.yaml."""
        name = paths.shown(model) if isinstance(model, Path) else "model"
        keep_freed_memory()
        published = load_model(model, params, name) if isinstance(model, Path) else model()
        use_threads(published.card.threads)
        how = getattr(params, stage).model_dump(include={"backend", "precision", "threshold"})
        rule = None
        if stage == "predict":
            card, predict = published.card, params.predict
            if not card.params:  # of weights that nobody trained here, which have no calibration to miss
                predict = predict.model_copy(update={"calibrated": False})
            content = read_calibration(model, name) if isinstance(model, Path) else published.calibration
            rule = make_rule(
                predict,
                content,
                name=published.name,
                weights_sha256=card.weights_sha256,
                task=card.task,
                positive=card.positive,
            )
            how["threshold"] = None
        predictor = cls(published, params.hardware, stage, **how)
        if rule is not None:
            predictor.rule, predictor.decision = rule, rule.decision
        predictor.preprocess = published_preprocess(params, predictor.seen, f"{name}/{CARD}")
        return predictor

    @property
    def seen(self) -> Preprocessing:
        """What the network expects of an image."""
        return self.model.card.preprocessing

    @property
    def device(self) -> torch.device:
        """The device."""
        return self._backend.device

    @property
    def record(self) -> dict[str, str]:
        """What the results depend on slightly, to be recorded with them: backend, precision, package versions."""
        return {"backend": self.name, "precision": self.precision, **self._backend.packages}

    @property
    def about(self) -> dict[str, Any]:
        """Classes, kind of labels, what is predicted, and backend, for `Predictions`."""
        kind = {"multilabel": self.model.multilabel, "decision": self.decision}
        return {"classes": self.model.card.classes, **kind, "backend": {**self.record, **self.rule.record}}

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) uint8; of a binary task 0 for the class that has no output."""
        if not self._is_ready:
            self._backend.prepare(images)
            if self.precision == "auto":
                self.precision, why = self._choose_precision(images[:SAMPLE])
                print(f"{self.stage}: computes in {self.precision}: {why}", flush=True)
            self._is_ready = True
        logits = self._backend.logits(images, self.precision)
        positive = self.decision.positive
        # Their softmax is the sigmoid of the one output, and its complement.
        return logits if positive is None else functional.pad(logits, (positive, 1 - positive))

    def _choose_precision(self, images: Tensor) -> tuple[str, str]:
        """Return the faster precision and why; bf16-mixed only if it predicts the same classes for all of some images."""
        if not self._backend.has_bf16:
            return "32-true", f"this {self.device.type} has no bf16 instructions"
        predictions, seconds = zip(
            *(self._try_precision(images, precision) for precision in ("32-true", "bf16-mixed")), strict=True
        )
        differing = int((predictions[0] != predictions[1]).sum())
        if differing:
            return "32-true", f"bf16-mixed predicts other classes {differing} times on {len(images)} images"
        ratio = seconds[0] / seconds[1]
        how = f"{ratio:.1f} times as fast as 32-true" if ratio > 1 else f"bf16-mixed is {ratio:.1f} times as fast"
        return "bf16-mixed" if ratio > 1 else "32-true", f"{how}, with the same predictions on {len(images)} images"

    def _try_precision(self, images: Tensor, precision: str) -> tuple[Tensor, float]:
        """Return the predictions in a precision, (N,) or (N, K), and the seconds they took."""
        self._backend.logits(images, precision)  # warm-up: allocates memory and chooses kernels
        start = time.perf_counter()
        logits = self._backend.logits(images, precision).cpu()
        return logits > 0 if self.model.card.task != "multiclass" else logits.argmax(dim=1), time.perf_counter() - start
