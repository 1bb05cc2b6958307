"""Folded networks have the same logits; what cannot be folded is left unchanged."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.params import Network
from darkroom.hardware.folding import TOLERANCE, fold_batch_norm
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing

pytestmark = pytest.mark.filterwarnings("ignore")
COLOUR = Preprocessing(image_size=64, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3))


def trained(network: nn.Module) -> nn.Module:
    """Give every normalisation statistics and weights of its own, as training would."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            for parameter, mean in ((module.weight, 1.0), (module.bias, 0.0)):
                if parameter is not None:
                    nn.init.normal_(parameter, mean, 0.2)
    return network.eval()


def num_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def make_images() -> Tensor:
    return torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("provider", "name", "left"),
    [
        ("builtin", "small_cnn", 0),
        ("builtin", "small_resnet18", 0),
        ("builtin", "whitened_cnn", 3),  # pooled before it is normalised
        ("torchvision", "resnet18", 0),
        ("torchvision", "mobilenet_v3_small", 0),
        ("timm", "resnet18", 0),
        ("timm", "mobilenetv3_small_050", 0),  # normalisation and activation in one module
    ],
)
def test_folded_networks_have_the_same_logits(provider: str, name: str, left: int) -> None:
    torch.manual_seed(0)
    model = Network(provider=provider, name=name, pretrained=False, kwargs={})
    network = trained(Normalized(build_network(model, num_classes=5, channels=3), COLOUR))
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norm(network, make_images())
    assert num_norms(folded) == left < num_norms(network)
    with torch.no_grad():
        expected, logits = network(make_images()), folded(make_images())
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=TOLERANCE * float(expected.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Small(nn.Module):
    """A convolution and its normalisation, called in a given way."""

    def __init__(self, call: Callable[["Small", Tensor], Tensor], *, norm: nn.Module | None = None):
        super().__init__()
        self.convolution, self.norm, self.call = nn.Conv2d(3, 3, 3, padding=1), norm or nn.BatchNorm2d(3), call

    def forward(self, images: Tensor) -> Tensor:
        return self.call(self, images.float() / 255).mean((2, 3))


def used_twice(net: Small, images: Tensor) -> Tensor:
    features = net.convolution(images)
    return features + net.norm(features)


def called_twice(net: Small, images: Tensor) -> Tensor:
    return net.norm(net.convolution(images)) + net.convolution(images)


def normalised_twice(net: Small, images: Tensor) -> Tensor:
    return net.norm(net.norm(net.convolution(images)))


def changed_in_place(net: Small, images: Tensor) -> Tensor:
    features = net.convolution(images)
    features.relu_()
    return net.norm(features)


def read_by_a_view(net: Small, images: Tensor) -> Tensor:
    features = net.convolution(images)
    view = features[:, :1]
    return net.norm(features) + view


def standardised(net: Small, images: Tensor) -> Tensor:
    weight = net.convolution.weight
    return net.norm(functional.conv2d(images, weight - weight.mean((1, 2, 3), keepdim=True), padding=1))


def normalised_first(net: Small, images: Tensor) -> Tensor:
    return net.convolution(net.norm(images))


def taken_in_a_list(net: Small, images: Tensor) -> Tensor:
    features = net.convolution(images)
    return torch.cat([net.norm(features), features])[: len(images)]


@pytest.mark.parametrize(
    "call",
    [
        *(used_twice, called_twice, normalised_twice, changed_in_place),
        *(read_by_a_view, standardised, normalised_first, taken_in_a_list),
    ],
)
def test_what_is_used_elsewhere_is_not_folded(call: Callable[[Small, Tensor], Tensor]) -> None:
    network = trained(Small(call))
    assert fold_batch_norm(network, make_images()) is network


def test_the_plain_way_is_folded() -> None:
    def plain(net: Small, images: Tensor) -> Tensor:
        features = net.convolution(images)
        assert features.shape[1] == features.size(1) == 3  # to ask is no use
        return net.norm(features)

    folded = fold_batch_norm(trained(Small(plain)), make_images())
    assert num_norms(folded) == 0


def test_normalisations_of_ones_own_stay() -> None:
    class Own(nn.BatchNorm2d):
        def forward(self, images: Tensor) -> Tensor:
            return 2 * super().forward(images)

    network = trained(Small(lambda net, images: net.norm(net.convolution(images)), norm=Own(3)))
    assert fold_batch_norm(network, make_images()) is network


def test_a_network_whose_logits_would_change_stays() -> None:
    """A hook that looks at the normalisation's own output is no call of torch, and is lost with the module."""
    network = trained(Small(lambda net, images: net.norm(net.convolution(images))))
    network.norm.register_forward_hook(lambda *given: 3 * given[2])
    assert fold_batch_norm(network, make_images()) is network
