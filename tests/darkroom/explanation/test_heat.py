"""Heat lies where the class is decided, and for another class it does not."""

from typing import Any

import numpy as np
import pytest
import torch
from explanation_fixtures import build, corners, normalized, share, train
from torch import Tensor, nn

from darkroom.explanation.heat import Explainer
from darkroom.explanation.spatial_layer import replaced
from darkroom.models.preprocessing import Normalized

COLOURS = np.arange(24) % 3
PLACES = np.arange(24) // 3 % 4


def one_patch() -> Tensor:
    return corners(COLOURS[:, None].tolist(), PLACES[:, None].tolist(), seed=1000)


def two_patches() -> tuple[Tensor, Any, Any]:
    """Return images with a second patch, of another class, in the opposite corner; its colours and places."""
    others, opposite = (COLOURS + 1) % 3, 3 - PLACES
    images = corners(np.stack([COLOURS, others], 1).tolist(), np.stack([PLACES, opposite], 1).tolist(), seed=1001)
    return images, others, opposite


def test_heat_lies_in_the_corner_that_decides(small_cnn: Normalized) -> None:
    images = one_patch()
    assert (small_cnn(images).argmax(1).numpy() == COLOURS).all()
    explainer = Explainer(small_cnn, images)
    heat = explainer.heat(images, COLOURS)
    assert heat.shape == (24, 32, 32)
    assert np.allclose(heat.max(axis=(1, 2)), 1)
    assert heat.min() >= 0
    assert share(heat, PLACES).min() > 0.9
    # Nothing in the corner speaks for a class that is not there.
    assert share(explainer.heat(images, (COLOURS + 1) % 3), PLACES).mean() < 0.1


def test_the_class_asked_for_decides_where_heat_lies(small_cnn: Normalized) -> None:
    images, others, opposite = two_patches()
    explainer = Explainer(small_cnn, images)
    assert share(explainer.heat(images, COLOURS), PLACES).min() > 0.9
    assert share(explainer.heat(images, others), opposite).min() > 0.9


def test_of_a_network_that_learned_from_shuffled_labels_no_class_has_more_heat_there() -> None:
    network = build("small_cnn", width=8)
    generator = torch.Generator().manual_seed(0)
    train(network, lambda colours: colours[torch.randperm(len(colours), generator=generator)], 60, 3e-3)
    images = one_patch()
    explainer = Explainer(network, images)
    own, other = (share(explainer.heat(images, classes), PLACES).mean() for classes in (COLOURS, (COLOURS + 1) % 3))
    assert abs(own - other) < 0.3


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "steps", "lr"),
    [
        (build("whitened_cnn", widths=[16, 32, 32]), 60, 3e-3),
        pytest.param(build("small_vit", width=48, depth=2), 150, 1e-3, marks=pytest.mark.thorough),
        pytest.param(build("small_resnet", depth=1), 60, 3e-3, marks=pytest.mark.thorough),
        pytest.param(
            build("vit_tiny_patch16_224", "timm", img_size=32, patch_size=4, embed_dim=48, depth=3, num_heads=3),
            150,
            1e-3,
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["whitened_cnn", "small_vit", "small_resnet", "class token"],
)
def test_other_networks_too(network: Normalized, steps: int, lr: float) -> None:
    train(network, lambda colours: colours, steps, lr)
    images, others, opposite = two_patches()
    explainer = Explainer(network, images)
    first, second = explainer.heat(images, COLOURS), explainer.heat(images, others)
    assert share(first, PLACES).mean() > 0.7
    assert share(second, opposite).mean() > 0.7
    assert share(first, opposite).mean() < 0.2


@pytest.mark.thorough
def test_networks_side_by_side_are_added_up() -> None:
    network = build("side_by_side", networks=["test_efficientnet", "test_resnet"])
    train(network, lambda colours: colours, 60, 3e-3)
    images, others, opposite = two_patches()
    explainer = Explainer(network, images)
    assert [layer.name.split(".")[:2] for layer in explainer.layers] == [["networks", "0"], ["networks", "1"]]
    both = explainer.heat(images, COLOURS)
    assert share(both, PLACES).mean() > 0.8
    assert share(explainer.heat(images, others), opposite).mean() > 0.8
    made: Any = network.network
    with torch.no_grad():
        made.head.weight[:, : made.networks[0].num_features] = 0  # the first has no influence any more
    second = explainer.heat(images, COLOURS)
    assert np.abs(second - both).max() > 0.1
    explainer.layers = explainer.layers[1:]
    assert np.array_equal(explainer.heat(images, COLOURS), second)


def test_a_binary_network_has_heat_for_either_class() -> None:
    network = build("small_cnn", num_classes=1, width=8)
    train(network, lambda colours: colours == 1, 60, 3e-3)
    colours = np.full(8, 1)
    places = np.arange(8) % 4
    images = corners(colours[:, None].tolist(), places[:, None].tolist(), seed=1000)
    explainer = Explainer(network, images, positive=1)
    assert share(explainer.heat(images, np.full(8, 1)), places).min() > 0.8
    assert share(explainer.heat(images, np.full(8, 0)), places).mean() < 0.5


@pytest.mark.parametrize("channels", [1, 5])
def test_grey_images_and_bands(channels: int) -> None:
    network = build("small_cnn", channels=channels, width=4)
    images = torch.randint(0, 256, (3, channels, 32, 32), dtype=torch.uint8)
    assert Explainer(network, images[:1]).heat(images, np.array([0, 1, 2])).shape == (3, 32, 32)


def test_where_a_mean_over_places_comes_last_it_is_grad_cam(small_cnn: Normalized) -> None:
    images = one_patch()[:4]
    explainer = Explainer(small_cnn, images)
    found: list[Tensor] = []
    with replaced(small_cnn.network, "features", 0, lambda output: (found.append(output.detach().requires_grad_()), found[0])[1]):
        logits = small_cnn(images)
    (gradients,) = torch.autograd.grad(logits[:, 0].sum(), found)
    cam = (gradients.mean(dim=(2, 3), keepdim=True) * found[0]).sum(dim=1).relu()
    expected = nn.functional.interpolate(cam[:, None], (32, 32), mode="bilinear")[:, 0].detach().numpy()
    heat = explainer.heat(images, np.zeros(4, np.int64))
    assert np.allclose(heat, expected / expected.max(axis=(1, 2), keepdims=True), atol=1e-5)


def test_heat_does_not_depend_on_the_batch_and_leaves_the_network_as_it_was(small_cnn: Normalized) -> None:
    images = one_patch()
    before = {name: value.requires_grad for name, value in small_cnn.named_parameters()}
    explainer = Explainer(small_cnn, images)
    together = explainer.heat(images, COLOURS)
    alone = np.concatenate([explainer.heat(image[None], COLOURS[place : place + 1]) for place, image in enumerate(images)])
    assert np.allclose(together, alone, atol=1e-4)
    assert {name: value.requires_grad for name, value in small_cnn.named_parameters()} == before
    assert all(value.grad is None or not value.grad.is_inference() for value in small_cnn.parameters())
    assert not any(module._forward_hooks for module in small_cnn.modules())


def test_nothing_speaks_for_a_class_without_weights() -> None:
    network = normalized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    with torch.no_grad():
        network.network[4].weight[1] = 0
    images = one_patch()[:2]
    heat = Explainer(network, images).heat(images, np.array([1, 1]))
    assert np.array_equal(heat, np.zeros((2, 32, 32)))
