"""The first convolution of every provider takes as many channels as the images have; pretrained weights are adapted as timm does."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification, ViTImageProcessor

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Network, Target
from darkroom.models import networks
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.probe_network import make_probe
from darkroom.models.stem import adapt_stem
from darkroom.transfer.pretrained import Pretrained

pytestmark = pytest.mark.filterwarnings("ignore")
VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def named(provider: Any, name: str, *, pretrained: bool = False, **kwargs: Any) -> Network:
    return Network(provider=provider, name=name, pretrained=pretrained, kwargs=kwargs)


@pytest.mark.parametrize(
    "model",
    [
        named("builtin", "small_cnn", width=4),
        named("builtin", "small_resnet18"),
        named("builtin", "whitened_cnn", widths=[128, 8]),
        named("timm", "test_resnet"),
        named("timm", "test_vit", img_size=32),
        named("torchvision", "squeezenet1_1"),
        named("torchvision", "swin_t"),
        Target.model_validate({"_target_": "darkroom.models.builtin.small_cnn.SmallCNN", "width": 4}),
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [4, 16])
def test_every_provider_takes_any_number_of_channels(model: Network | Target, channels: int) -> None:
    """Each of the channels has an influence on the logits."""
    torch.manual_seed(0)
    network: Any = build_network(model, num_classes=3, channels=channels).eval()
    if hasattr(network, "fit_to"):
        network.fit_to(torch.randn(20, channels, 32, 32))
    images = torch.rand(2, channels, 32, 32, requires_grad=True)
    logits = network(images)
    assert logits.shape == (2, 3)
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    assert (gradient.abs().sum(dim=(0, 2, 3)) > 0).all()


def rgb_weights(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Let torchvision's pretrained weights be random ones, so that nothing is downloaded."""
    torch.manual_seed(1)
    weights = models.squeezenet1_1().state_dict()
    monkeypatch.setattr(models.SqueezeNet1_1_Weights.DEFAULT.__class__, "get_state_dict", lambda *_, **__: weights)
    stem: torch.Tensor = weights["features.0.weight"]
    return stem


@pytest.mark.parametrize("channels", [1, 4, 6, 13])
def test_a_pretrained_stem_is_repeated_and_scaled(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    stem = rgb_weights(monkeypatch)
    network: Any = build_network(named("torchvision", "squeezenet1_1", pretrained=True), num_classes=3, channels=channels)
    found = network.features[0].weight
    if channels == 1:
        assert torch.allclose(found, stem.sum(dim=1, keepdim=True))
        return
    for channel in range(channels):
        assert torch.allclose(found[:, channel], stem[:, channel % 3] * 3 / channels, atol=1e-7)


def test_the_response_to_equal_channels_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3))
    grey = torch.rand(1, 1, 9, 9)
    before = network(grey.expand(-1, 3, -1, -1))
    adapt_stem(network, 6)
    assert torch.allclose(network(grey.expand(-1, 6, -1, -1)), before, atol=1e-5)
    adapt_stem(network, 1)
    assert network[0].in_channels == 1


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_networks_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, pretrained: bool) -> None:
    """They are built again from the configuration that model.json records, with the same logits."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    torch.manual_seed(0)
    made: Any = (
        ViTForImageClassification(ViTConfig(**VIT, image_size=32, patch_size=8, num_labels=7))
        if kind == "vit"
        else ResNetForImageClassification(ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=7))
    )
    made.save_pretrained(tmp_path / kind)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / kind)
    model = named("huggingface", kind, pretrained=pretrained)
    network: Any = build_network(model, num_classes=3, channels=5).eval()
    images = torch.rand(2, 5, 32, 32)
    assert network(images).shape == (2, 3)
    assert network.config["num_channels"] == 5
    if pretrained:
        first = next(layer for layer in made.modules() if isinstance(layer, nn.Conv2d)).weight
        stem = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d)).weight
        assert torch.allclose(stem[:, 4], first[:, 1] * 3 / 5, atol=1e-6)
    again = build_network(model, num_classes=3, channels=5, config=json.loads(json.dumps(network.config))).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(images), network(images))


def test_a_normalisation_of_rgb_is_not_used_for_bands() -> None:
    weights = Pretrained((0.4, 0.5, 0.6), (0.2, 0.2, 0.2), 32, None)  # type: ignore[arg-type]
    assert weights.normalisation(3) == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    assert weights.normalisation(1) == ((0.5,), (pytest.approx(0.2),))
    assert weights.normalisation(4) is None
    assert weights.normalisation(3, "uint16") is None


def test_values_are_normalised_by_their_scale() -> None:
    network = Normalized(nn.Identity(), Preprocessing(image_size=1, channels=1, mean=(0.5,), std=(0.25,)))
    assert network(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)).item() == 2
    for dtype in ("uint16", "float32"):
        network = Normalized(nn.Identity(), Preprocessing(image_size=1, channels=1, mean=(0.5,), std=(0.25,), dtype=dtype))
        assert network(torch.ones(1, 1, 1, 1)).item() == 2


def test_a_probe_tells_images_of_numbers_from_features() -> None:
    seen = Preprocessing(image_size=8, channels=4, mean=(0.0,) * 4, std=(1.0,) * 4, dtype="float32")
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(4, 2, 8), nn.Flatten(), nn.Linear(2, 3))
    images = torch.rand(3, 4, 8, 8)
    probe = make_probe(inner, seen, images)
    assert torch.allclose(probe(probe.features(images)), probe(images))
    same = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 8))
    with pytest.raises(InputError, match=r"train\.cache_features"):
        make_probe(same, seen, images)


def test_a_card_of_an_earlier_version_is_understood() -> None:
    """Its images were cropped to a square of 8-bit grey or RGB."""
    earlier = {"image_size": 8, "channels": 1, "mean": [0.5], "std": [0.25], "resize": None}
    seen = Preprocessing.model_validate_json(json.dumps(earlier))
    assert (seen.shape, seen.way, seen.dtype, seen.bands, seen.steps) == ((8, 8), "crop", "uint8", None, [])


@pytest.mark.parametrize("provider", ["builtin", "timm", "torchvision", "huggingface"])
def test_no_last_layer_names_the_key_for_embeddings(provider: str) -> None:
    model = named(provider, "small_cnn", num_classes=0)
    with pytest.raises(InputError, match=r"train\.model\.kwargs\.num_classes: is 0, .*remove it, and set predict\.embeddings"):
        build_network(model, num_classes=3, channels=3)
    with pytest.raises(InputError, match=r"train\.model\.num_classes: is 0, .*predict\.embeddings"):
        build_network(Target.model_validate({"_target_": "timm.models.test_resnet", "num_classes": 0}), num_classes=3, channels=3)


def test_another_number_of_classes_is_refused() -> None:
    for name in ("num_classes", "num_labels"):
        with pytest.raises(InputError, match=rf"train\.model\.kwargs\.{name}: is 7, .*; remove it"):
            build_network(named("timm", "test_resnet", **{name: 7}), num_classes=3, channels=3)
    assert networks.network_channels(named("huggingface", "x"), 4) == 4
