"""Networks by name take the images and classes that are there; unfit ones fail with the key and the way out."""

import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Network, Target
from darkroom.input.dataset import Batch
from darkroom.models.networks import build_network, network_channels
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.training.dry_run import try_step
from darkroom.transfer.pretrained import describe_weights


def named(provider: Any, name: str, *, pretrained: bool = False, **kwargs: Any) -> Network:
    return Network(provider=provider, name=name, pretrained=pretrained, kwargs=kwargs)


def around_grey(size: int, channels: int) -> Preprocessing:
    return Preprocessing(image_size=size, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)


def two_images(size: int, channels: int) -> Batch:
    return Batch(images=torch.zeros(2, channels, size, size, dtype=torch.uint8), labels=torch.tensor([0, 4]))


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("model", "size", "channels"),
    [
        (named("builtin", "small_cnn", width=4), 8, 1),
        (named("builtin", "small_cnn", width=4, stages=4, depth=2), 64, 3),
        (named("builtin", "small_resnet18"), 32, 1),
        (named("builtin", "whitened_cnn", widths=[4, 8]), 8, 1),
        (named("timm", "test_resnet"), 32, 1),
        (named("timm", "vit_tiny_patch16_224", img_size=32, depth=1), 32, 3),
        (named("torchvision", "mobilenet_v3_small"), 32, 3),
        (named("torchvision", "resnet18"), 32, 1),
        (named("torchvision", "googlenet", init_weights=False), 32, 1),
        (named("torchvision", "googlenet", init_weights=False), 32, 3),
        (Target.model_validate({"_target_": "torchvision.models.resnet18", "num_classes": 5}), 32, 3),
    ],
)
def test_logits_of_every_provider(model: Network | Target, size: int, channels: int) -> None:
    preprocessing = around_grey(size, channels)
    network = Normalized(build_network(model, num_classes=5, channels=channels), preprocessing)
    try_step(network, nn.CrossEntropyLoss(), sgd, two_images(size, channels), 5)


def test_images_are_normalised_in_front_of_the_network() -> None:
    network = Normalized(nn.Identity(), Preprocessing(image_size=1, channels=3, mean=(0.0, 0.5, 1.0), std=(0.5, 0.25, 1.0)))
    assert network(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten().tolist() == pytest.approx([2, 2, 0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (named("timm", "resnet1"), "train.model.name: timm has no network 'resnet1'; did you mean 'resnet1"),
        (named("torchvision", "resnet19"), "train.model.name: torchvision has no network 'resnet19'; did you mean"),
        (named("builtin", "smallcnn"), "builtin has no network 'smallcnn'; did you mean 'small_cnn'?"),
        (
            named("builtin", "small_cnn", widht=3),
            "train.model.kwargs.widht: small_cnn takes no such argument; did you mean 'width'?",
        ),
        (
            named("builtin", "small_cnn", pretrained=True),
            "train.model.pretrained: is true, but small_cnn has no weights",
        ),
        *(
            (named("builtin", "small_cnn", **{name: value}), f"ValueError: {name} is {value}, but must be {allowed}); correct")
            for name, value, allowed in [
                ("depth", 2**64, "a whole number from 1 to 64"),
                ("depth", 0, "a whole number from 1 to 64"),
                ("stages", 14, "a whole number from 1 to 13"),
                ("stages", 2.0, "a whole number from 1 to 13"),
                ("width", 4097, "a whole number from 1 to 4096"),
                ("width", True, "a whole number from 1 to 4096"),
                ("dropout", 1, "a number from 0 to less than 1"),
                ("dropout", "0.2", "a number from 0 to less than 1"),
            ]
        ),
        (named("timm", "test_resnet", nonsense=1), "timm's test_resnet cannot be built (TypeError"),
        (named("torchvision", "resnet18", nonsense=1), "torchvision's resnet18 cannot be built"),
    ],
)
def test_mistakes_name_the_key(model: Network, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_network(model, num_classes=5, channels=3)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_timm_weights_of_a_file_are_loaded_but_for_the_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    taught = timm.create_model("test_resnet", num_classes=10)
    torch.save(taught.state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth"), "num_classes": 10}
    model = named("timm", "test_resnet", pretrained=True, pretrained_cfg_overlay=overlay)
    network = build_network(model, num_classes=3, channels=3)
    assert torch.equal(network.state_dict()["conv1.0.weight"], taught.state_dict()["conv1.0.weight"])
    assert network.get_classifier().out_features == 3  # type: ignore[operator]
    about = describe_weights(model)
    assert about is not None
    mean, _ = about.normalisation(3)
    assert mean == tuple(taught.pretrained_cfg["mean"])
    assert about.normalisation(1)[0] == pytest.approx((sum(mean) / 3,))


def test_torchvision_weights_are_loaded_but_for_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    torch.manual_seed(0)
    taught = models.mobilenet_v3_small()
    (tmp_path / "checkpoints").mkdir()
    url = models.MobileNet_V3_Small_Weights.DEFAULT.url
    file = tmp_path / "checkpoints" / url.rpartition("/")[2]
    torch.save(taught.state_dict(), file)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    network = build_network(named("torchvision", "mobilenet_v3_small", pretrained=True), num_classes=3, channels=3)
    assert torch.equal(network.features[0][0].weight, taught.features[0][0].weight)  # type: ignore[index,union-attr]
    assert network.classifier[3].out_features == 3  # type: ignore[index,union-attr]
    grey = build_network(named("torchvision", "mobilenet_v3_small", pretrained=True), num_classes=3, channels=1)
    assert torch.allclose(grey.features[0][0].weight, taught.features[0][0].weight.sum(1, keepdim=True))  # type: ignore[index,union-attr]


@pytest.mark.parametrize(("provider", "name"), [("torchvision", "resnet18"), ("timm", "resnet18")])
def test_weights_out_of_reach_are_one_line_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], provider: str, name: str
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(
        RunError, match=rf"pretrained: the weights of {provider}'s {name} cannot be downloaded .*check the connection"
    ):
        build_network(named(provider, name, pretrained=True), num_classes=3, channels=3)
    assert time.monotonic() - start < 10
    assert "Retrying" not in "".join(capfd.readouterr())


def test_only_networks_of_transformers_see_grey_images_as_rgb() -> None:
    assert network_channels(named("huggingface", "owner/name"), 1) == 3
    assert network_channels(named("timm", "resnet18"), 1) == network_channels(named("torchvision", "resnet18"), 1) == 1


@pytest.mark.parametrize(("pooling", "expected"), [("avg", 1.0), ("max", 2.0)])
def test_global_pooling_is_an_argument_of_timm(pooling: str, expected: float) -> None:
    network: Any = build_network(named("timm", "test_resnet", global_pool=pooling), num_classes=5, channels=3)
    features = torch.tensor([[0.0, 2.0], [1.0, 1.0]]).expand(1, 1, 2, 2)
    assert network.global_pool(features).item() == expected
