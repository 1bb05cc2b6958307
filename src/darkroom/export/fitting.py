"""Cropping and resizing within an exported network, with the pixels that Pillow gives. N images, C channels, H by W pixels.

An export that resizes otherwise answers otherwise: the antialiased resizing of ONNX Runtime differs from Pillow's by up to 16 of
255. Here it is two products with matrices, whose weights are rounded as Pillow rounds them, in operations that every format has.
"""

import torch
from torch import Tensor, nn

from darkroom.data.resizing import Way

# Pillow's weights have so many binary digits after the point: https://github.com/python-pillow/Pillow, src/libImaging/Resample.c.
BITS = 22
# They are multiplied in two parts, so that sums of products with bytes are whole numbers that float32 holds.
PART = 11
# Luma of ITU-R BT.601 as Pillow computes it, in 65536ths.
LUMA = (19595, 38470, 7471)


class Fitted(nn.Module):
    """Images in the size and channels of a network, as `darkroom.data.resizing.fit` makes them.

    Parameters
    ----------
    shape
        Height and width of the network's images.
    channels
        C, 1 or 3.
    way
        As `train.resize`.
    """

    def __init__(self, shape: tuple[int, int], channels: int, way: Way):
        super().__init__()
        self.height, self.width, self.channels, self.way = *shape, channels, way

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, C, height, width) float32, of whole numbers from 0 to 255, of images (N, H, W, 3) uint8."""
        number, rows, columns = images.shape[:3]
        if self.channels == 1:
            red, green, blue = (images[..., place : place + 1].int() * weight for place, weight in enumerate(LUMA))
            images = ((red + green + blue + 2**15) // 2**16).to(torch.uint8)
        (top, bottom, inner_rows, above), (left, right, inner_columns, before) = self._boxes(_number(rows), _number(columns))
        # Rounded up; exporters round the quotient of a negative number otherwise than Python.
        down, across = (rows + self.height - 1) // self.height, (columns + self.width - 1) // self.width
        if self.way == "letterbox":
            # Both sides have the scale of the larger one, and up to half as much more where the other is rounded to few pixels.
            down = across = 3 * (down + across) // 2 + 1
        # Pillow resizes rows first, and rounds: (columns, N * H * C), then (H, width * N * C).
        wide = _resample(images.permute(2, 0, 1, 3).flatten(1), columns, (left, right), inner_columns, before, self.width, across)
        wide = wide.reshape(self.width, number, rows, self.channels).permute(2, 0, 1, 3).flatten(1)
        high = _resample(wide, rows, (top, bottom), inner_rows, above, self.height, down)
        return high.reshape(self.height, self.width, number, self.channels).permute(2, 3, 0, 1).float()

    def _boxes(self, rows: Tensor, columns: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return for rows and columns: first and last place of the box, its size in the result, and the black before it."""
        height, width, none = _number(self.height), _number(self.width), _number(0)
        if self.way == "squash":
            return (none, rows, height, none), (none, columns, width, none)
        if self.way == "letterbox":
            scale = torch.minimum(height / rows, width / columns)
            inner_rows = torch.clamp(torch.round(rows * scale), 1, self.height)
            inner_columns = torch.clamp(torch.round(columns * scale), 1, self.width)
            above, before = torch.floor((height - inner_rows) / 2), torch.floor((width - inner_columns) / 2)
            return (none, rows, inner_rows, above), (none, columns, inner_columns, before)
        if self.height == self.width:
            side = torch.minimum(rows, columns)
            top, left = torch.floor((rows - side) / 2), torch.floor((columns - side) / 2)
            return (top, top + side, height, none), (left, left + side, width, none)
        is_wide = columns * height > rows * width
        across = torch.where(is_wide, rows * width / height, columns)
        down = torch.where(is_wide, rows, columns * height / width)
        top, bottom = (rows - down) / 2, (rows + down) / 2
        left, right = (columns - across) / 2, (columns + across) / 2
        return (top, bottom, height, none), (left, right, width, none)


def _number(value: int) -> Tensor:
    """Return a number, which may be one that only the image knows, in double precision."""
    return torch.scalar_tensor(value, dtype=torch.float64)


def _resample(
    lines: Tensor, size: int, box: tuple[Tensor, Tensor], inner: Tensor, before: Tensor, length: int, most: int
) -> Tensor:
    """Resample the first axis of lines (size, M) uint8, bilinear with antialiasing, to (length, M) uint8.

    `most` is at least the number of pixels that one of the result is made of, divided by two.
    """
    # Pillow's box has single precision.
    start, end = box[0].float(), box[1].float()
    scale, start = (end - start).double() / inner, start.double()
    place = torch.arange(length, dtype=torch.float64)[:, None] - before
    inside = ((place >= 0) & (place < inner)).double()
    center, reach = start + (place + 0.5) * scale, torch.clamp(scale, min=1)
    # Only pixels that have a weight: of a large image, few of all. One more at each end, for rounding.
    pixel = torch.floor(center - reach - 0.5) + torch.arange(2 * most + 2, dtype=torch.float64)[None]
    inside = inside * ((pixel >= 0) & (pixel < size)).double()
    weight = torch.clamp(1 - torch.abs((pixel - center + 0.5) * (1 / reach)), min=0) * inside
    # Outside, where all weights are 0, not 0 / 0.
    every = weight.sum(dim=1, keepdim=True)
    rounded = torch.floor(weight / (every + (every == 0)) * 2**BITS + 0.5)
    high = torch.floor(rounded / 2**PART)
    parts = torch.stack([high, rounded - high * 2**PART], dim=1).float()  # (length, 2, pixels)
    pixels = lines[torch.clamp(pixel, 0, size - 1).long()].float()  # (length, pixels, M)
    sums = parts @ pixels  # (length, 2, M)
    total = sums[:, 0] + torch.floor(sums[:, 1] / 2**PART)
    return torch.clamp(torch.floor((total + 2 ** (PART - 1)) / 2**PART), 0, 255).to(torch.uint8)
