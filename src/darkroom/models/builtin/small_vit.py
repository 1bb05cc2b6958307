"""A vision transformer for small images. N images, C channels, H by W pixels, K classes."""

from torch import Tensor, nn

from darkroom.models.builtin.blocks import PatchEmbedding, TransformerBlock

# Limits for what a model file may ask for, as in `small_cnn`.
MOST = {"width": 4096, "depth": 64, "heads": 64, "patch": 64}


class SmallViT(nn.Module):
    """Patches of the image as tokens, blocks of attention, then the mean of all tokens.

    Parameters
    ----------
    num_classes
        K, the number of logits.
    in_channels
        C.
    width
        Features of a token, 4 to 4096; a multiple of 4 and of `heads`.
    depth
        Blocks, 1 to 64.
    heads
        Attentions side by side, 1 to 64.
    patch
        Side of a patch in pixels, 1 to 64; height and width of the images are multiples of it.
    dropout
        Probability of dropping a feature, less than 1.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Beyer et al. 2022, https://arxiv.org/abs/2205.01580 ("simple ViT").
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
        patch: int = 4,
        dropout: float = 0.0,
    ):
        super().__init__()
        numbers = {"width": width, "depth": depth, "heads": heads, "patch": patch}
        for name, number in numbers.items():
            if type(number) is not int or not 1 <= number <= MOST[name]:
                raise ValueError(f"{name} is {number}, but must be a whole number from 1 to {MOST[name]}")
        if width % 4 or width % heads:
            raise ValueError(f"width is {width}, but must be a multiple of 4 and of heads, {heads}")
        if type(dropout) not in (int, float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}, but must be a number from 0 to less than 1")
        self.embed = PatchEmbedding(in_channels, width, patch)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, dropout=dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, C, H, W)."""
        logits: Tensor = self.head(self.norm(self.blocks(self.embed(images))).mean(dim=1))
        return logits
