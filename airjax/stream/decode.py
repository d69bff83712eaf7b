"""One image file as pixels: JPEG by libjpeg-turbo, everything else by Pillow, told apart by content and not by name.

EXIF orientation is not applied, as in torchvision's ImageFolder; `airjax.data.image_files`, for small images, applies
it. Pixels of a JPEG are those that Pillow decodes, bit for bit.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from airjax.data.image_files import ImageError, open_image, scale_transparency, to_rgb
from airjax.utils.extras import import_extra

EXTRA, PURPOSE = "imagenet", "decoding images while a network trains"
JPEG = b"\xff\xd8\xff"
OTHER_COLOURS = ("CMYK", "YCCK")  # which libjpeg-turbo does not turn into RGB
LARGEST = 2 * 89_478_485  # pixels, from which on Pillow, too, refuses an image: its head alone can claim any number
SUPERFLUOUS = "extraneous bytes before marker"  # libjpeg's warning of bytes that no pixel needs: no damage


def decode_file(file: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file to RGB. Raises ImageError, naming the file and the remedy, where that is not possible."""
    return decode(read_file(file), str(file))


def read_file(file: str | Path) -> bytes:
    """Read an image file, undecoded. Raises ImageError, naming the file and the remedy, where that is not possible."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ImageError(f"{file} cannot be read: {error.strerror or error}; mend or remove it") from error


def decode(content: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image to RGB: grey has three equal channels, CMYK is converted, and nothing is turned as EXIF says.

    Samples of more than 8 bits are scaled, and transparent pixels shown on white, as in `airjax.data.image_files`.

    name: of the image, for messages. Raises ImageError where it is damaged or truncated, and MissingExtraError where
    the decoder is not installed.
    """
    simplejpeg = import_extra("simplejpeg", EXTRA, PURPOSE)
    try:
        pixels = _by_libjpeg(content, simplejpeg, name) if content.startswith(JPEG) else None
        return _by_pillow(content, name) if pixels is None else pixels
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name} cannot be decoded: {reason}; mend or remove it, or skip what is damaged") from error


def _by_libjpeg(content: bytes, simplejpeg: Any, name: str) -> UInt8[np.ndarray, "h w 3"] | None:
    # None: it is left to Pillow. libjpeg stops at its first warning, and may not have come to one of real damage.
    try:
        height, width, colours, *_ = simplejpeg.decode_jpeg_header(content)
        if height * width > LARGEST:
            raise ImageError(f"{name} has {width}x{height} pixels, more than {LARGEST:,}; scale it down or remove it")
        if colours in OTHER_COLOURS:
            return None
        return simplejpeg.decode_jpeg(content, "RGB")
    except ValueError as error:
        if SUPERFLUOUS in str(error):
            return None
        raise


def _by_pillow(content: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    with open_image(io.BytesIO(content)) as image:
        scale_transparency(name, image)
        return np.asarray(to_rgb(name, image, image))


def image_size(file: Path) -> tuple[int, int]:
    """Read the height and width of an image from the head of its file. Raises ImageError where it has none."""
    from PIL import Image

    try:
        with file.open("rb") as stream, open_image(stream) as image:
            return image.height, image.width
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{file} cannot be read as an image: its format is unknown; mend or remove it") from error
    except Exception as error:  # of the system, which has a number and words for it, or whatever a decoder meets
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{file} cannot be read as an image: {reason}; mend or remove it") from error
