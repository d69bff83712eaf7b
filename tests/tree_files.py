"""Small trees of JPEG files, made by tests: train/ and val/, images of odd sizes, and what may be wrong with them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01", "n02", "n03")
TRAIN, VAL = 7, 2  # images of each class
# Options of `airjax train` with which a network learns from such a tree in seconds.
SMALL = (
    *("--recipe", "imagenet-resnet18-16", "--widths", "16", "16", "16", "16", "--batch-size", "7", "--epochs", "1"),
    *("--ramp-first", "32", "--ramp-last", "32", "--ramp-multiple", "16", "--test-sizes", "48", "32", "--workers", "0"),
)


def make_pixels(number: int, height: int, width: int) -> np.ndarray:
    """Waves, whose JPEG is small and whose parts differ; uint8 [height,width,3]."""
    rows, cols = np.mgrid[:height, :width]
    planes = [np.sin((rows * (1 + number % 3) + cols * channel) / 9 + number) for channel in (1, 2, 3)]
    return np.rint(127.5 + 127.5 * np.stack(planes, axis=-1)).astype(np.uint8)


def encode(pixels: np.ndarray, format_: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format_, **options)
    return buffer.getvalue()


def side_lengths(number: int) -> tuple[int, int]:
    """Height and width of an image of `write_tree`."""
    return 40 + 7 * (number % 5), 30 + 11 * (number % 4)


def write_tree(place: Path) -> Path:
    """Seven training and two validation images of each of three classes, of sizes from 40x30 to 68x63."""
    number = 0
    for split, count in (("train", TRAIN), ("val", VAL)):
        for name in CLASSES:
            (place / split / name).mkdir(parents=True)
            for _ in range(count):
                (place / split / name / f"{number:02}.JPEG").write_bytes(
                    encode(make_pixels(number, *side_lengths(number)))
                )
                number += 1
    return place
