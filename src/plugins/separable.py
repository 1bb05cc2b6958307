"""An own network from `darkroom.models.builtin.blocks`; `conf/search/depth_and_width.yaml` searches for its size."""

from torch import Tensor, nn

from darkroom.models.builtin.blocks import DepthwiseSeparable, SqueezeExcite, conv_norm_act


class SeparableNet(nn.Module):
    """Depthwise separable convolutions, with channels weighted after each; every second one halves the image."""

    def __init__(self, num_classes: int, in_channels: int, width: int = 32, depth: int = 4):
        super().__init__()
        layers: list[nn.Module] = [conv_norm_act(in_channels, width)]
        for place in range(depth):
            layers += [DepthwiseSeparable(width, width, stride=1 + place % 2), SqueezeExcite(width)]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        logits: Tensor = self.head(self.layers(images).mean(dim=(2, 3)))
        return logits
