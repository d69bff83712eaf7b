import json
from typing import Any

import jax.numpy as jnp
import pytest

from airjax.augment.transforms import take_moved
from airjax.cli.doctor import main
from airjax.kernels import layers
from airjax.training import self_check
from airjax.training.self_check import run_checks


def test_this_compiler_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert len(report["fingerprint"]) == 12
    assert len(report["checks"]) >= 12


def mirrored_crop(*arguments: Any) -> Any:
    return jnp.flip(take_moved(*arguments), 2)


@pytest.mark.parametrize(
    ("name", "wrong", "checks"),
    [
        (
            "conv_same",
            lambda x, k, convolution: layers.conv_same(x, k, convolution).at[0, 3, 3, 0].mul(1.001),
            {"convolution"},
        ),
        (
            "conv_same",
            lambda x, k, convolution: layers.conv_same(x, k, convolution).at[0, 3, 3, 0].mul(1.1),
            {"convolution", "convolution in bfloat16"},
        ),
        ("max_pool", lambda x, size: layers.max_pool(x[:, ::-1], size)[:, ::-1], {"gradient of a pool with ties"}),
        ("batch_moments", lambda x: (x.mean((0, 1, 2)), x.var((0, 1, 2)) * 1.01), {"BatchNorm far from zero"}),
        ("take_moved", mirrored_crop, {"crops"}),
    ],
)
def test_a_wrong_operation_is_found(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any, checks: set[str]) -> None:
    right = self_check.fingerprint(run_checks())
    monkeypatch.setattr(self_check, name, wrong)
    found = run_checks()
    assert checks <= {check.name for check in found if not check.passed}
    assert self_check.fingerprint(found) != right


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--what"])
