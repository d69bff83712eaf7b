"""Crop boxes against torch's, one image after the other, and against torchvision's own where it is installed."""

import numpy as np
import pytest
import torch

from airjax.augment.crop_boxes import TRIES, heavy_boxes
from parity.torch_crops import heavy_box


def sizes(count: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    some = generator.integers(40, 600, (count, 2))
    some[::10, 1] *= 4  # panoramas, in which many tries do not fit
    return some.astype(np.int32)


def test_boxes_are_torch_s_to_the_pixel() -> None:
    shapes, uniforms = sizes(400), np.random.default_rng(2).random((400, TRIES, 4))
    found = heavy_boxes(shapes, uniforms)
    wanted = [heavy_box(h, w, torch.from_numpy(one)) for (h, w), one in zip(shapes.tolist(), uniforms, strict=True)]
    assert found.tolist() == [list(box) for box in wanted]


def test_light_crops_of_the_released_code_are_the_square_in_the_middle() -> None:
    # Its scale=(1, 1) and ratio=(1, 1) fit no image that is not square.
    from airjax.augment.crop_boxes import centre_boxes

    shapes = sizes(60)
    found = heavy_boxes(shapes, np.random.default_rng(3).random((60, TRIES, 4)), (1.0, 1.0), (1.0, 1.0))
    assert found.tolist() == centre_boxes(shapes).tolist()


def test_boxes_are_torchvision_s_to_the_pixel_from_the_same_numbers() -> None:
    transforms = pytest.importorskip("torchvision.transforms", exc_type=ImportError)
    differing = 0
    for number, (height, width) in enumerate(sizes(300).tolist()):
        torch.manual_seed(number)
        theirs = transforms.RandomResizedCrop.get_params(torch.empty(3, height, width), [0.08, 1.0], [3 / 4, 4 / 3])
        torch.manual_seed(number)
        # Of the numbers that it draws, those of area and shape; a place is drawn from whole numbers when a try fits.
        pairs = []
        for _ in range(TRIES):
            pairs.append([torch.rand(1).item(), torch.rand(1).item()])
        uniforms = np.array(pairs)
        top, left, rows, columns = theirs
        place = np.tile([(top + 0.5) / (height - rows + 1), (left + 0.5) / (width - columns + 1)], (TRIES, 1))
        found = heavy_boxes(np.array([[height, width]], np.int32), np.concatenate([uniforms, place], axis=1)[None])
        differing += found.tolist() != [[top, left, rows, columns]]
    assert differing == 0
