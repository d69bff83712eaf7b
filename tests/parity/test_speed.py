import importlib.util
import json
from typing import Any

import numpy as np
import pytest
import torch

import airjax
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import resolve_precision
from benchmarks.__main__ import main
from benchmarks.speed import plan
from benchmarks.speed_options import make_parser
from parity import reference, speed, upstream, upstream_compiled, upstream_trainer
from parity.timing import TimedWork
from parity.torch_draws import sample_draws
from parity.torch_images import augment_epoch, prepare_images
from parity.upstream_compiled import CompiledTrainer
from parity.upstream_cpu import INSTALL
from parity.upstream_trainer import Trainer


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # The implementations take all cores; the tests of this process stay with one.
    monkeypatch.setattr(speed, "start_torch", lambda device: None)


def work_of(task: Any, recipe: Recipe, data: airjax.Dataset, implementation: Any = "eager") -> TimedWork:
    return TimedWork(
        task, implementation, recipe, data.head(recipe.train_examples, recipe.test_examples), "cpu", steps=3
    )


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("step", {"bias trains", "bias frozen"}),
        ("run", {"whiten", "train", "evaluate"}),
        ("evaluate", {"evaluate"}),
        ("augment", {"augment"}),
    ],
)
def test_every_kind_of_work_is_timed(task: str, parts: set[str], toy: airjax.Dataset, tiny: Recipe) -> None:
    work = work_of(task, tiny, toy)
    ready = speed.prepare(work)
    seconds = ready.block(0)
    assert set(seconds) == parts
    assert min(seconds.values()) > 0
    facts = speed.facts(work, ready)
    assert facts.compile_seconds == 0
    assert facts.precision == "float32"
    assert facts.matmul_rate > 1e8


def test_a_timed_step_trains_on_the_images_that_a_training_has(toy: airjax.Dataset, tiny: Recipe) -> None:
    recipe = tiny.override(translate=4, cutout=8)
    draws = sample_draws(recipe, torch.Generator().manual_seed(1))
    prepared = prepare_images(recipe, torch.as_tensor(toy.train_images[:256]), draws.flips, torch.float32)
    chosen = draws.order[1][32:64]
    batch = augment_epoch(recipe, prepared[chosen], speed.draws_of(draws, 1, chosen), 0)
    torch.testing.assert_close(batch, augment_epoch(recipe, prepared, draws, 1)[chosen], rtol=0, atol=0)


