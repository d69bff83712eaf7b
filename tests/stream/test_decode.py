"""Image files as pixels: the same as Pillow's, by content and not by name, and errors that name the file."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tree_files import encode, make_pixels

from airjax.data.image_files import ImageError
from airjax.stream.decode import decode, decode_file, image_size

pytest.importorskip("simplejpeg")

PIXELS = make_pixels(3, 37, 53)


def as_torchvision(file: Path) -> np.ndarray:
    """What torchvision's ImageFolder reads: Pillow's image, as RGB."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.JPEG", encode(PIXELS, quality=90)),
        ("subsampled.JPEG", encode(PIXELS, quality=50, subsampling=2, progressive=True)),
        ("grey.JPEG", encode(PIXELS, mode="L")),
        ("cmyk.JPEG", encode(PIXELS, mode="CMYK", quality=95)),
        ("png.JPEG", encode(PIXELS, "PNG")),
        ("grey-png.JPEG", encode(PIXELS, "PNG", mode="L")),
        ("gif.png", encode(PIXELS, "GIF")),
    ],
)
def test_pixels_are_those_that_pillow_decodes(name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    found = decode_file(file)
    assert found.shape == (37, 53, 3)
    assert np.array_equal(found, as_torchvision(file))
    assert image_size(file) == (37, 53)
    assert np.abs(found.astype(int) - PIXELS).mean() < 90, "it shows the picture, not its negative"


def test_cmyk_shows_the_picture(tmp_path: Path) -> None:
    found = decode(encode(PIXELS, mode="CMYK", quality=95), "cmyk.JPEG")
    assert np.abs(found.astype(int) - PIXELS).mean() < 8


def test_orientation_is_not_applied_as_in_torchvision(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    file = tmp_path / "turned.JPEG"
    file.write_bytes(encode(PIXELS, exif=exif))
    with Image.open(file) as image:
        assert image.getexif()[0x0112] == 6
    assert decode_file(file).shape == (37, 53, 3)
    assert np.array_equal(decode_file(file), as_torchvision(file))


@pytest.mark.parametrize("cut", [20, 400, -2])
def test_truncated_files_are_named(cut: int, tmp_path: Path) -> None:
    file = tmp_path / "cut.JPEG"
    file.write_bytes(encode(PIXELS)[:cut])
    with pytest.raises(ImageError, match=r"cut.JPEG cannot be decoded: .*; mend or remove it, or skip what is damaged"):
        decode_file(file)


def test_superfluous_bytes_are_no_damage(tmp_path: Path) -> None:
    file, content = tmp_path / "more.JPEG", encode(PIXELS)
    file.write_bytes(content[:-2] + b"\1\2\3" + content[-2:])
    assert np.array_equal(decode_file(file), decode(content, "whole"))
    assert np.array_equal(decode_file(file), as_torchvision(file))


@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xda", b"\xff\xd0"])
def test_superfluous_bytes_hide_no_damage_and_none_are_taken_for_it(marker: bytes, tmp_path: Path) -> None:
    file, content = tmp_path / "more.JPEG", encode(make_pixels(5, 200, 160), restart_marker_blocks=4)
    place = content.index(marker)
    more = content[:place] + b"\1\2\3" + content[place:]
    file.write_bytes(more)
    assert np.array_equal(decode_file(file), as_torchvision(file))
    file.write_bytes(more[: len(more) // 2])
    with pytest.raises(ImageError, match=r"more.JPEG cannot be decoded: .*truncated"):
        decode_file(file)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none.JPEG cannot be read: No such file"):
        decode_file(tmp_path / "none.JPEG")


def test_original_files_of_imagenet_have_the_pixels_that_torchvision_reads(imagenet_jpeg: Path) -> None:
    files = sorted((imagenet_jpeg / "originals").glob("*/*.JPEG"))
    assert len(files) == 201
    modes = set()
    for file in files:
        with Image.open(file) as image:
            modes.add((image.mode, image.getexif().get(0x0112)))
        assert np.array_equal(decode_file(file), as_torchvision(file)), file
    assert {("L", None), ("RGB", 6)} <= modes


def test_samples_of_16_bits_are_scaled_and_transparent_pixels_are_white() -> None:
    grey = Image.fromarray(np.full((4, 5), 0x3333, np.uint16))
    stream = io.BytesIO()
    grey.save(stream, "PNG")
    assert (decode(stream.getvalue(), "x") == 0x33).all()
    stream = io.BytesIO()
    Image.new("RGBA", (5, 4), (255, 0, 0, 0)).save(stream, "PNG")
    assert (decode(stream.getvalue(), "x") == 255).all()
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5), 0.5, np.float32)).save(stream, "TIFF")
    with pytest.raises(ImageError, match=r"has floating-point samples .* whose range TIFF does not state"):
        decode(stream.getvalue(), "x")


def test_a_head_that_claims_too_many_pixels_is_refused_before_they_have_room() -> None:
    content = bytearray(encode(PIXELS))
    frame = content.index(b"\xff\xc0") + 5
    content[frame : frame + 4] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ImageError, match=r"x has 60000x60000 pixels, more than 178,956,970; scale it down"):
        decode(bytes(content), "x")
