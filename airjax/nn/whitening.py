"""The first convolution's fixed weights: patches -> second moment -> eigenvectors -> filters. (§2)"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from airjax.recipes.network import PATCH

IMAGES_AT_ONCE = 250  # whose patches are in memory at a time; the patches of all would be four times the data
SIGN_RATIO = 1.7  # of the weights that decide about signs


def second_moment(images: Float[Array, "n h w c"]) -> Float[Array, "4*c 4*c"]:
    """Compute the uncentred second moment of all overlapping 2x2 patches of images.

    A patch is ordered (row, col, channel). Summed per image and then over images, in full precision: the smallest
    eigenvalues compete with a small epsilon.
    """
    rows, cols = (side - PATCH + 1 for side in images.shape[1:3])

    def moment(image: Float[Array, "h w c"]) -> Float[Array, "4*c 4*c"]:
        corners = [(row, col) for row in range(PATCH) for col in range(PATCH)]
        patches = jnp.concatenate([image[r : r + rows, c : c + cols] for r, c in corners], axis=-1)
        patches = patches.reshape(rows * cols, -1)
        return jnp.matmul(patches.T, patches, precision=lax.Precision.HIGHEST)

    return lax.map(moment, images, batch_size=IMAGES_AT_ONCE).mean(axis=0) / (rows * cols)


def fix_signs(vectors: Float[Array, "k k"]) -> Float[Array, "k k"]:
    """Sign eigenvectors, one per column, so that their sums with weights 1, 1.7, 1.7^2, ... are positive.

    A library may return either sign. With these weights no eigenvector of natural images has a sum near zero.
    """
    weights = SIGN_RATIO ** jnp.arange(vectors.shape[0], dtype=vectors.dtype)
    sums = jnp.matmul(weights, vectors, precision=lax.Precision.HIGHEST)
    return jnp.where(sums[None, :] < 0, -vectors, vectors)


def whitening_filters(
    images: Float[Array, "n h w c"], epsilon: float, *, ascending: bool = False
) -> Float[Array, "2 2 c 8*c"]:
    """Compute filters (HWIO) that whiten the patches of images: eigenvectors over sqrt(value + epsilon).

    By descending eigenvalue, or ascending, and then the negatives. The signs matter where the first block has fewer
    channels than there are filters: its identity filters then pass only the first of them. (§2)
    """
    values, vectors = jnp.linalg.eigh(second_moment(images), symmetrize_input=False)
    filters = fix_signs(vectors) / jnp.sqrt(values + epsilon)[None, :]
    filters = filters if ascending else filters[:, ::-1]
    both = jnp.concatenate([filters, -filters], axis=1)
    return both.reshape(PATCH, PATCH, images.shape[-1], both.shape[1])
