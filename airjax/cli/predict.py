"""The command line that classifies images: python -m airjax.predict MODEL IMAGE..."""

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from airjax.data.image_files import ImageError, read_image
from airjax.recipes.inputs import Inputs
from airjax.training.api import infer
from airjax.training.checkpoint import Model, ModelError, load
from airjax.training.compile import keep_compiled
from airjax.utils.extras import MissingExtraError, import_extra
from airjax.utils.records import dump_json, write_atomically

BATCH = 1000  # images in memory at once
EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Options:
    """Classify image files with a trained network and test-time augmentation; print the probability of every class.

    A file that cannot be classified is named on stderr, and the others are classified. The exit code is 0 if all files
    were, 1 if some were, and 2 if none was or the model cannot be read.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A model-SEED.safetensors that a training wrote to its --out DIR, or a folder with one network."""
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...")]
    """Image files, of the size and colours that the network was trained on. Of an animation the first frame counts."""
    fit: tyro.conf.FlagCreatePairsOff[bool] = False
    """Convert other images to RGB or grey, on white where transparent, and scale the square in their middle, instead of
    refusing them."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write a page that shows each image as the network was shown it, with the probabilities of the classes."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one line of JSON: a list of objects with file, class and probabilities, or with file and error."""


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.predict") -> int:
    """Run the command line and return its exit code: see `Options`."""
    options = tyro.cli(Options, args=arguments, prog=prog)
    try:
        if not options.images:
            raise ImageError("no image given; name at least one image file after the model")
        if options.html is not None:
            import_extra("jinja2", "report", "a page")
        model = load(options.model)
    except (ImageError, ModelError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    keep_compiled()
    kept, shown, failed = [], [], 0
    for row, image in classify(model, options.images, fit=options.fit):
        failed += "error" in row
        if "error" in row:
            print(f"error: {row['error']}", file=sys.stderr)
        elif not options.json:
            print(_sentence(row))
        if options.json or options.html is not None:
            kept.append(row)
        if options.html is not None:
            shown.append(image)
    if options.json:
        print(dump_json(kept))
    written = options.html is None or _write_page(options.html, options, model, kept, shown)
    if failed and len(options.images) > 1:
        print(f"{failed} of {len(options.images)} images could not be classified", file=sys.stderr)
    if failed == len(options.images):
        return EXIT_USAGE
    return EXIT_SOME_FAILED if failed or not written else EXIT_OK


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the flags as argparse has them, or rather tyro's copy of it: what completion scripts are made from."""
    return tyro.extras.get_parser(Options, prog=prog)  # pyright: ignore[reportReturnType]


def classify(model: Model, files: Sequence[Path], *, fit: bool) -> Iterator[tuple[dict[str, Any], np.ndarray | None]]:
    """Yield the files' rows in order, each {"file", "class", "probabilities"} or {"file", "error"}.

    With each come the pixels that the network was shown, or None: a file may be a pipe, which is read once.
    """
    for start in range(0, len(files), BATCH):
        images, faults = [], {}
        batch = files[start : start + BATCH]
        for place, file in enumerate(batch):
            try:
                images.append(_read(file, model.recipe.inputs, fit=fit))
            except ImageError as error:
                faults[place] = str(error)
        answers = zip(infer(model, np.stack(images)) if images else (), images, strict=True)
        for place, file in enumerate(batch):
            if place in faults:
                yield {"file": str(file), "error": faults[place]}, None
                continue
            logits, image = next(answers)
            answer = _answer(model, file, logits)
            yield {"file": str(file)} | answer, None if "error" in answer else image


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [...,K] of logits [...,K]."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _read(file: Path, inputs: Inputs, *, fit: bool) -> np.ndarray:
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        image = read_image(file, fit=fit, size=inputs.image_size, channels=inputs.channels)
    for note in notes:
        print(f"warning: {file}: {note.message}", file=sys.stderr)
    return image


def _answer(model: Model, file: Path, logits: np.ndarray) -> dict[str, Any]:
    if not np.isfinite(logits).all():
        return {"error": f"{file}: the network's answer is not finite: {model.recipe.precision} has too small a range"}
    probabilities = softmax(logits)
    return {
        "class": model.classes[probabilities.argmax()],
        "probabilities": dict(zip(model.classes, probabilities.tolist(), strict=True)),
    }


def _write_page(
    out: Path, options: Options, model: Model, rows: Sequence[dict[str, Any]], images: Sequence[np.ndarray | None]
) -> bool:
    # Returns whether it could be written.
    from airjax.report.predictions import render_predictions

    described = f"a network of {model.recipe.num_params:,} parameters, trained for {model.recipe.epochs:g} epochs"
    try:
        write_atomically(out, render_predictions(str(options.model), described, rows, images).encode())
    except OSError as error:
        print(f"error: cannot write --html {out}: {error.strerror}", file=sys.stderr)
        return False
    print(f"wrote {out}", file=sys.stderr)
    return True


def _sentence(row: dict[str, Any]) -> str:
    ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])
    return f"{row['file']}: {row['class']}  (" + ", ".join(f"{name} {p:.3f}" for name, p in ranked) + ")"
