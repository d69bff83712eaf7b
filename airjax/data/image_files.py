"""Image files of any kind as the pixels that networks take: square, grey or RGB, uint8.

The first frame of an animation counts. EXIF orientation is applied. Transparent pixels are shown on white. Samples are
scaled by the range that the file's format states; where it states none, the file is refused. Colour profiles (ICC) are
ignored. Of an image that is not square the square in its middle counts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from airjax.data.place import shortened

GROUND = (255, 255, 255)  # what transparent pixels are shown on: white, as in most viewers

# The largest sample of these pairs of format and Pillow's mode. TIFF states the bits of its samples in a tag.
LARGEST_SAMPLE = {("PNG", "I;16"): 65535, ("JPEG2000", "I;16"): 65535, ("PPM", "I"): 65535, ("PPM", "I;16"): 65535}
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's

PROGRAMS = ("EPS", "FPX", "MIC", "WMF", "BUFR", "GRIB", "HDF5")  # formats of Pillow that other programs draw

# What Pillow multiplies a PNG's grey samples of few bits by, but not the one of them that is transparent.
PNG_FACTORS = {"L;2": 85, "L;4": 17}


class ImageError(Exception):
    """An image file that cannot be classified as it is; the message says why."""


class Picture(NamedTuple):
    """An image file as a data set takes it."""

    pixels: UInt8[np.ndarray, "size size 3"]  # a grey one has three equal channels
    grey: bool  # stored as grey
    resized: bool  # scaled or cropped


def read_image(file: Path, *, fit: bool, size: int = 32, channels: int = 3) -> np.ndarray:
    """Read an image file as uint8 [size,size,channels].

    Warns about oddities that Pillow finds in a file that can be read.

    Args:
        file: in any format that Pillow reads.
        fit: take images of other kinds and sizes, too: colours as RGB or grey, the middle square scaled to the size.
        size: height and width, in pixels.
        channels: 1 for grey, 3 for RGB.

    Raises:
        ImageError: the file is missing, damaged, too large, of unknown range, or, unless fit, of another size or kind;
            or the channels are neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ImageError(f"{file}: an image file has 1 or 3 channels, but the network takes {channels}")

    def check(image: Any) -> None:
        _check_kind(file, image, size, "RGB" if channels == 3 else "L")

    rgb, _ = _open_image(file, None if fit else check)
    pixels = np.asarray(fit_image(rgb if channels == 3 else rgb.convert("L"), size))
    return pixels.reshape(size, size, channels)


def read_picture(file: Path, size: int) -> Picture:
    """Read an image file of any kind as a square of a size. Raises ImageError as `read_image` does."""
    rgb, grey = _open_image(file)
    return Picture(np.asarray(fit_image(rgb, size)), grey, rgb.size != (size, size))


def fit_image(image: Any, size: int) -> Any:
    """Return the square in the middle of one of Pillow's images, scaled to a size.

    Pixels are averaged where it shrinks, and interpolated between where it grows. An image of that size stays as it is.
    """
    from PIL import Image

    if image.size == (size, size):
        return image
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    kind = Image.Resampling.BOX if side >= size else Image.Resampling.BILINEAR
    return image.resize((size, size), kind, (left, top, left + side, top + side))


def fit_pixels(pixels: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "{size} {size} c"]:
    """Scale the middle square of an image as `fit_image` does, each channel by itself."""
    from PIL import Image

    planes = [fit_image(Image.fromarray(np.ascontiguousarray(plane)), size) for plane in np.moveaxis(pixels, -1, 0)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def _open_image(file: Path, check: Callable[[Any], None] | None = None) -> tuple[Any, bool]:
    # The image upright in RGB, and whether it is stored as grey; check may refuse it before it is decoded.
    from PIL import Image, ImageOps

    try:
        if not file.exists():
            raise ImageError(f"{file} does not exist")
        if file.is_dir():
            raise ImageError(f"{file} is a folder; name the image files in it: {file}/*")
        with open_image(file) as image:
            if check is not None:
                check(image)
            scale_transparency(file, image)
            grey = image.mode in GREY_MODES
            return to_rgb(file, image, ImageOps.exif_transpose(image)), grey
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{file} cannot be read as an image: its format is unknown") from error
    except OSError as error:  # of the system, which has a number, or of Pillow
        raise ImageError(f"{shortened(file)} cannot be read as an image: {error.strerror or error}") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise ImageError(f"{file} cannot be read as an image: {error or type(error).__name__}") from error


def _check_kind(file: Path, image: Any, size: int, mode: str) -> None:
    if image.mode != mode:
        raise ImageError(f"{file} has colour mode {image.mode}, not {mode}; pass --fit to convert it")
    if image.has_transparency_data:
        raise ImageError(f"{file} has transparent pixels; pass --fit to show them on white")
    if image.size != (size, size):
        width, height = image.size
        raise ImageError(f"{file} is {width}x{height} pixels, not {size}x{size}; pass --fit to scale it")


def open_image(source: Path | IO[bytes]) -> Any:
    """Open an image as `PIL.Image.open` does, but for what a program of its own would have to draw.

    Pillow tells formats apart by content: a file of any name that holds PostScript would start Ghostscript.
    """
    from PIL import Image

    Image.init()
    return Image.open(source, formats=[name for name in Image.OPEN if name not in PROGRAMS])


def scale_transparency(file: Path | str, image: Any) -> None:
    """Give a PNG's transparent grey value the scale of its samples; to be called before the image is decoded.

    Raises ImageError, naming the file, where that cannot be told.
    """
    transparent, stored_as = image.info.get("transparency"), image.tile[0].args if image.tile else None
    if image.format != "PNG" or transparent is None:
        return
    if stored_as == "RGB;16B":  # decoded to 8 bits, where other colours become the transparent one
        raise ImageError(f"{file} has 16-bit colours of which one is transparent; convert it to 8 bits a channel")
    if stored_as in PNG_FACTORS:
        image.info["transparency"] = transparent * PNG_FACTORS[stored_as]


def to_rgb(file: Path | str, image: Any, upright: Any) -> Any:
    """Return an image of Pillow's in RGB: samples of more than 8 bits scaled, transparent pixels on white.

    Args:
        file: its name, for messages.
        image: as the file has it, with the tags of its format.
        upright: the same, turned as EXIF says where that is wanted.

    Raises ImageError for samples whose range the format does not state.
    """
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


def _largest_sample(file: Path | str, image: Any) -> int:
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
