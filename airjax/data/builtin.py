"""The synthetic dataset: ten classes of images, made in seconds on any machine, so that nothing needs a download.

Each image shows one shape of random place, size, angle and colours, behind a bar, on a shaded background, in noise.
A shape's colour leans towards its class, which a small network learns in seconds; two pairs of classes share a lean and
differ in shape alone. In a few images the shape is missing, so that no network is right about all of them. Only exactly
rounded arithmetic is used (no sine, no library random floats), so that every machine makes the same bits.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int32, UInt8

from airjax.data.dataset import SYNTHETIC, Dataset

SIZE = 32  # pixels
CHUNK = 500  # images made at a time: what the caches hold
MISSING = 0.03  # fraction of the images without their shape: the class cannot be told
LEAN = 60  # levels of 255 by which each channel of a shape's colour leans to its class, up or down
CLASSES = ("disc", "square", "triangle", "ring", "cross", "half disc", "crescent", "corner", "stripes", "checks")


def load_builtin(num_train: int = 50_000, num_test: int = 10_000) -> Dataset:
    """Make the synthetic dataset; always the same images. The first n of any size are the first n of the full set."""
    return Dataset(SYNTHETIC, *make_split(num_train, seed=1), *make_split(num_test, seed=2), CLASSES)


def make_split(
    num_images: int, seed: int
) -> tuple[UInt8[np.ndarray, "{num_images} 32 32 3"], Int32[np.ndarray, " {num_images}"]]:
    """Make images and their labels."""
    images = np.empty((num_images, SIZE, SIZE, 3), np.uint8)
    labels = np.empty(num_images, np.int32)
    for chunk, start in enumerate(range(0, num_images, CHUNK)):
        made = _make_chunk(np.random.PCG64([seed, chunk]))
        stop = min(start + CHUNK, num_images)
        images[start:stop], labels[start:stop] = (part[: stop - start] for part in made)
    return images, labels


def _make_chunk(bits: np.random.PCG64) -> tuple[np.ndarray, np.ndarray]:
    labels = (_uniform(bits, CHUNK) * len(CLASSES)).astype(np.int32)
    # Half extent of the shape in pixels, and its centre, all of it inside the image.
    extent = 6 + 7 * _uniform(bits, CHUNK)
    centre = extent + (SIZE - 1 - 2 * extent) * _uniform(bits, 2, CHUNK)
    cosine, sine = _unit_vectors(bits)
    u, v = _rotated_grid(cosine / extent, sine / extent, centre)
    mask = np.empty_like(u)
    for number, shape in enumerate(SHAPES):
        chosen = labels == number
        mask[chosen] = shape(u[chosen], v[chosen])
    mask = np.clip(0.5 + 5 * mask, 0, 1)
    mask[_uniform(bits, CHUNK) < np.float32(MISSING)] = 0

    cosine, sine = _unit_vectors(bits)
    along, across = _rotated_grid(cosine / SIZE, sine / SIZE, (SIZE - 1) * _uniform(bits, 2, CHUNK))
    width = 0.03 + 0.05 * _uniform(bits, CHUNK)
    bar = np.clip(0.5 + 30 * (width[:, None, None] - np.abs(across)), 0, 1)

    lean = _CLASS_COLOURS[labels].T
    shape_colour = 60 + 120 * _uniform(bits, 3, CHUNK) + LEAN * lean
    background = 40 + 160 * _uniform(bits, 3, CHUNK)
    bar_colour = 40 + 160 * _uniform(bits, 3, CHUNK)
    slope = 80 * (_uniform(bits, 3, CHUNK) - np.float32(0.5))
    noise = np.frombuffer(bits.random_raw(CHUNK * SIZE * SIZE * 3 // 8 * 2).tobytes(), np.uint8)
    noise = noise.reshape(2, 3, CHUNK, SIZE, SIZE).astype(np.float32)

    images = np.empty((CHUNK, SIZE, SIZE, 3), np.uint8)
    for channel in range(3):
        ground, shade, shape, front = (
            colour[channel][:, None, None] for colour in (background, slope, shape_colour, bar_colour)
        )
        pixels = ground + shade * along
        pixels += mask * (shape - pixels)
        pixels += bar * (front - pixels)
        pixels += 0.25 * (noise[0, channel] - noise[1, channel])
        images[..., channel] = np.clip(pixels, 0, 255)
    return images, labels


def _uniform(bits: np.random.PCG64, *shape: int) -> np.ndarray:
    """Draw float32 in [0, 1) from the raw bit stream, which numpy keeps stable forever."""
    raw = bits.random_raw(int(np.prod(shape))) >> np.uint64(40)
    return raw.astype(np.float32).reshape(shape) * np.float32(2**-24)


def _unit_vectors(bits: np.random.PCG64) -> tuple[np.ndarray, np.ndarray]:
    """Points (x, y) of the unit circle, [CHUNK] each, by its rational parametrisation; signs swapped at random."""
    t = 2 * _uniform(bits, CHUNK) - 1
    scale = 1 / (1 + t * t)
    sign = np.where(_uniform(bits, CHUNK) < 0.5, np.float32(-1), np.float32(1))
    return sign * (1 - t * t) * scale, sign * 2 * t * scale


def _rotated_grid(cosine: np.ndarray, sine: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotated and scaled pixel coordinates [CHUNK,32,32] around centre [2,CHUNK]."""
    grid = np.arange(SIZE, dtype=np.float32)
    x, y = (grid[None, :] - c[:, None] for c in centre)
    c, s = cosine[:, None], sine[:, None]
    return (c * x)[:, None, :] + (s * y)[:, :, None], (c * y)[:, :, None] - (s * x)[:, None, :]


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 1 - u * u - v * v


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.float32(0.8) - np.maximum(np.abs(u), np.abs(v))


def _half(phase: np.ndarray) -> np.ndarray:
    # A triangle wave of period 1 between -1 and 1.
    return 4 * np.abs(phase - np.floor(phase) - np.float32(0.5)) - 1


# Each maps coordinates, in which the shape fits the unit circle, to a number positive inside and negative outside.
SHAPES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    _disc,
    _square,
    lambda u, v: np.minimum(v + np.float32(0.6), np.float32(0.6) - np.abs(u) - v * np.float32(0.55)),
    lambda u, v: np.minimum(_disc(u, v), u * u + v * v - np.float32(0.3)),
    lambda u, v: np.minimum(_square(u, v), np.float32(0.3) - np.minimum(np.abs(u), np.abs(v))),
    lambda u, v: np.minimum(_disc(u, v), v + np.float32(0.1)),
    lambda u, v: np.minimum(_disc(u, v), -_disc(u, v - np.float32(0.6))),
    lambda u, v: np.minimum(_square(u, v), np.maximum(-u, -v) - np.float32(0.1)),
    lambda u, v: np.minimum(_disc(u, v), _half(u * np.float32(1.5))),
    lambda u, v: np.minimum(_disc(u, v), _half(u) * _half(v)),
)

# Whether red, green and blue of a shape lean up or down. Disc and stripes have the same, and square and checks.
_CLASS_COLOURS = np.array([[2 * (number >> bit & 1) - 1 for bit in range(3)] for number in range(10)], np.float32)
