"""What XLA compiles of steps of 94 and 96-faster for a GPU described to it, where its CUDA plugin is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airjax.recipes.published import RECIPES
from benchmarks import executed, kernels
from benchmarks.ablation_variants import AS_IT_IS
from benchmarks.kernels import CompiledStep
from benchmarks.products import Product, products_of
from tests.gpu_compiler import NO_GPU_COMPILER, has_gpu_compiler

ROOT = Path(__file__).parents[2]
COMPILE = """
import json, sys
from airjax.recipes.published import RECIPES
from benchmarks import kernels
from benchmarks.ablation_variants import VARIANTS
target, recipe, *names = json.loads(sys.argv[1])
device = kernels.open_target(target)[1]
steps = {name: kernels.compile_step(RECIPES[recipe], VARIANTS[name], device) for name in names}
print(json.dumps({name: step._asdict() for name, step in steps.items()}))
"""
RECIPE = RECIPES["94"]
# XLA then keeps half precision as float32 between kernels.
LEFT = "what is in memory left to the compiler"
NOT_FOR_GPUS = "nothing that is for GPUs alone"
FUSED = "pool, BatchNorm and GELU: gradients in two kernels"
NO_GRAPHS = "no command buffers"


pytestmark = pytest.mark.skipif(not has_gpu_compiler(), reason=NO_GPU_COMPILER)


def compile_steps(target: str, *names: str, recipe: str = "94") -> dict[str, CompiledStep]:
    """Variants of a step, compiled in a process of its own: this one's JAX has found out that there is no GPU."""
    command = [sys.executable, "-c", COMPILE, json.dumps([target, recipe, *names])]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: CompiledStep(**step) for name, step in found.items()}


@pytest.fixture(scope="module")
def steps() -> dict[str, CompiledStep]:
    return compile_steps("h200", AS_IT_IS, NOT_FOR_GPUS, LEFT, NO_GRAPHS)


def summary(step: CompiledStep) -> dict[str, Any]:
    return kernels.summary_of(list(kernels.kernels_of(step.text, RECIPE)))


def library_convolutions(step: CompiledStep) -> list[Product]:
    return [product for product in products_of(step.text).values() if product.is_convolution]


def test_a_step_is_at_most_112_kernels_and_moves_at_most_3_3_gib(steps: dict[str, CompiledStep]) -> None:
    found, before = summary(steps[AS_IT_IS]), summary(steps[NOT_FOR_GPUS])
    assert found["kernels"] <= 112
    assert found["convolution_bytes"] + found["other_bytes"] <= 3.3 * 2**30
    assert before["kernels"] > found["kernels"]


def test_an_h100_gets_the_same_program() -> None:
    found = summary(compile_steps("h100", AS_IT_IS)[AS_IT_IS])
    assert found["kernels"] <= 112
    assert found["convolution_bytes"] + found["other_bytes"] <= 3.3 * 2**30


def test_a_phase_is_one_graph(steps: dict[str, CompiledStep]) -> None:
    assert executed.graphs_of(steps[AS_IT_IS].thunks) == (1, 0)
    graphs, outside = executed.graphs_of(steps[NO_GRAPHS].thunks)
    assert graphs == 0
    assert outside >= summary(steps[NO_GRAPHS])["kernels"]
    graphs, outside = executed.graphs_of(steps[NOT_FOR_GPUS].thunks)
    assert graphs > 10
    assert outside > 18  # every convolution, at least


def test_a_phase_of_a_network_and_its_proxy_is_one_graph_too_and_the_branch_is_in_it() -> None:
    found = compile_steps("h200", AS_IT_IS, recipe="96-faster")[AS_IT_IS]
    assert executed.graphs_of(found.thunks) == (1, 0)
    assert "kConditional" in found.thunks


def test_every_weight_gradient_is_a_backward_filter_convolution(steps: dict[str, CompiledStep]) -> None:
    kinds = [convolution.kind for convolution in library_convolutions(steps[AS_IT_IS])]
    # The first layer is none of the library's, and nothing before the first 3x3 convolution needs a gradient.
    assert {kind: kinds.count(kind) for kind in kinds} == {"forward": 6, "input gradient": 5, "kernel gradient": 6}
    kinds = [convolution.kind for convolution in library_convolutions(steps[NOT_FOR_GPUS])]
    assert {kind: kinds.count(kind) for kind in kinds} == {"forward": 8, "input gradient": 5, "kernel gradient": 5}


def test_no_forward_convolution_has_a_window_above_3x3(steps: dict[str, CompiledStep]) -> None:
    windows = {convolution.window for convolution in library_convolutions(steps[AS_IT_IS])}
    assert windows == {3}


def test_no_activation_is_written_in_float32(steps: dict[str, CompiledStep]) -> None:
    def written(name: str) -> list[str]:
        return executed.float32_activations(steps[name].text, RECIPE.batch_size)

    assert written(AS_IT_IS) == []
    assert written(LEFT) != []


def test_executed_flops_are_between_the_needed_and_the_recipe_s(steps: dict[str, CompiledStep]) -> None:
    assert executed.needed_flops(RECIPE) == pytest.approx(620.7e9, rel=1e-3)
    whole = 6.0 * RECIPE.forward_macs * RECIPE.batch_size
    assert executed.needed_flops(RECIPE) < executed.executed_flops(steps[AS_IT_IS].text) < whole
    # Counted by hand: of the 16x16 and 8x8 pixels that XLA pads gradients to, and of the products that remain.
    assert executed.executed_flops(steps[NOT_FOR_GPUS].text) == pytest.approx(672.66e9, rel=1e-4)


def test_fused_gradients_compile_for_a_gpu_and_move_less(steps: dict[str, CompiledStep]) -> None:
    fused = compile_steps("h200", FUSED)[FUSED]
    assert fused.text.count('custom_call_target="__gpu$xla.gpu.triton"') == 12
    assert executed.graphs_of(fused.thunks) == (1, 0)
    before, after = (
        found["convolution_bytes"] + found["other_bytes"] for found in map(summary, (steps[AS_IT_IS], fused))
    )
    assert after < before - 300 * 2**20
