"""Boxes of random resized crops in torch, one image after the other: tries until one fits. (Table 3)"""

import math

import torch
from torch import Tensor


def heavy_box(
    height: int,
    width: int,
    uniforms: Tensor,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a crop. uniforms [tries,4]: area, shape, top and left of each try."""
    bounds = torch.log(torch.tensor(aspect, dtype=torch.float64))
    for try_ in uniforms.double():
        target = height * width * (area[0] + (area[1] - area[0]) * try_[0])
        shape = torch.exp(bounds[0] + (bounds[1] - bounds[0]) * try_[1])
        columns, rows = round(torch.sqrt(target * shape).item()), round(torch.sqrt(target / shape).item())
        if 0 < columns <= width and 0 < rows <= height:
            top, left = (
                math.floor(try_[2].item() * (height - rows + 1)),
                math.floor(try_[3].item() * (width - columns + 1)),
            )
            return top, left, rows, columns
    return _widest_box(height, width, aspect)


def _widest_box(height: int, width: int, aspect: tuple[float, float]) -> tuple[int, int, int, int]:
    rows, columns = height, width
    if width / height < aspect[0]:
        rows = round(width / aspect[0])
    elif width / height > aspect[1]:
        columns = round(height * aspect[1])
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def centre_box(height: int, width: int, ratio: float) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the square in the middle, of a fraction of the shorter side."""
    side = int(ratio * min(height, width))
    return (height - side) // 2, (width - side) // 2, side, side


def area_mean(image: Tensor, box: tuple[int, int, int, int], size: int) -> Tensor:
    """Make a box of an image [H,W,C] smaller, to [size,size,C]: each pixel is the mean of the area that it covers.

    By differences of the integral over rows and then over columns, which between two pixels is a straight line.
    """
    top, left, height, width = box
    part = image[top : top + height, left : left + width].double()
    return _line_means(_line_means(part, size).transpose(0, 1), size).transpose(0, 1)


def _line_means(lines: Tensor, size: int) -> Tensor:
    integral = torch.cat([torch.zeros_like(lines[:1]), lines.cumsum(0)])
    ends = torch.arange(size + 1, dtype=torch.float64) * len(lines) / size
    first = ends.floor().long().clamp(max=len(lines) - 1)
    part = (ends - first)[:, None, None]
    at_ends = integral[first] * (1 - part) + integral[first + 1] * part
    return at_ends.diff(dim=0) * size / len(lines)
