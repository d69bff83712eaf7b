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
