"""Files of every kind, written here, as the pixels that a viewer shows."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from airjax.data.image_files import ImageError, read_image

WHITE, BLACK = [255, 255, 255], [0, 0, 0]


def colour(file: Path) -> list[int]:
    """The one colour of an image file."""
    pixels = read_image(file, fit=True)
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
    assert (pixels == pixels[0, 0]).all()
    return pixels[0, 0].tolist()


def png(depth: int, kind: int, row: bytes, *, transparent: bytes = b"", palette: bytes = b"") -> bytes:
    """A PNG of 32 equal rows: depth in bits, kind 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""
    header = struct.pack(">IIBBBBB", 32, 32, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", transparent)]
    chunks += [(b"IDAT", zlib.compress((b"\0" + row) * 32)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        if data or name == b"IEND":
            content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # 0x3344 of 0xffff is 51 of 255.
        (png(16, 0, b"\x33\x44" * 32), [51, 51, 51]),
        (png(16, 2, b"\x33\x44\x00\x00\xff\xff" * 32), [51, 0, 255]),
        (png(4, 0, b"\x33" * 16), [51, 51, 51]),
        (png(1, 0, b"\xff" * 4), WHITE),
        (png(8, 3, b"\0" * 32, palette=b"\x0a\x0b\x0c"), [10, 11, 12]),
        (b"P5 32 32 65535\n" + b"\x33\x44" * 1024, [51, 51, 51]),
        (b"P5 32 32 4095\n" + b"\x0f\xff" * 1024, WHITE),
        (b"P6 32 32 1023\n" + b"\x03\xff\0\0\x03\xff" * 1024, [255, 0, 255]),
    ],
)
def test_samples_are_scaled_by_the_range_of_their_format(content: bytes, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(content)
    assert colour(tmp_path / "image") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(8, 6, b"\x0a\x0b\x0c\x00" * 32), WHITE),
        (png(8, 6, b"\x0a\x0b\x0c\xff" * 32), [10, 11, 12]),
        (png(16, 6, b"\x0a\x0a\x0b\x0b\x0c\x0c\x00\x00" * 32), WHITE),
        (png(8, 4, b"\x0a\x00" * 32), WHITE),
        (png(16, 4, b"\x0a\x0a\x00\x00" * 32), WHITE),
        (png(8, 3, b"\0" * 32, palette=b"\x0a\x0b\x0c", transparent=b"\0"), WHITE),
        # 128 of 255 opaque: 10 * 128/255 + 255 * 127/255 = 132.0.
        (png(8, 3, b"\0" * 32, palette=b"\x0a\x0b\x0c", transparent=b"\x80"), [132, 133, 133]),
        (png(8, 2, b"\x33\x44\x00" * 32, transparent=b"\0\x33\0\x44\0\x00"), WHITE),
        (png(8, 2, b"\x33\x44\x00" * 32, transparent=b"\0\x33\0\x44\0\x01"), [51, 68, 0]),
        (png(8, 0, b"\x33" * 32, transparent=b"\0\x33"), WHITE),
        (png(16, 0, b"\x33\x44" * 32, transparent=b"\x33\x44"), WHITE),
        (png(16, 0, b"\x33\x44" * 32, transparent=b"\x33\x45"), [51, 51, 51]),
        (png(4, 0, b"\x33" * 16, transparent=b"\0\x03"), WHITE),
        (png(2, 0, b"\x55" * 8, transparent=b"\0\x01"), WHITE),
        (png(1, 0, b"\x00" * 4, transparent=b"\0\x00"), WHITE),
        (png(1, 0, b"\x00" * 4, transparent=b"\0\x01"), BLACK),
    ],
)
def test_transparent_pixels_are_shown_on_white(content: bytes, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(content)
    assert colour(tmp_path / "image.png") == expected


def test_hidden_colours_do_not_bleed_into_their_neighbours(tmp_path: Path) -> None:
    # Two columns of a 64x64 image become one: opaque black beside transparent red.
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, 0::2], pixels[:, 1::2] = (0, 0, 0, 255), (255, 0, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert colour(tmp_path / "image.png") == [128, 128, 128]


# What a viewer shows of an image whose left half is white: the mean of its left, right, upper and lower edge.
LEFT, RIGHT, TOP, BOTTOM = (255, 0, 128, 128), (0, 255, 128, 128), (128, 128, 255, 0), (128, 128, 0, 255)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("fit", [True, False])
def test_exif_orientation_is_applied(ending: str, fit: bool, tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 255
    for orientation, shown in enumerate((LEFT, LEFT, RIGHT, RIGHT, LEFT, TOP, TOP, BOTTOM, BOTTOM)):
        exif = Image.Exif()
        exif[0x112] = orientation  # 0 is invalid: as it lies
        file = tmp_path / f"{orientation}.{ending}"
        Image.fromarray(pixels).save(file, exif=exif)
        seen = read_image(file, fit=fit).astype(float)
        edges = seen[:, 0].mean(), seen[:, -1].mean(), seen[0].mean(), seen[-1].mean()
        assert np.allclose(edges, shown, atol=2), orientation


def test_tiff_of_16_bits_black_or_white_at_zero(tmp_path: Path) -> None:
    samples = Image.fromarray(np.full((32, 32), 0x3333, np.uint16))
    samples.save(tmp_path / "black.tif")
    samples.save(tmp_path / "white.tif", tiffinfo={262: 0})
    assert colour(tmp_path / "black.tif") == [51, 51, 51]
    assert colour(tmp_path / "white.tif") == [204, 204, 204]


def test_cmyk_and_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "red.tif")
    assert colour(tmp_path / "red.tif") == [255, 0, 0]
    frames = [Image.new("RGB", (32, 32), value) for value in ((0, 0, 255), (0, 255, 0))]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert colour(tmp_path / "two.gif") == [0, 0, 255]


def test_samples_of_unknown_range_are_refused(tmp_path: Path) -> None:
    grey = np.full((32, 32), 7)
    Image.fromarray(grey.astype(np.int32)).save(tmp_path / "integer.tif")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "signed.tif", tiffinfo={339: (2,)})
    (tmp_path / "colour.png").write_bytes(png(16, 2, b"\0" * 192, transparent=b"\0\1\0\1\0\1"))
    for name, message in (
        ("integer.tif", r"has integer samples \(mode I\) whose range TIFF does not state; convert it to 8 bits"),
        ("float.tif", r"has floating-point samples \(mode F\) whose range TIFF does not state"),
        ("signed.tif", r"has integer samples \(mode L\) whose range TIFF does not state"),
        ("colour.png", "has 16-bit colours of which one is transparent; convert it to 8 bits"),
    ):
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name, fit=True)


