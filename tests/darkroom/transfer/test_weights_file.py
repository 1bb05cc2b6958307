"""`train.model.weights`: a file of weights of any project is pinned, taken where it fits, and never runs code."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.models.networks import build_network
from darkroom.transfer.trainable import TrainableModel, build_model
from darkroom.transfer.weights_file import open_file, open_model_weights

pytestmark = pytest.mark.filterwarnings("ignore")
NETWORKS: dict[str, dict[str, Any]] = {
    "builtin": {"provider": "builtin", "name": "small_cnn", "pretrained": False, "kwargs": {"width": 4, "stages": 2}},
    "timm": {"provider": "timm", "name": "resnet10t", "pretrained": False, "kwargs": {}},
    "torchvision": {"provider": "torchvision", "name": "squeezenet1_1", "pretrained": False, "kwargs": {}},
    "target": {"_target_": "darkroom.models.builtin.small_cnn.SmallCNN", "width": 4, "stages": 2},
}


def weights_of(model: dict[str, Any], make_params: Callable[..., Params], num_classes: int = 10) -> dict[str, Tensor]:
    torch.manual_seed(5)
    choice = make_params({"train.model": model, "train.image_size": 32}).train.model
    return build_network(choice, num_classes=num_classes, channels=1).state_dict()


def pinned(path: Path, model: dict[str, Any]) -> dict[str, Any]:
    return {**model, "weights": str(path), "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture
def built(make_params: Callable[..., Params], digits: Any) -> Callable[[dict[str, Any]], TrainableModel]:
    def build(model: dict[str, Any]) -> TrainableModel:
        params = make_params({"train.model": model, "train.image_size": 32, "hardware.accelerator": "cpu"})
        return build_model(params, digits.pack, digits.split.rows["train"])

    return build


def inner(model: TrainableModel) -> dict[str, Tensor]:
    return model.network.network.state_dict()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_provider_takes_a_file(built: Any, make_params: Any, tmp_path: Path, name: str) -> None:
    weights, path = weights_of(NETWORKS[name], make_params), tmp_path / "w.safetensors"
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    model = built(pinned(path, NETWORKS[name]))
    assert all(torch.equal(value, weights[key]) for key, value in inner(model).items())
    first = ", ".join(list(weights)[:3])
    assert model.loaded == f"loaded {len(weights)} of {len(weights)} tensors from {path} ({first}, … {len(weights)} in all)"
    assert model.origin.sha256 == {"w.safetensors": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_network_of_transformers_takes_a_file(make_params: Any, digits: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=10)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "hf")
    model = {"provider": "huggingface", "name": str(tmp_path / "hf"), "pretrained": False, "kwargs": {}}
    network = transformers.ResNetForImageClassification(config)
    path = tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    params = make_params({"train.model": pinned(path, model), "train.image_size": 32, "hardware.accelerator": "cpu"})
    built = build_model(params, digits.pack, digits.split.rows["train"])
    own = {name.removeprefix("network."): value for name, value in inner(built).items()}
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


PREFIXES = ["", "model.", "module.", "_orig_mod.", "model._orig_mod.", "module._orig_mod.model.", "net."]


@pytest.mark.parametrize(("prefix", "inside"), [("", None), *((each, "state_dict") for each in PREFIXES), ("module.", "model")])
def test_prefixes_and_checkpoints_are_understood(
    built: Any, make_params: Any, tmp_path: Path, prefix: str, inside: str | None
) -> None:
    weights, path = weights_of(NETWORKS["builtin"], make_params), tmp_path / "last.ckpt"
    content: dict[str, Any] = {prefix + name: value for name, value in weights.items()} | {"criterion.weight": torch.ones(10)}
    torch.save({inside: content, "epoch": 3} if inside else content, path)
    model = built(pinned(path, NETWORKS["builtin"]))
    assert all(torch.equal(value, weights[key]) for key, value in inner(model).items())
    assert model.loaded.endswith("; left out criterion.weight")


def test_only_the_head_may_have_another_shape(built: Any, make_params: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    weights = weights_of(NETWORKS["builtin"], make_params, num_classes=7)
    torch.save(weights, path)
    model = built(pinned(path, NETWORKS["builtin"]))
    own = inner(model)
    assert model.loaded.endswith("; left out head.weight, head.bias; new head.weight, head.bias")
    assert all(torch.equal(value, weights[name]) for name, value in own.items() if not name.startswith("head"))
    for change in ({"width": 8, "stages": 2}, {"width": 4, "stages": 3}, {"width": 4, "stages": 1}):
        with pytest.raises(
            InputError, match=r"train\.model\.weights: .*other\.pth does not fit train\.model \(.*set train\.model to"
        ):
            built(pinned(path, {**NETWORKS["builtin"], "kwargs": change}))


def test_a_backbone_without_a_head_is_taken(built: Any, make_params: Any, tmp_path: Path) -> None:
    path = tmp_path / "backbone.pth"
    weights = {name: value for name, value in weights_of(NETWORKS["builtin"], make_params).items() if not name.startswith("head")}
    torch.save(weights, path)
    assert built(pinned(path, NETWORKS["builtin"])).loaded.endswith("; new head.weight, head.bias")


@pytest.mark.parametrize("name", ["builtin", "target"])
def test_the_content_is_pinned(built: Any, make_params: Any, tmp_path: Path, name: str) -> None:
    """Two files under one name never give the same params.yaml, and so not the same dvc.lock."""
    path = tmp_path / "w.pth"
    torch.save(weights_of(NETWORKS[name], make_params), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    without = {**NETWORKS[name], "weights": str(path)}
    with pytest.raises(
        InputError, match=rf"train\.model\.weights_sha256: is missing, but .* has to be pinned; set it to {digest}$"
    ):
        built(without)
    chosen = pinned(path, NETWORKS[name])
    torch.save({"other": torch.ones(3)}, path)
    with pytest.raises(
        InputError, match=r"train\.model\.weights_sha256: is not that of .*; restore the file, or set the key to this"
    ):
        built(chosen)
    path.unlink()
    with pytest.raises(InputError, match=r"train\.model\.weights: .*w\.pth does not exist; correct the path"):
        built(chosen)


class Planted:
    def __reduce__(self) -> Any:
        return print, ("ran",)


def test_no_code_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "whole.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(
        InputError, match=r"^key: whole\.pth holds more than tensors, and opening it could run code; save its weights"
    ):
        open_file("key", "whole.pth", path.read_bytes())
    with pytest.raises(InputError, match=r"^key: x\.ckpt (holds more than tensors|is damaged)"):
        open_file("key", "x.ckpt", pickle.dumps(Planted()))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"PK\x03\x04" + b"x" * 100])
def test_damage_is_one_line(name: str, content: bytes) -> None:
    with pytest.raises(InputError, match=rf"^key: {name} (is damaged|holds more than tensors)") as caught:
        open_file("key", name, content)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_weights() -> None:
    with pytest.raises(InputError, match=r"^key: x\.jpg is no file of weights; name one that ends with \.safetensors, "):
        open_file("key", "x.jpg", b"")


def test_one_source_of_weights(make_params: Callable[..., Params]) -> None:
    model = {**NETWORKS["timm"], "weights": "w.pth", "weights_sha256": "0" * 64}
    with pytest.raises(InputError, match=r"train\.model\.weights: is w\.pth, and train\.init_from names other weights"):
        make_params({"train.model": model, "train.init_from": "main"})
    with pytest.raises(InputError, match=r"train\.model\.weights: is w\.pth, and train\.model\.pretrained names other weights"):
        make_params({"train.model": {**model, "pretrained": True}, "train.init_from": None})


def test_an_argument_of_that_name_stays_one(make_params: Callable[..., Params]) -> None:
    target = make_params({"train.model": {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"}}).train.model
    assert target.arguments == {"weights": "DEFAULT"}  # type: ignore[union-attr]
    assert open_model_weights(target) is None
