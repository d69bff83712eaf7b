import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from airjax.augment.transforms import take_moved
from airjax.cli.doctor import main
from airjax.kernels.backend import Ops
from airjax.training.environment import describe
from airjax.training.self_check import check_loop, default_ops, fingerprint, run_checks


def test_this_compiler_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert len(report["fingerprint"]) == 12
    assert len(report["checks"]) >= 12


def test_the_table_begins_with_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"{describe()['device']} ({jax.default_backend()}), jax {jax.__version__}"
    assert second.endswith("right")
    assert last.startswith("fingerprint ")


def scaled_convolution(ops: Ops, factor: float) -> Ops:
    return ops._replace(conv_same=lambda x, kernel: ops.conv_same(x, kernel).at[0, 3, 3, 0].mul(factor))


def scaled_batch_norm(ops: Ops) -> Ops:
    return ops._replace(batch_norm=lambda *arguments: (ops.batch_norm(*arguments)[0] * 1.005, *arguments[1:]))


def last_of_ties(ops: Ops) -> Ops:
    return ops._replace(max_pool=lambda x, size: ops.max_pool(x[:, ::-1], size)[:, ::-1])


@pytest.mark.parametrize(
    ("wrong", "checks"),
    [
        (lambda ops: scaled_convolution(ops, 1.001), {"convolution"}),
        (lambda ops: scaled_convolution(ops, 1.1), {"convolution", "convolution in bfloat16"}),
        (last_of_ties, {"gradient of a pool with ties"}),
        (scaled_batch_norm, {"BatchNorm far from zero"}),
    ],
)
def test_a_wrong_operation_is_found(wrong: Callable[[Ops], Ops], checks: set[str]) -> None:
    found = run_checks(lambda dtype: wrong(default_ops(dtype)))
    assert checks <= {check.name for check in found if not check.passed}
    assert fingerprint(found) != fingerprint(run_checks())


def test_a_wrong_convolution_in_a_loop_is_found() -> None:
    ops = default_ops("float32")
    assert check_loop(ops).passed
    assert not check_loop(scaled_convolution(ops, 1.001)).passed


def test_a_wrong_crop_is_found() -> None:
    found = run_checks(take=lambda *arguments: jnp.flip(take_moved(*arguments), 2))
    assert {check.name for check in found if not check.passed} == {"crops"}


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--what"])
