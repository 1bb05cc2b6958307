"""The built-in network for small images. N images, C channels, H by W pixels, K classes."""

from torch import Tensor, nn

from darkroom.models.builtin.blocks import conv_norm_act

# Limits for what a model file may ask for: building the network ends.
MOST = {"width": 4096, "stages": 13, "depth": 64}


class SmallCNN(nn.Module):
    """A convolutional network for images of up to 64 pixels; it trains in seconds on a CPU at 8 pixels.

    Stages of 3x3 convolutions with batch normalisation, halving the image between stages, then the global average.

    Parameters
    ----------
    num_classes
        K, the number of logits.
    in_channels
        C, 1 for grey images and 3 for colour.
    width
        Channels of the first stage, 1 to 4096; each further stage has twice as many.
    stages
        Number of stages, 1 to 13; the image is halved between them, so it needs at least 2 ** (stages - 1) pixels a side.
    depth
        Convolutions per stage, 1 to 64; 2 or 3 suit colour images.
    dropout
        Probability of dropping a feature before the last layer, less than 1.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    def __init__(
        self, num_classes: int, in_channels: int, *, width: int = 32, stages: int = 3, depth: int = 1, dropout: float = 0.2
    ):
        super().__init__()
        _check(dropout, width=width, stages=stages, depth=depth)
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in range(stages):
            if stage > 0:
                layers.append(nn.MaxPool2d(2))  # N C H W -> N C H/2 W/2
            wide = width * 2**stage
            for _ in range(depth):
                layers += conv_norm_act(channels, wide)
                channels = wide
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, C, H, W)."""
        features = self.pool(self.features(images)).flatten(1)  # N, channels
        logits: Tensor = self.head(self.dropout(features))
        return logits


def _check(dropout: float, **numbers: int) -> None:
    for name, number in numbers.items():
        if type(number) is not int or not 1 <= number <= MOST[name]:
            raise ValueError(f"{name} is {number}, but must be a whole number from 1 to {MOST[name]}")
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}, but must be a number from 0 to less than 1")
