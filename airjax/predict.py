"""The command line that classifies images: python -m airjax.predict MODEL IMAGE..."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import tyro

from airjax.checkpoint import ModelError, load
from airjax.console import run_main
from airjax.driver import keep_compiled
from airjax.library import infer
from airjax.recipe import IMAGE_SIZE
from airjax.records import dump_json


class ImageError(Exception):
    """An image file that cannot be classified as it is; the message says why."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Classify image files with a trained network and test-time augmentation; print the probability of every class."""

    model: tyro.conf.Positional[Path]
    """A model-SEED.safetensors that training wrote."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, 32x32 pixels in RGB."""
    fit: bool = False
    """Convert other images to RGB and scale them to 32x32 instead of refusing them."""
    json: bool = False
    """Print one line of JSON: a list of objects with file, class and probabilities."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or 2 for a bad model, image or argument."""
    options = tyro.cli(Options, args=arguments, prog="python -m airjax.predict")
    try:
        if not options.images:
            raise ImageError("no image given; name at least one image file after the model")
        images = np.stack([read_image(file, fit=options.fit) for file in options.images])
        model = load(options.model)
    except (ImageError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    keep_compiled()
    probabilities = softmax(infer(model, images))
    rows = [
        {
            "file": str(file),
            "class": model.classes[row.argmax()],
            "probabilities": dict(zip(model.classes, row.tolist(), strict=True)),
        }
        for file, row in zip(options.images, probabilities, strict=True)
    ]
    if options.json:
        print(dump_json(rows))
        return 0
    for row in rows:
        ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])
        print(f"{row['file']}: {row['class']}  (" + ", ".join(f"{name} {p:.3f}" for name, p in ranked) + ")")
    return 0


def read_image(file: Path, *, fit: bool) -> np.ndarray:
    """An image file as uint8 [32,32,3]. Raises ImageError if it cannot be read or, unless fit, is of another kind."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            if fit:
                image = image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)  # noqa: PLW2901
            if image.mode != "RGB":
                raise ImageError(f"{file} has colour mode {image.mode}, not RGB; pass --fit to convert it")
            if image.size != (IMAGE_SIZE, IMAGE_SIZE):
                width, height = image.size
                raise ImageError(f"{file} is {width}x{height} pixels, not 32x32; pass --fit to scale it")
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's own errors for damaged files
        raise ImageError(f"{file} cannot be read as an image: {error}") from error


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [N,10] of logits [N,10]."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


if __name__ == "__main__":
    run_main(main)
