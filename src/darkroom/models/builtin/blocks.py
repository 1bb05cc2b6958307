"""Parts of networks, for the built-in ones and for your own in src/plugins.

Each is built with its numbers of channels and called with a batch. N images, C channels, H by W pixels, T tokens, D features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_norm_act(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, groups: int = 1, *, act: bool = True
) -> nn.Sequential:
    """Return a convolution, batch normalisation and ReLU, the last only if `act`.

    From (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)) for an odd `kernel_size`.
    """
    # Batch normalisation adds the bias.
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), *([nn.ReLU(inplace=True)] if act else []))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Parameters
    ----------
    in_channels, out_channels
        Numbers of channels; the shortcut is a 1x1 convolution where they differ or `stride` is not 1.
    stride
        Of the first convolution.
    squeeze_excite
        Whether channels are weighted by `SqueezeExcite` before the sum.

    References
    ----------
    He et al. 2016, https://arxiv.org/abs/1512.03385, figure 2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, squeeze_excite: bool = False):
        super().__init__()
        self.residual = nn.Sequential(
            conv_norm_act(in_channels, out_channels, stride=stride),
            conv_norm_act(out_channels, out_channels, act=False),
            *([SqueezeExcite(out_channels)] if squeeze_excite else []),
        )
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return functional.relu(self.residual(images) + self.shortcut(images))


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution beside a shortcut; the first reduces the channels, the last restores them.

    From (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Parameters
    ----------
    in_channels, out_channels
        Numbers of channels; the shortcut is a 1x1 convolution where they differ or `stride` is not 1.
    stride
        Of the 3x3 convolution.
    reduction
        The 3x3 convolution has out_channels / reduction channels.
    squeeze_excite
        Whether channels are weighted by `SqueezeExcite` before the sum.

    References
    ----------
    He et al. 2016, https://arxiv.org/abs/1512.03385, figure 5; the stride is where torchvision has it ("ResNet V1.5").
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, reduction: int = 4, squeeze_excite: bool = False):
        super().__init__()
        narrow = max(1, out_channels // reduction)
        self.residual = nn.Sequential(
            conv_norm_act(in_channels, narrow, 1),
            conv_norm_act(narrow, narrow, stride=stride),
            conv_norm_act(narrow, out_channels, 1, act=False),
            *([SqueezeExcite(out_channels)] if squeeze_excite else []),
        )
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return functional.relu(self.residual(images) + self.shortcut(images))


class SqueezeExcite(nn.Module):
    """Weights each channel by a number from 0 to 1 that depends on the means of all channels: (N, C, H, W) to the same.

    Parameters
    ----------
    channels
        C.
    reduction
        The layer between has C / reduction features.

    References
    ----------
    Hu et al. 2018, https://arxiv.org/abs/1709.01507.
    """

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        narrow = max(1, channels // reduction)
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, narrow, 1), nn.ReLU(inplace=True), nn.Conv2d(narrow, channels, 1), nn.Sigmoid()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        weighted: Tensor = images * self.weigh(images.mean(dim=(2, 3), keepdim=True))
        return weighted


class DepthwiseSeparable(nn.Sequential):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution across channels, each normalised and with ReLU.

    From (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)); about a ninth of a 3x3 convolution's
    multiplications.

    References
    ----------
    Howard et al. 2017, https://arxiv.org/abs/1704.04861.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(
            conv_norm_act(in_channels, in_channels, stride=stride, groups=in_channels),
            conv_norm_act(in_channels, out_channels, 1),
        )


class PatchEmbedding(nn.Module):
    """Cuts images into patches and maps each to features: (N, in_channels, H, W) to (N, T, D), T = (H / patch) * (W / patch).

    The place of a patch is added as sines and cosines of its row and column, so that any size of image will do.

    Parameters
    ----------
    in_channels
        C.
    features
        D, a multiple of 4.
    patch
        Side of a patch in pixels; H and W are multiples of it.

    References
    ----------
    Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929
    Beyer et al. 2022, https://arxiv.org/abs/2205.01580 (sines and cosines)
    """

    def __init__(self, in_channels: int, features: int, patch: int):
        super().__init__()
        self.project = nn.Conv2d(in_channels, features, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, T, D), row by row."""
        tokens: Tensor = self.project(images)
        return tokens.flatten(2).transpose(1, 2) + _positions(*tokens.shape[2:], like=tokens)


class TransformerBlock(nn.Module):
    """Attention between tokens, then two layers for each token: (N, T, D) to the same. Both beside a shortcut.

    Parameters
    ----------
    features
        D, a multiple of `heads`.
    heads
        Attentions side by side.
    ratio
        The layer between has ratio * D features.
    dropout
        Probability of dropping a feature of either result.

    References
    ----------
    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; normalised first, as in Dosovitskiy et al. 2021.
    """

    def __init__(self, features: int, heads: int, *, ratio: int = 4, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.queries_keys_values = nn.Linear(features, 3 * features)
        self.merge = nn.Sequential(nn.Linear(features, features), nn.Dropout(dropout))
        self.layers = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, ratio * features),
            nn.GELU(),
            nn.Linear(ratio * features, features),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, T, D)."""
        parts = self.queries_keys_values(self.norm(tokens)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)  # N, heads, T, D / heads
        attended = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.merge(attended.transpose(1, 2).flatten(2))
        mixed: Tensor = tokens + self.layers(tokens)
        return mixed


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return conv_norm_act(in_channels, out_channels, 1, stride, act=False)


def _positions(rows: int, columns: int, *, like: Tensor) -> Tensor:
    """Return sines and cosines of the row and the column of each patch, (rows * columns, D)."""
    quarter = like.shape[1] // 4
    rates = 10_000.0 ** -(torch.arange(quarter, device=like.device) / quarter)
    places = torch.cartesian_prod(torch.arange(rows, device=like.device), torch.arange(columns, device=like.device))
    angles = (places[:, :, None] * rates).flatten(1)  # T, D / 2
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)
