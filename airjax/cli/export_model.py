"""A trained network in a form that travels: a folder as model hubs hold them, or an ONNX file."""

import functools
import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import UInt8

from airjax.cli.model_card import make_card, origin_of
from airjax.kernels.backend import Backend, make_backend
from airjax.training.api import infer
from airjax.training.checkpoint import Model, load, metadata_of, save_model
from airjax.training.environment import versions
from airjax.training.evaluate import tta_logits
from airjax.training.model_folder import WEIGHTS, find_weights, write_beside_weights
from airjax.utils.extras import import_extra
from airjax.utils.records import write_atomically

BATCH = 500  # images that onnxruntime computes at once
INPUT, OUTPUT = "images", "logits"
KNOWN_TO_CONVERT = "0.10.1"  # the version of jax that the exports are tested with


class ExportError(ValueError):
    """A network that cannot be exported, or whose export predicts something else; the message says what."""


class Comparison(NamedTuple):
    """An exported network beside its original, both in float32."""

    images: int
    different: int  # predictions
    largest: float  # difference of a logit


def export_folder(source: Path, folder: Path, licence: str) -> None:
    """Write a network with config.json and a model card to a folder. Raises ModelError or OSError."""
    model = load(source)
    origin = origin_of(find_weights(source) if source.is_dir() else source)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / WEIGHTS, model)
    write_beside_weights(folder, metadata_of(model), make_card(model, origin, licence))


def export_onnx(source: Path, file: Path, images: UInt8[np.ndarray, "n h w c"] | None) -> Comparison:
    """Write a network with its test-time augmentation as an ONNX file: images uint8 [b,h,w,c] -> logits float32 [b,l].

    Before it is written, onnxruntime must predict the same classes as airjax in float32.

    Args:
        source: a model file, or a folder with one.
        file: the ONNX file.
        images: to compare on; None are 100 images of random pixels.

    Raises ModelError, MissingExtraError, ValueError for images of another shape, ExportError where any prediction
    differs, or OSError.
    """
    runtime = import_extra("onnxruntime", "onnx", "ONNX")
    model = in_float32(load(source))
    if images is None:
        size, channels = model.recipe.inputs.image_size, model.recipe.inputs.channels
        images = np.random.default_rng(0).integers(0, 256, (100, size, size, channels), np.uint8)
    ours, content = infer(model, images), to_onnx(model)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
    theirs = np.concatenate([session.run(None, {INPUT: part})[0] for part in parts])
    different = int((ours.argmax(1) != theirs.argmax(1)).sum())
    found = Comparison(len(images), different, float(np.abs(ours - theirs).max()))
    if different:
        raise ExportError(
            f"{source} is not exported: onnxruntime predicts {different} of {len(images)} images otherwise (logits "
            f"differ by up to {found.largest:.3g})"
        )
    write_atomically(file, content)
    return found


def in_float32(model: Model) -> Model:
    """Return the model in float32, the arithmetic that every ONNX runtime has, and with all views for every image.

    Which images are the least certain follows from a whole test set, of which a batch knows nothing.
    """
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model.variables)
    return Model(model.recipe.override(precision="float32", tta_fraction=1.0), variables, model.classes)


def to_onnx(model: Model) -> bytes:
    """Convert a model in float32, for batches of any size. Raises MissingExtraError or ExportError."""
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of shapes that it infers later
    return convert(model, import_extra("jax2onnx", "onnx", "ONNX"))


def convert(model: Model, converter: Any) -> bytes:
    """Convert a model by jax2onnx. Raises ExportError where that is not made for this version of jax."""
    inputs = model.recipe.inputs
    shape = ("B", inputs.image_size, inputs.image_size, inputs.channels)
    function = functools.partial(tta_logits, model.recipe, model.variables, backend=portable_backend())
    try:
        made = converter.to_onnx(
            function, [jax.ShapeDtypeStruct(shape, jnp.uint8)], input_names=[INPUT], output_names=[OUTPUT]
        )
    except (AttributeError, ImportError, TypeError, NotImplementedError) as error:  # it uses the inside of jax
        raise ExportError(
            f"jax2onnx {versions(('jax2onnx',))['jax2onnx']} does not convert with jax {jax.__version__} "
            f"({type(error).__name__}: {error}); it does with jax {KNOWN_TO_CONVERT}: export in an environment of its "
            f"own, pip install 'airjax[onnx]' 'jax=={KNOWN_TO_CONVERT}'"
        ) from error
    return made.SerializeToString()


def portable_backend() -> Backend:
    """Return a backend in float32 whose pool and GELU are few operations in ONNX: no gradient of them is needed."""
    backend = make_backend("float32", "cpu", "native")
    return backend._replace(ops=backend.ops._replace(max_pool=_max_pool, gelu=_gelu))


def _max_pool(x: Array, size: int) -> Array:
    # As a maximum over axes: jax2onnx makes MaxPool of a windowed reduction, of a size that onnxruntime refuses.
    count, height, width, channels = x.shape
    rows, columns = height // size, width // size
    windows = x[:, : rows * size, : columns * size].reshape(count, rows, size, columns, size, channels)
    return jnp.max(windows, axis=(2, 4))


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)
