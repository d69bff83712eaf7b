"""Where pixels nearly tie in a max-pool, a last bit decides; both frameworks are compared as they fell in airjax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from airjax.kernels import backend
from parity import checks_training
from parity.check_setup import jax_precision
from parity.numerical import run_suite
from parity.pools import RELUS, SIZES, direct_pools, picks, smallest_lead, watch_pools, winners
from parity.torch_implementation import OWN

Pixels = tuple[str, np.ndarray, np.ndarray]
EPS = float(np.finfo(np.float32).eps)


def round_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the last bits of what goes into airjax's pools fall as they would on another processor."""
    right = backend.make_ops

    def make_ops(*arguments: Any) -> backend.Ops:
        ops = right(*arguments)

        def conv_to_pool(x: Any, kernel: Any) -> Any:
            out = ops.conv_to_pool(x, kernel)
            return out * (1 + EPS * jax.random.uniform(jax.random.key(0), out.shape, out.dtype, -1, 1))

        return ops._replace(conv_to_pool=conv_to_pool)

    monkeypatch.setattr(backend, "make_ops", make_ops)


def test_ties_may_fall_either_way(monkeypatch: pytest.MonkeyPatch, builtin: Pixels) -> None:
    # Two levels of each colour: in flat areas, identity filters make pixels tie that have different neighbours.
    name, pixels, labels = builtin
    flat = (name, pixels // 128 * np.uint8(255), labels)
    round_otherwise(monkeypatch)
    result = run_suite(OWN, flat, recipes=("94",), checks=("drift",), precisions=("float32",))
    assert result.passed, result.rows
    # Without directions PyTorch sends the gradients of those windows to other pixels.
    monkeypatch.setattr(checks_training, "direct_pools", lambda network, taken, seen: None)
    lost = run_suite(OWN, flat, recipes=("94",), checks=("drift",), precisions=("float32",))
    assert not lost.passed, lost.rows


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_pools_compute_on_the_very_numbers_that_they_report(precision: str) -> None:
    with jax_precision(precision), watch_pools() as inputs:
        max_pool = backend.make_ops("cpu", "native").max_pool
        x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 3)), precision)
        out, gradient = jax.jit(jax.value_and_grad(lambda x: (max_pool(x, 2) ** 2).sum()))(x)
        jax.block_until_ready((out, gradient))
    assert len(inputs) == 1
    assert np.array_equal(inputs[0], x)
    assert inputs[0].dtype == precision
    largest = np.asarray(x).reshape(2, 2, 2, 2, 2, 3).max((2, 4))
    assert out == pytest.approx((largest**2).sum())
    assert np.count_nonzero(gradient) == largest.size
    assert np.array_equal(np.sort(np.asarray(gradient)[np.asarray(gradient) != 0]), np.sort(2 * largest.ravel()))


def test_a_directed_pool_passes_on_the_pixels_and_their_gradients_in_training_only() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    pool, seen = nn.MaxPool2d(2), []
    direct_pools(nn.Sequential(pool), [[np.array([[[[0, 1], [2, 3]]]])]], seen)
    out = pool(x)
    assert out.flatten().tolist() == [0, 3, 12, 15]
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.nonzero()[:, 2:].tolist() == [[0, 0], [0, 3], [3, 0], [3, 3]]
    assert seen[0][0].largest.flatten().tolist() == [5, 7, 13, 15]
    assert seen[0][0].taken.flatten().tolist() == [0, 3, 12, 15]
    assert pool.eval()(x).flatten().tolist() == [5, 7, 13, 15]


def test_picks_are_grouped_by_pass() -> None:
    inputs = [np.zeros((1, 6, 6, 1), np.float32) for _ in range(2 * len(SIZES))]
    inputs[5][0, 2, 3, 0] = 1
    found = picks(inputs)
    assert [[x.shape for x in passed] for passed in found] == [[(1, 1, 3, 3)] * 3 + [(1, 1, 1, 1)]] * 2
    assert found[1][1].tolist() == [[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]]


def test_a_pool_s_pixels_are_counted_by_rows_and_the_first_of_equals_wins() -> None:
    x = np.zeros((1, 1, 5, 4))
    x[0, 0, 1, 0], x[0, 0, 2, 3], x[0, 0, 4, 0] = 3.0, 2.0, 9.0  # the last is in no window
    assert winners(x, 2).tolist() == [[[[2, 0], [0, 1]]]]


def test_smallest_lead_is_that_of_the_narrowest_window() -> None:
    x = torch.tensor([[0.0, 1.0, 5.0, 0.0], [4.0, 2.0, 0.0, 4.5]]).reshape(1, 1, 2, 4)
    assert smallest_lead(x, 2) == 0.5


def test_a_directed_relu_passes_on_what_it_is_told_to_and_says_how_wrong_that_is() -> None:
    x = torch.tensor([[[[1.0, -0.5], [-2.0, 3.0]]]]).requires_grad_()
    relu, seen = nn.ReLU(), []
    direct_pools(nn.Sequential(relu), [[np.array([[[[True, True], [False, False]]]])]], seen)
    out = relu(x)
    assert out.flatten().tolist() == [1, -0.5, 0, 0]
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 1, 0, 0]
    assert (seen[0][0].largest - seen[0][0].taken).flatten().tolist() == [0, 0.5, 0, 3]
    assert relu.eval()(x).flatten().tolist() == [1, 0, 0, 3]


def test_relus_report_what_they_pass_on_in_the_order_of_the_network() -> None:
    with watch_pools() as inputs:
        relu = backend.make_ops("cpu", "native").relu
        x = jnp.asarray([[[[1.0], [-1.0]]]], jnp.float32)
        jax.block_until_ready(jax.jit(lambda x: [x := relu(x - number) for number in range(RELUS)][-1])(x))
    (passed,) = picks(inputs)
    assert [mask.tolist() for mask in passed[:2]] == [[[[[True, False]]]], [[[[False, False]]]]]
    assert len(passed) == RELUS
