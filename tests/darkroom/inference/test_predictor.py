"""Backends and precisions: predictions stay the same, the faster one is chosen, errors are one line."""

import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config
from torch.compiler import set_stance

from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams, Network, Params
from darkroom.hardware import folding
from darkroom.inference import backends
from darkroom.inference import predictor as predictors
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.inference.tta import TTAModel
from darkroom.models.model_json import Card
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import Published

pytestmark = pytest.mark.filterwarnings("ignore")
SEEN = Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.2,))
# Found, not imported: who imports it first decides whether it reports that.
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
IMAGES = torch.randint(0, 256, (70, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hardware(make_params: Callable[..., Params]) -> HardwareParams:
    return make_params({"hardware.accelerator": "cpu"}).hardware


def published(network: nn.Module | None = None, task: str = "multiclass") -> Published:
    torch.manual_seed(0)
    made = network or build_network(
        Network(provider="builtin", name="small_cnn", pretrained=False, kwargs={}), num_classes=10, channels=1
    )
    card = Card.model_construct(task=task, classes=[str(label) for label in range(10)], preprocessing=SEEN)
    return Published(Normalized(made, SEEN).eval(), card)


def logits(network: Any, images: Tensor = IMAGES) -> Tensor:
    with torch.inference_mode():
        return network(images)


def test_the_usual_predictor_differs_by_rounding_alone(hardware: HardwareParams) -> None:
    model = published()
    expected = logits(model.network)
    predictor = Predictor(model, hardware)
    torch.testing.assert_close(logits(predictor), expected, rtol=1e-5, atol=1e-6)
    assert predictor.record == {"backend": "torch", "precision": "32-true"}


def test_a_network_that_was_just_trained_predicts_as_one_that_was_loaded(hardware: HardwareParams) -> None:
    model = published()
    expected = logits(model.network)
    model.network.train()
    torch.testing.assert_close(logits(Predictor(model, hardware), IMAGES[:3]), expected[:3], rtol=1e-5, atol=1e-6)


def test_a_processor_gets_large_images_a_few_at_a_time(hardware: HardwareParams, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = published(), []
    model.network.network.head.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    expected = logits(model.network)
    predictor = Predictor(model, hardware)
    logits(predictor)
    assert max(sizes[1:]) == len(IMAGES)
    monkeypatch.setattr(folding, "PIECE_PIXELS", 20 * 8 * 8)
    del sizes[:]
    torch.testing.assert_close(logits(predictor), expected, rtol=1e-5, atol=1e-6)
    assert sizes == [20, 20, 20, 10]


def test_equal_images_have_equal_probabilities_with_any_number_of_readers(
    make_params: Callable[..., Params], photos: Any
) -> None:
    torch.manual_seed(0)
    made = build_network(
        Network(provider="builtin", name="small_cnn", pretrained=False, kwargs={"width": 4}), num_classes=2, channels=3
    )
    seen = Preprocessing(image_size=16, channels=3, mean=(0.3,) * 3, std=(0.2,) * 3)
    card = Card.model_construct(task="multiclass", classes=["red", "blue"], preprocessing=seen)
    probabilities = []
    for readers in (0, 1, 3):
        params = make_params({"hardware.num_workers": readers, "hardware.accelerator": "cpu"})
        predictor = Predictor(Published(Normalized(made, seen).eval(), card), params.hardware)
        probabilities.append(predict_rows(predictor, photos.pack, np.arange(60), batch_size=16))
    assert all(np.array_equal(probabilities[0], other) for other in probabilities[1:])


def test_bf16_is_autocast_and_warns_where_it_is_slow(
    hardware: HardwareParams, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "is_fast_at_bf16", lambda _: False)
    model = published()
    predictor = Predictor(model, hardware, "evaluate", precision="bf16-mixed")
    assert capsys.readouterr().err == (
        "warning: params.yaml: evaluate.precision: is bf16-mixed, but this device has no bf16 instructions; 32-true is faster here\n"
    )
    exact, computed = logits(model.network), logits(predictor)
    assert computed.dtype == torch.float32
    assert not torch.equal(computed, exact)
    assert (computed - exact).abs().max() < 0.05 * exact.abs().max()
    assert predictor.record["precision"] == "bf16-mixed"


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "is_fast_at_bf16", lambda _: True)


def clock(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """Let the trials of float32 and of bfloat16 take so long."""

    def times() -> Iterator[float]:
        for duration in seconds:
            yield 0.0
            yield duration
        yield from count()

    monkeypatch.setattr(predictors.time, "perf_counter", times().__next__)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize(
    ("seconds", "chosen", "why"),
    [
        ([2.0, 1.0], "bf16-mixed", "2.0 times as fast as 32-true, with the same predictions on 64 images"),
        ([1.0, 2.0], "32-true", "bf16-mixed is 0.5 times as fast, with the same predictions on 64 images"),
    ],
)
@pytest.mark.usefixtures("with_bf16")
def test_auto_takes_the_faster_one(
    hardware: HardwareParams, capsys: Any, monkeypatch: Any, task: str, seconds: list[float], chosen: str, why: str
) -> None:
    class Certain(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            bright = images.mean((1, 2, 3))[:, None]
            return torch.cat([5 + bright, -5 - bright], 1)

    clock(monkeypatch, seconds)
    predictor = Predictor(published(Certain(), task), hardware, "evaluate", precision="auto")
    logits(predictor)
    assert capsys.readouterr().out == f"evaluate: computes in {chosen}: {why}\n"
    assert predictor.record["precision"] == chosen
    logits(predictor)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("with_bf16")
def test_auto_keeps_the_predictions(hardware: HardwareParams, capsys: Any, monkeypatch: Any) -> None:
    class Close(nn.Module):
        """Separates two classes by less than bfloat16 resolves."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 2, bias=False)
            nn.init.constant_(self.head.weight, 1.0)
            self.head.weight.data[1] += 1e-3

        def forward(self, images: Tensor) -> Tensor:
            return self.head(1 + images.square().mean((1, 2, 3))[:, None])

    clock(monkeypatch, [2.0, 1.0])
    predictor = Predictor(published(Close()), hardware, precision="auto")
    assert (logits(predictor).argmax(1) == 1).all()
    assert "computes in 32-true: bf16-mixed predicts other classes 64 times on 64 images" in capsys.readouterr().out


def test_auto_tries_nothing_where_there_are_no_instructions(hardware: HardwareParams, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(backends, "is_fast_at_bf16", lambda _: False)
    predictor = Predictor(published(), hardware, precision="auto")
    logits(predictor)
    assert capsys.readouterr().out == "predict: computes in 32-true: this cpu has no bf16 instructions\n"
    assert predictor.record == {"backend": "torch", "precision": "32-true"}


@pytest.fixture
def _compiles_at_once() -> Iterator[None]:
    """Let the compiler start no processes, and trust the processor in what it can do rather than try each kind of code."""
    with config.patch({"compile_threads": 1, "cpp.vec_isa_ok": True, "cpp_cache_precompile_headers": False}):
        yield


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    return nn.Sequential(*layers).eval()


@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.thorough)])
@pytest.mark.usefixtures("_compiles_at_once")
def test_compiled_logits_are_as_before_and_the_time_is_printed(
    hardware: HardwareParams, precision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, compiled = published(small()), published(small())
    monkeypatch.setattr(folding, "PIECE_PIXELS", 20 * 8 * 8)
    sizes: list[int] = []
    expected = logits(Predictor(model, hardware, precision=precision))
    predictor = Predictor(compiled, hardware, "evaluate", backend="torch.compile", precision=precision)
    tolerance = 1e-5 if precision == "32-true" else 2e-2
    torch.testing.assert_close(logits(predictor), expected, rtol=tolerance, atol=tolerance)
    backend: Any = predictor._backend
    code = backend._compiled
    backend._compiled = lambda images: sizes.append(len(images)) or code(images)
    with set_stance("fail_on_recompile"):
        torch.testing.assert_close(logits(predictor, IMAGES[:33]), expected[:33], rtol=tolerance, atol=tolerance)
    assert sizes == [20, 20]
    said = capsys.readouterr().out
    assert re.fullmatch(rf"evaluate\.backend: torch\.compile took \d+\.\d s for {precision}\n", said), said
    assert predictor.record == {"backend": "torch.compile", "precision": precision}


def test_a_precision_is_chosen_without_code_of_its_own(
    hardware: HardwareParams, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predictors, "SAMPLE", 5)
    monkeypatch.setattr(backends, "is_fast_at_bf16", lambda _: True)
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    predictor = Predictor(published(), hardware, backend="torch.compile", precision="auto")
    logits(predictor)
    said = capsys.readouterr().out
    assert (said.count("s for 32-true"), said.count("s for bf16-mixed")) == (1, 1), said


def test_code_with_other_logits_is_refused(hardware: HardwareParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda images: network(images) * 1.1)
    predictor = Predictor(published(), hardware, "evaluate", backend="torch.compile", precision="bf16-mixed")
    message = r"^params.yaml: evaluate.backend: compiled, the network has other logits than before; set it to torch$"
    with pytest.raises(InputError, match=message):
        logits(predictor)


def test_without_a_compiler_there_is_a_way_out(hardware: HardwareParams) -> None:
    torch._dynamo.reset()
    predictor = Predictor(published(), hardware, backend="torch.compile")
    message = r"^params.yaml: predict.backend: this network cannot be compiled here \(.*\); set it to torch, or install a C"
    no_compiler = config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with no_compiler, pytest.raises(InputError, match=message) as raised:
        logits(predictor)
    assert "\n" not in str(raised.value)


@needs_openvino
def test_openvino_has_the_logits_of_torch(hardware: HardwareParams) -> None:
    model = published()
    expected = logits(model.network)
    predictor = Predictor(model, hardware, backend="openvino")
    channels_last = IMAGES.contiguous(memory_format=torch.channels_last)
    for images in (channels_last, channels_last[:7], channels_last[:1]):
        torch.testing.assert_close(logits(predictor, images), expected[: len(images)], rtol=1e-4, atol=1e-5)
    flipped = (expected + logits(model.network, IMAGES.flip(-1))) / 2
    torch.testing.assert_close(logits(TTAModel(predictor, "flip")), flipped, rtol=1e-4, atol=1e-5)
    assert set(predictor.record) == {"backend", "precision", "openvino"}
    # It reports nothing to anybody.
    assert sys.modules["openvino_telemetry"] is None


@needs_openvino
def test_openvino_refuses_bf16_that_would_be_none(hardware: HardwareParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.import_openvino("").Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(
        InputError, match=r"^params.yaml: evaluate.precision: openvino has no bf16 on this CPU; set it to 32-true"
    ):
        Predictor(published(), hardware, "evaluate", backend="openvino", precision="bf16-mixed")
    predictor = Predictor(published(), hardware, backend="openvino", precision="auto")
    logits(predictor)
    assert predictor.precision == "32-true"


@needs_openvino
def test_openvino_refuses_a_network_that_it_does_not_know(hardware: HardwareParams) -> None:

    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, : 2 + int(images.sum() > 0)]

    predictor = Predictor(published(Odd()), hardware, "evaluate", backend="openvino")
    with pytest.raises(
        InputError, match=r"^params.yaml: evaluate.backend: openvino cannot convert this network \(.*\); set it to torch$"
    ):
        logits(predictor)


def test_openvino_has_to_be_installed(hardware: HardwareParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError) as error:
        Predictor(published(), hardware, "evaluate", backend="openvino")
    assert str(error.value) == (
        "params.yaml: evaluate.backend: openvino is not installed; run 'pip install -c requirements-dev.txt openvino', or set it to torch"
    )


def test_openvino_computes_on_the_processor_alone(make_params: Callable[..., Params]) -> None:
    hardware = make_params({"hardware.accelerator": "gpu"}).hardware
    with pytest.raises(InputError, match=r"evaluate.backend: openvino computes on the CPU, but hardware.accelerator is gpu; "):
        Predictor(published(), hardware, "evaluate", backend="openvino")