def test_the_bias_trains_in_one_phase_and_rests_in_the_other(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = [], reference.advance

    def spy(recipe: Recipe, training: reference.Training, number: int, *batch: Any) -> Any:
        loss = step(recipe, training, number, *batch)
        seen.append((number, training.network.get_parameter("0.bias").requires_grad))
        return loss

    monkeypatch.setattr(speed, "advance", spy)
    block = speed.prepare(work_of("step", tiny, toy)).block
    block(0)
    assert seen == [(0, True), (1, True), (2, True), (8, False), (9, False), (10, False)]


def test_the_released_package_is_timed_at_whole_trainings_only(toy: airjax.Dataset) -> None:
    if not importlib.util.find_spec("airbench"):
        pytest.skip(f"the released package is not installed: {INSTALL}")
    recipe = RECIPES["mini"].override(train_examples=300, test_examples=100, widths=(8, 8, 8), epochs=1.0)
    assert set(speed.prepare(work_of("run", recipe, toy, "airbench")).block(0)) == {"train", "evaluate"}
    with pytest.raises(ValueError, match="airbench is a whole training and has no step of its own"):
        speed.prepare(work_of("step", recipe, toy, "airbench"))


def test_two_processes_are_measured_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--recipe", "tiny", "--against", "eager", "--repeats", "2", "--device", "cpu", "--json"]
    assert main(["augment", *arguments]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(record["implementations"]) == {"airjax", "eager"}
    assert record["ratio"] == pytest.approx(record["airjax"] / record["torch"])
    assert len(record["implementations"]["eager"]["seconds"]) == 2


def test_autocast_has_weights_in_float32_and_computes_in_bfloat16(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = [], reference.train_step

    def spy(forward: Any, *rest: Any, **options: Any) -> Any:
        outputs = []
        forward.network[2].conv1.register_forward_hook(lambda module, inputs, output: outputs.append(output.dtype))
        loss = step(forward, *rest, **options)
        seen.append((forward.network[2].conv1.weight.dtype, outputs[-1]))
        return loss

    monkeypatch.setattr(reference, "train_step", spy)
    work = work_of("step", tiny.override(precision="bfloat16"), toy, "autocast")._replace(steps=1)
    prepared = speed.prepare(work)
    prepared.block(0)
    assert seen == [(torch.float32, torch.bfloat16)] * 2
    assert speed.facts(work, prepared).precision == "bfloat16"


def test_the_released_package_is_recorded_in_what_it_computes_in(tiny: Recipe, toy: airjax.Dataset) -> None:
    def precisions(device: Any, precision: Any) -> list[str]:
        work = work_of("run", tiny.override(precision=precision), toy)._replace(device=device)
        return [
            speed.precision_of(work._replace(implementation=name))
            for name in ("airbench", "airbench-compiled", "eager", "autocast")
        ]

    # As shipped on a GPU, whatever the recipe says; on a CPU it is the recipe's.
    assert precisions("cuda", "auto") == ["float16", "float16", "float16", "bfloat16"]
    assert precisions("cuda", "bfloat16") == ["float16", "float16", "bfloat16", "bfloat16"]
    assert precisions("cpu", "auto") == ["float32", "float32", "float32", "bfloat16"]


def test_a_first_step_compiles_what_it_needs_alone(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, calls, taken, step = [], [], [], reference.advance

    def compile_network(network: torch.nn.Module, mode: str) -> Any:
        compiled.append(mode)

        def forward(images: torch.Tensor) -> torch.Tensor:
            calls.append((len(images), network.training, network.get_parameter("0.bias").requires_grad))
            return network(images)

        return forward

    def spy(recipe: Recipe, training: reference.Training, number: int, *batch: Any) -> Any:
        taken.append(number)
        return step(recipe, training, number, *batch)

    monkeypatch.setattr(torch, "compile", compile_network)
    monkeypatch.setattr(speed, "advance", spy)
    take = speed.prepare_first_step(work_of("step", tiny, toy, "compiled"))
    assert (compiled, calls) == (["default"], [])
    take()
    # One batch of the first phase: neither the other phase nor an evaluation.
    assert (calls, taken) == ([(tiny.batch_size, True, True)], [0])
    speed.prepare_first_step(work_of("step", tiny, toy, "eager"))()
    assert (len(compiled), len(calls), taken) == (1, 1, [0, 0])


def test_torch_in_bfloat16_on_a_cpu_is_autocast_as_well() -> None:
    def implementations(*arguments: str) -> list[tuple[str, str]]:
        options = make_parser("step").parse_args(["--recipe", "tiny", "--device", "cpu", *arguments])
        return [
            (work.implementation, resolve_precision(work.recipe, "cpu").precision) for work in plan("step", options)[0]
        ]

    half = ["airjax", "eager", "compiled", "autocast", "autocast-compiled"]
    assert implementations("--precision", "bfloat16") == [(name, "bfloat16") for name in half]
    assert implementations() == [(name, "float32") for name in half[:3]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's compiler warns of torch
@pytest.mark.parametrize("autocast", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_a_compiled_network_trains_as_the_eager_one(toy: airjax.Dataset, tiny: Recipe, *, autocast: bool) -> None:
    runs = [reference.train(tiny, toy, seed=0, compile_mode=mode, autocast=autocast) for mode in (None, "default")]
    np.testing.assert_allclose(runs[1].losses, runs[0].losses, rtol=2e-2 if autocast else 1e-3)
    assert speed.prepare(work_of("step", tiny, toy, "compiled")).compile_seconds > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's compiler warns of torch
def test_the_compiled_package_is_compiled_once_for_all_its_trainings(toy: airjax.Dataset) -> None:
    if not importlib.util.find_spec("airbench"):
        pytest.skip(f"the released package is not installed: {INSTALL}")
    from torch._dynamo.utils import counters

    recipe = RECIPES["mini"].override(train_examples=300, test_examples=100, widths=(8, 8, 8), epochs=2.0)
    trainer = CompiledTrainer(recipe, toy)
    tensors = [tensor.data_ptr() for tensor in trainer.training.network.state_dict().values()]
    first, seconds = trainer.train(0)
    assert set(seconds) == {"whiten", "train", "evaluate"}
    assert min(seconds.values()) > 0
    compiled = counters["stats"]["unique_graphs"]
    # Both networks, each training and evaluating, at least.
    assert compiled >= 3
    logits = [trainer.train(seed)[0] for seed in (*range(1, 12), 0)]
    assert counters["stats"]["unique_graphs"] == compiled
    assert tensors == [tensor.data_ptr() for tensor in trainer.training.network.state_dict().values()]
    # Nothing is left of the trainings between.
    np.testing.assert_allclose(logits[-1], first, atol=1e-4)
    assert np.abs(logits[0] - first).max() > 1e-2


@pytest.mark.parametrize("whiten_bias_epochs", [1.0, 0.0, None])
def test_the_compiled_package_steps_as_the_package_does(
    whiten_bias_epochs: float | None, toy: airjax.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not importlib.util.find_spec("airbench"):
        pytest.skip(f"the released package is not installed: {INSTALL}")
    monkeypatch.setattr(torch, "compile", lambda network, mode: network)
    recipe = RECIPES["mini"].override(
        **{"train_examples": 300, "test_examples": 100, "widths": (8, 8, 8), "epochs": 3.0, "precision": "float64"},
        whiten_bias_epochs=whiten_bias_epochs,
    )
    trainer, plain = CompiledTrainer(recipe, toy), Trainer(recipe, toy)
    start = upstream.init(recipe, seed=1)
    # Both from the same weights, and the loader's random numbers from the same seed.
    monkeypatch.setattr(upstream_compiled, "reinitialise", lambda network: seeded(network, start))
    logits, _ = trainer.train(5)
    made = upstream_trainer.make_network
    monkeypatch.setattr(upstream_trainer, "make_network", lambda recipe: seeded(made(recipe), start))
    expected, _ = plain.train(5)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-7)


def seeded(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The network with these tensors; from here on the random numbers of seed 9."""
    network.load_state_dict(state)
    torch.manual_seed(9)
    return network
