"""Image files of any kind as the pixels that networks take: uint8 [32,32,3], RGB.

The first frame of an animation counts. EXIF orientation is applied. Transparent pixels are shown on white. Samples are
scaled by the range that the file's format states; where it states none, the file is refused. Colour profiles (ICC) are
ignored.
"""

from pathlib import Path
from typing import Any

import numpy as np

from airjax.recipes.inputs import Inputs

GROUND = (255, 255, 255)  # what transparent pixels are shown on: white, as in most viewers

# The largest sample of these pairs of format and Pillow's mode. TIFF states the bits of its samples in a tag.
LARGEST_SAMPLE = {("PNG", "I;16"): 65535, ("JPEG2000", "I;16"): 65535, ("PPM", "I"): 65535, ("PPM", "I;16"): 65535}
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2

# What Pillow multiplies a PNG's grey samples of few bits by, but not the one of them that is transparent.
PNG_FACTORS = {"L;2": 85, "L;4": 17}


class ImageError(Exception):
    """An image file that cannot be classified as it is; the message says why."""


def read_image(file: Path, *, fit: bool) -> np.ndarray:
    """An image file as uint8 [32,32,3].

    Warns about oddities that Pillow finds in a file that can be read.

    Args:
        file: in any format that Pillow reads.
        fit: convert other images to RGB and scale them to 32x32 instead of refusing them.

    Raises:
        ImageError: the file is missing, damaged, too large, of unknown range, or, unless fit, not 32x32 in RGB.
    """
    from PIL import Image, ImageOps

    if not file.exists():
        raise ImageError(f"{file} does not exist")
    if file.is_dir():
        raise ImageError(f"{file} is a folder; name the image files in it: {file}/*")
    try:
        with Image.open(file) as image:
            if not fit:
                _check_kind(file, image)
            _scale_transparency(file, image)
            rgb = _to_rgb(file, image, ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{file} cannot be read as an image: its format is unknown") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise ImageError(f"{file} cannot be read as an image: {error or type(error).__name__}") from error
    return np.asarray(rgb.resize((Inputs().image_size, Inputs().image_size), Image.Resampling.BOX))


def _check_kind(file: Path, image: Any) -> None:
    if image.mode != "RGB":
        raise ImageError(f"{file} has colour mode {image.mode}, not RGB; pass --fit to convert it")
    if image.has_transparency_data:
        raise ImageError(f"{file} has transparent pixels; pass --fit to show them on white")
    if image.size != (Inputs().image_size, Inputs().image_size):
        width, height = image.size
        raise ImageError(f"{file} is {width}x{height} pixels, not 32x32; pass --fit to scale it")


def _scale_transparency(file: Path, image: Any) -> None:
    # To be called before the image is decoded.
    transparent, stored_as = image.info.get("transparency"), image.tile[0].args if image.tile else None
    if image.format != "PNG" or transparent is None:
        return
    if stored_as == "RGB;16B":  # decoded to 8 bits, where other colours become the transparent one
        raise ImageError(f"{file} has 16-bit colours of which one is transparent; convert it to 8 bits a channel")
    if stored_as in PNG_FACTORS:
        image.info["transparency"] = transparent * PNG_FACTORS[stored_as]


def _to_rgb(file: Path, image: Any, upright: Any) -> Any:
    # image as the file has it, with the tags of its format; upright: the same, turned as EXIF says.
    from PIL import Image

    signed = image.format == "TIFF" and SIGNED in image.tag_v2.get(TIFF_SAMPLE_FORMAT, ())
    if image.mode.startswith(("I", "F")) or signed:
        upright = _to_bytes(image, np.asarray(upright), _largest_sample(file, image))
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    colours = upright.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, (*GROUND, 255)), colours).convert("RGB")


def _to_bytes(image: Any, samples: np.ndarray, largest: int) -> Any:
    # Grey of 8 bits, with alpha where a grey value stands for transparency.
    from PIL import Image

    levels = np.rint(np.arange(largest + 1) * (255 / largest)).astype(np.uint8)
    if image.format == "TIFF" and image.tag_v2.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
        levels = levels[::-1]
    grey = Image.fromarray(levels[samples])
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(samples == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _largest_sample(file: Path, image: Any) -> int:
    # Of an image whose samples are not bytes.
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        return 2 ** image.tag_v2[TIFF_BITS][0] - 1
    try:
        return LARGEST_SAMPLE[image.format, image.mode]
    except KeyError:
        kind = "floating-point" if image.mode.startswith("F") else "integer"
        raise ImageError(
            f"{file} has {kind} samples (mode {image.mode}) whose range {image.format} does not state; "
            "convert it to 8 bits a channel"
        ) from None
