"""One network on many devices: each computes its part of the batch, and what the parts have in common is added up.

A mesh is the devices of one training, in one process or in several, as one axis. Everything but the batch is
replicated: every device holds the state, and takes the same step by the gradients of the whole batch. A function on a
mesh is traced for one device (`jax.shard_map`), so that it may call libraries that XLA cannot partition, such as
oneDNN. A mesh of None is one device, on which these functions leave what they are given as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Shaped

from airjax.utils.platform import DeviceError, default_platform

AXIS = "data"  # the mesh's one axis, over which a batch is cut

Devices = int | Literal["all"]  # how many, those of all processes together


def make_mesh(devices: Devices = "all") -> Mesh:
    """Return a mesh of so many devices, equally many and the first ones of every process, in the order of processes.

    Raises DeviceError for more than there are, and for a number that the processes cannot share equally.
    """
    platform, by_process = default_platform(), _by_process()
    wanted = sum(map(len, by_process)) if devices == "all" else _check_number(devices)
    each, remainder = divmod(wanted, len(by_process))
    if remainder:
        raise DeviceError(f"devices is {wanted}, but {len(by_process)} processes cannot have equally many of them")
    fewest = min(map(len, by_process))
    if each > fewest:
        where = "" if len(by_process) == 1 else f" in each of {len(by_process)} processes"
        remedy = " (XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of a CPU)" if platform == "cpu" else ""
        raise DeviceError(f"devices is {wanted}, but JAX sees only {fewest} ({platform}){where}{remedy}")
    return Mesh(np.array([one for own in by_process for one in own[:each]]), (AXIS,))


def mesh_for(devices: Devices | None) -> Mesh | None:
    """Return `make_mesh` of so many devices; None where they are one, as None says, too."""
    mesh = None if devices is None else make_mesh(devices)
    return None if mesh is None or mesh.size == 1 else mesh


def mesh_of(array: Any) -> Mesh | None:
    """Return the mesh on whose devices an array is; None for one on a single device, or on the host."""
    sharding = array.sharding if isinstance(array, Array) else None
    return sharding.mesh if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh) else None


def num_devices(mesh: Mesh | None) -> int:
    """Count the devices of a mesh."""
    return 1 if mesh is None else mesh.size


def check_shares(mesh: Mesh | None, name: str, count: int) -> int:
    """Return how many of count examples each device has. Raises ValueError, naming them, unless all have as many."""
    if count % num_devices(mesh):
        raise ValueError(
            f"{name} is {count}, which {num_devices(mesh)} devices cannot share equally; "
            f"make it a multiple of {num_devices(mesh)}, or choose another number of devices"
        )
    return count // num_devices(mesh)


def replicate(mesh: Mesh | None, tree: Any) -> Any:
    """Put arrays, which every process has alike, on all devices of the mesh; keys of random numbers, too."""
    return tree if mesh is None else jax.tree.map(lambda array: _replicate(mesh, array), tree)


def shard_batch(mesh: Mesh | None, batch: Any) -> Any:
    """Put a batch on the devices: of each array [b/p,...] of this process, one of p, its devices get equal parts.

    The whole batch [b,...] is the processes' parts one after the other. Raises ValueError where the devices of this
    process cannot share its examples equally.
    """
    if mesh is None:
        return jax.tree.map(jax.numpy.asarray, batch)
    return jax.tree.map(lambda array: _shard(mesh, np.asarray(array)), batch)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return where `shard_batch` puts a batch: equal parts of it, along its leading axis, on the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def to_one_device(mesh: Mesh | None, tree: Any) -> Any:
    """Return replicated arrays as arrays of this process's default device, as a training on one device leaves them."""
    return tree if mesh is None else jax.tree.map(lambda array: jax.numpy.asarray(np.asarray(array)), tree)


def over_devices(mesh: Mesh | None, function: Callable[..., Any], cut: Sequence[bool] = ()) -> Callable[..., Any]:
    """Let every device of a mesh call a function, whose results have to be the same on all of them.

    cut says which of its arguments are cut over the devices, along the leading axis of their arrays, as `shard_batch`
    leaves them; all others are replicated, which is also what cut says if it is empty. The function makes its results
    the same by `sum_over_devices`, `mean_over_devices` or `gather_parts`: JAX does not check that.
    """
    if mesh is None:
        return function
    specs = tuple(PartitionSpec(AXIS) if own else PartitionSpec() for own in cut) if cut else PartitionSpec()
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)


def jit_on(mesh: Mesh | None, function: Callable[..., Any], **options: Any) -> Any:
    """Return the jitted function; on a mesh its arguments and results are replicated."""
    if mesh is None:
        return jax.jit(function, **options)
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.jit(function, in_shardings=everywhere, out_shardings=everywhere, **options)


def own_part(mesh: Mesh | None, array: Shaped[Array, "b ..."]) -> Shaped[Array, "_ ..."]:
    """Return this device's part of an array that all devices have. For functions that `over_devices` calls."""
    if mesh is None:
        return array
    size = array.shape[0] // mesh.size
    return lax.dynamic_slice_in_dim(array, lax.axis_index(AXIS) * size, size)


def gather_parts(mesh: Mesh | None, tree: Any) -> Any:
    """Join the devices' parts [b/d,...] of arrays to [b,...] on all of them: the inverse of `own_part`."""
    return tree if mesh is None else jax.tree.map(lambda array: lax.all_gather(array, AXIS, tiled=True), tree)


def sum_over_devices(mesh: Mesh | None, tree: Any) -> Any:
    """Add up what the devices have of each array, in the array's own dtype."""
    return tree if mesh is None else lax.psum(tree, AXIS)


def mean_over_devices(mesh: Mesh | None, tree: Any) -> Any:
    """Average what the devices have of each array."""
    return tree if mesh is None else lax.pmean(tree, AXIS)


def _by_process() -> list[list[Any]]:
    devices = jax.devices()
    return [[one for one in devices if one.process_index == index] for index in range(jax.process_count())]


def _check_number(devices: Any) -> int:
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise DeviceError(f"devices is {devices!r}, but it must be a whole number from 1, or all")
    return devices


def _replicate(mesh: Mesh, array: Any) -> Array:
    if isinstance(array, Array) and jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key):
        words = _replicate(mesh, jax.random.key_data(array))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(array))
    host = np.asarray(array)
    # Not device_put, which in several processes first sends the array to all of them to compare.
    return jax.make_array_from_callback(host.shape, NamedSharding(mesh, PartitionSpec()), lambda index: host[index])


def _shard(mesh: Mesh, array: np.ndarray) -> Array:
    processes = len({device.process_index for device in mesh.devices.flat})
    check_shares(mesh, "the batch of all processes", len(array) * processes)
    shape = (len(array) * processes, *array.shape[1:])
    return jax.make_array_from_process_local_data(batch_sharding(mesh), array, shape)
