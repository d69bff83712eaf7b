"""Put images into a page: each as a PNG of its own pixels, which the page enlarges without blurring."""

import base64
import io
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8

from airjax.report.figures_classes import wrong_fractions

Kind = Literal["", "right", "wrong"]
COUNT = 12  # pictures of a kind
LARGEST = 128  # pixels of an image's height and width in a page
BARS = 3  # classes beside a picture


class Bar(NamedTuple):
    """A class, and how much speaks for it."""

    name: str
    percent: float
    text: str
    kind: Kind


class Picture(NamedTuple):
    """An image and what is said of it."""

    source: str  # its address, which holds it
    alt: str
    title: str = ""
    bars: tuple[Bar, ...] = ()
    note: str = ""


class Cell(NamedTuple):
    """An image of a strip."""

    source: str
    alt: str
    kind: str = ""  # a class of the style sheet


class StripRow(NamedTuple):
    """A row of a strip."""

    name: str
    cells: list[Cell]


class Strip(NamedTuple):
    """Rows of images under common heads."""

    heads: list[str]
    rows: list[StripRow]


def encode_image(image: UInt8[np.ndarray, "h w c"]) -> str:
    """Return an image as an address that holds it; a large one is made smaller."""
    from PIL import Image

    stream = io.BytesIO()
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    shown.thumbnail((LARGEST, LARGEST))
    shown.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def top_bars(
    fractions: Float[np.ndarray, " l"], classes: Sequence[str], true: int | None = None, count: int = BARS
) -> tuple[Bar, ...]:
    """Return the classes that most speaks for, and the true one where it is known, most first."""
    order = [int(k) for k in np.argsort(fractions)[::-1]]
    shown = [k for k in order[:count] if fractions[k] > 0]
    if true is not None and true not in shown:
        shown = [*shown[: count - 1], true]
    return tuple(
        Bar(classes[k], round(100 * float(fractions[k]), 1), f"{100 * fractions[k]:.1f}%", _kind(k, order[0], true))
        for k in shown
    )


def hardest_pictures(
    votes: Integer[np.ndarray, "m l"],
    images: UInt8[np.ndarray, "m h w c"],
    labels: Integer[np.ndarray, " m"],
    classes: Sequence[str],
) -> list[Picture]:
    """Show the test images that most networks classify wrong, with the votes that each class gets."""
    fractions = wrong_fractions(votes, labels)
    # Of equally hard images, first the one whose wrong class has most votes.
    hardest = [int(i) for i in np.lexsort((-votes.max(1), -fractions))[:COUNT] if fractions[i] > 0]
    runs = votes[0].sum()
    return [_picture(i, images[i], votes[i] / runs, int(labels[i]), classes) for i in hardest]


def confident_mistakes(
    probabilities: Float[np.ndarray, "m l"],
    images: UInt8[np.ndarray, "m h w c"],
    labels: Integer[np.ndarray, " m"],
    classes: Sequence[str],
) -> list[Picture]:
    """Show the test images that networks are most sure of and wrong about, by their mean probabilities."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    surest = wrong[np.argsort(-probabilities.max(1)[wrong], kind="stable")][:COUNT]
    return [_picture(int(i), images[i], probabilities[i], int(labels[i]), classes) for i in surest]


def filter_pictures(kernel: Float[np.ndarray, "h w c k"]) -> list[Picture]:
    """Show the filters of a first convolution, each scaled to its own largest weight; grey is zero. (Figure 2)"""
    scaled = 0.5 + 0.5 * kernel / np.maximum(np.abs(kernel).max((0, 1, 2)), 1e-12)
    pixels = np.round(255 * scaled).astype(np.uint8)
    return [Picture(encode_image(pixels[..., k]), f"filter {k + 1}", note=str(k + 1)) for k in range(kernel.shape[-1])]


def _picture(index: int, image: np.ndarray, fractions: np.ndarray, label: int, classes: Sequence[str]) -> Picture:
    title = f"{classes[label]}, not {classes[int(fractions.argmax())]}"
    note = f"test image {index}"
    return Picture(encode_image(image), f"{note}: {title}", title, top_bars(fractions, classes, label), note)


def _kind(index: int, seen: int, true: int | None) -> Kind:
    if true is None:
        return ""
    return "right" if index == true else "wrong" if index == seen else ""
