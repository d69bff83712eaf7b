"""Which part of each image is shown: boxes (top, left, height, width) in pixels, from uniform numbers. (Table 3)

On the host, in numpy's float64: a batch is hundreds of boxes, and a worker that decodes images needs no device.
"""

import numpy as np
from jaxtyping import Float, Int

from airjax.recipes.crops import Crop

TRIES = 10  # of a heavy crop's area and shape, until one fits
AREA = (0.08, 1.0)  # fraction of the image's
ASPECT = (3 / 4, 4 / 3)  # width / height
UNIFORMS: dict[Crop, int] = {"heavy": 4 * TRIES, "light": 0, "light-shift": 1}  # numbers that a box takes


def crop_boxes(
    crop: Crop, sizes: Int[np.ndarray, "n 2"], uniforms: Float[np.ndarray, "n count"]
) -> Int[np.ndarray, "n 4"]:
    """Return a box in each image of those heights and widths, from UNIFORMS[crop] numbers in [0, 1)."""
    match crop:
        case "heavy":
            return heavy_boxes(sizes, uniforms.reshape(len(sizes), TRIES, 4))
        case "light":
            return centre_boxes(sizes)
        case "light-shift":
            return shifted_boxes(sizes, uniforms[:, 0])


def heavy_boxes(
    sizes: Int[np.ndarray, "n 2"],
    uniforms: Float[np.ndarray, "n tries 4"],
    area: tuple[float, float] = AREA,
    aspect: tuple[float, float] = ASPECT,
) -> Int[np.ndarray, "n 4"]:
    """Return boxes of random area and shape at random places: of each image's tries the first that fits.

    The four numbers of a try are area (uniform), width / height (uniform in its logarithm), top and left. Where no try
    fits, the largest box in the middle counts whose shape is nearest to that of the image. So do torchvision and FFCV.
    """
    height, width = (column[:, None].astype(np.float64) for column in sizes.T)
    areas = height * width * (area[0] + (area[1] - area[0]) * uniforms[..., 0])
    low, high = np.log(aspect)
    shapes = np.exp(low + (high - low) * uniforms[..., 1])
    widths, heights = np.rint(np.sqrt(areas * shapes)), np.rint(np.sqrt(areas / shapes))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    tops, lefts = (uniforms[..., 2] * (height - heights + 1), uniforms[..., 3] * (width - widths + 1))
    tries = np.stack([np.floor(tops), np.floor(lefts), heights, widths], axis=-1)
    chosen = tries[np.arange(len(sizes)), fits.argmax(axis=1)]
    return np.where(fits.any(axis=1)[:, None], chosen, _widest_boxes(sizes, aspect)).astype(np.int32)


def _widest_boxes(sizes: Int[np.ndarray, "n 2"], aspect: tuple[float, float]) -> Int[np.ndarray, "n 4"]:
    height, width = sizes.T
    shape = width / height
    heights = np.where(shape < aspect[0], np.rint(width / aspect[0]), height)
    widths = np.where(shape > aspect[1], np.rint(height * aspect[1]), width)
    return _in_the_middle(sizes, heights.astype(np.int32), widths.astype(np.int32))


def centre_boxes(sizes: Int[np.ndarray, "n 2"], fraction: float = 1.0) -> Int[np.ndarray, "n 4"]:
    """Return the square in the middle of each image whose side is a fraction of the shorter side, from 1 pixel.

    CC(256, 0.875) of the paper is `fraction=0.875`, resized to 256 pixels; CC(192, 1.0) is the whole shorter side.
    """
    side = np.maximum(1, (fraction * sizes.min(axis=1)).astype(np.int32))
    return _in_the_middle(sizes, side, side)


def shifted_boxes(sizes: Int[np.ndarray, "n 2"], uniforms: Float[np.ndarray, " n"]) -> Int[np.ndarray, "n 4"]:
    """Return a square of the shorter side at a random place along the longer one, from a number in [0, 1) each."""
    side = sizes.min(axis=1, keepdims=True)
    corners = np.floor(uniforms[:, None] * (sizes - side + 1))
    return np.concatenate([corners, side, side], axis=1).astype(np.int32)


def _in_the_middle(
    sizes: Int[np.ndarray, "n 2"], heights: Int[np.ndarray, " n"], widths: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "n 4"]:
    tops, lefts = (sizes[:, 0] - heights) // 2, (sizes[:, 1] - widths) // 2
    return np.stack([tops, lefts, heights, widths], axis=1).astype(np.int32)