def test_a_decompression_bomb_is_refused_without_decoding_it(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + png(1, 0, b"\0" * 4)[33:])
    with pytest.raises(ImageError, match=r"400000000 pixels\) exceeds limit of 178956970 pixels"):
        read_image(tmp_path / "bomb.png", fit=True)


def test_what_is_no_image_is_named_with_the_reason(tmp_path: Path) -> None:
    whole = png(8, 6, np.random.default_rng(0).bytes(128))
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for name, message in (
        ("none.png", "none.png does not exist"),
        ("", r"is a folder; name the image files in it: .*/\*"),
        ("text.png", "text.png cannot be read as an image: its format is unknown"),
        ("empty.png", "empty.png cannot be read as an image: its format is unknown"),
        ("cut.png", "cut.png cannot be read as an image: "),
    ):
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name, fit=True)


def test_other_images_are_refused_unless_they_are_to_be_fitted(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "large.png")
    Image.new("L", (32, 32)).save(tmp_path / "grey.png")
    (tmp_path / "clear.png").write_bytes(png(8, 2, b"\x33\x44\x00" * 32, transparent=b"\0\x33\0\x44\0\x00"))
    for name, message in (
        ("large.png", "large.png is 64x48 pixels, not 32x32; pass --fit to scale it"),
        ("grey.png", "grey.png has colour mode L, not RGB; pass --fit to convert it"),
        ("clear.png", "clear.png has transparent pixels; pass --fit to show them on white"),
    ):
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name, fit=False)


def test_no_program_draws_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ghostscript is what Pillow draws PostScript with, whatever the file is called.
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    file = tmp_path / "1.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(ImageError, match="its format is unknown"):
        read_image(file, fit=True)
    assert not started.exists()
    with pytest.raises(OSError), Image.open(file) as image:  # noqa: PT011 whatever it makes of a program that draws nothing
        image.load()
    assert started.exists(), "the file of this test is no danger at all"
