"""Show on a page what a network sees in image files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airjax.report.page import HERE, fill_template
from airjax.report.pictures import Picture, encode_image, top_bars

BARS = 5  # classes beside an image
UNSURE = 0.5  # a lower probability of the class that is seen is said to be one


def render_predictions(
    model: str, recipe: str, rows: Sequence[dict[str, Any]], images: Sequence[np.ndarray | None]
) -> str:
    """Render the page of a prediction.

    Args:
        model: the network's file.
        recipe: what it is a network of, in a few words.
        rows: of each image file {"file", "class", "probabilities"}, or {"file", "error"}.
        images: of each the pixels that the network was shown; None where there is an error.
    """
    pairs = zip(rows, images, strict=True)
    pictures = [_picture(row, image) for row, image in pairs if image is not None]
    faults = [row["error"] for row in rows if "error" in row]
    unsure = sum(max(row["probabilities"].values()) < UNSURE for row in rows if "error" not in row)
    said = f"{unsure:,} of them with a probability below {UNSURE:.0%}" if unsure else "all with more than half"
    values = {
        "title": f"What {Path(model).name} sees",
        "verdict": "failed" if faults else "complete",
        "headline": f"{len(pictures):,} image{'s' * (len(pictures) != 1)} classified",
        "sentence": f"By {recipe}; {said}." if pictures else f"By {recipe}.",
        "pictures": pictures,
        "faults": faults,
    }
    return fill_template(HERE / "predictions.html", values)


def _picture(row: dict[str, Any], image: np.ndarray) -> Picture:
    fractions = np.array(list(row["probabilities"].values()))
    bars = top_bars(fractions, list(row["probabilities"]), count=BARS)
    return Picture(encode_image(image), f"{row['file']}: {row['class']}", row["class"], bars, Path(row["file"]).name)
