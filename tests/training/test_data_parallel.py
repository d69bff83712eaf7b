"""What a function on a mesh of four devices computes. (Trainings on meshes: test_device_trainings.py.)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.training import data_parallel
from airjax.training.data_parallel import check_shares, make_mesh, over_devices, replicate, shard_batch, to_one_device
from airjax.utils.platform import DeviceError
from tests.device_scripts import run_on_devices


def test_functions_see_their_parts_and_results_are_those_of_the_whole_batch() -> None:
    run_on_devices(
        4,
        """
import jax, numpy as np
from airjax.training.data_parallel import *
mesh = make_mesh("all")
assert (mesh.size, make_mesh(2).size, make_mesh(1).size) == (4, 2, 1)
batch = np.arange(24, dtype=np.float32).reshape(8, 3)

def of_parts(weights, part):
    assert part.shape == (2, 3)
    total = sum_over_devices(mesh, part.sum(0) * weights)
    doubled, again = gather_parts(mesh, (2 * part, own_part(mesh, weights4)))
    return total, mean_over_devices(mesh, part.mean(0)), doubled, again

weights4 = np.arange(4, dtype=np.float32)
weights = np.array([1, 10, 100], np.float32)
run = jax.jit(over_devices(mesh, of_parts, (False, True)))
total, mean, doubled, again = run(replicate(mesh, weights), shard_batch(mesh, batch))
np.testing.assert_array_equal(total, batch.sum(0) * weights)
np.testing.assert_array_equal(mean, batch.mean(0))
np.testing.assert_array_equal(doubled, 2 * batch)
np.testing.assert_array_equal(again, weights4)

# Without a sum each device has its own result: the comparison above would tell.
alone = jax.jit(over_devices(mesh, lambda part: part.sum(0), (True,)))(shard_batch(mesh, batch))
assert not np.array_equal(np.asarray(alone), batch.sum(0))

keys = jax.random.split(jax.random.key(3), 2)
everywhere = replicate(mesh, keys)
assert len(everywhere.sharding.device_set) == 4
np.testing.assert_array_equal(jax.random.key_data(everywhere), jax.random.key_data(keys))
back = to_one_device(mesh, {"weights": replicate(mesh, weights)})["weights"]
assert back.sharding.device_set == {jax.devices()[0]}
try:
    shard_batch(mesh, batch[:6])
except ValueError as error:
    assert "6, which 4 devices cannot share equally" in str(error), error
else:
    raise AssertionError("six examples were cut into four parts")
""",
    )


def test_one_device_is_left_alone() -> None:
    array = jnp.arange(4.0)
    for function in ("own_part", "gather_parts", "sum_over_devices", "mean_over_devices"):
        assert getattr(data_parallel, function)(None, array) is array
    assert replicate(None, array) is array
    assert to_one_device(None, array) is array
    assert over_devices(None, np.sin) is np.sin
    np.testing.assert_array_equal(shard_batch(None, np.arange(4.0)), array)
    assert check_shares(None, "batch-size", 7) == 7


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (0, "devices is 0, but it must be a whole number from 1, or all"),
        (True, "devices is True, but it must be"),
        ("both", "devices is 'both', but it must be"),
        (1000, r"devices is 1000, but JAX sees only \d+ \(cpu\).*device_count=N makes N"),
    ],
)
def test_devices_that_there_are_not_are_refused(devices: data_parallel.Devices, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        make_mesh(devices)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    assert check_shares(mesh, "batch-size", 1024) == 256  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="batch-size is 1002, which 4 devices cannot share equally"):
        check_shares(mesh, "batch-size", 1002)  # pyright: ignore[reportArgumentType]
