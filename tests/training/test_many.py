import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.kernels.backend import Driver
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training import evaluate, evaluate_group
from airjax.training import many as seeds
from airjax.training.arrays import to_device
from airjax.training.backend import resolve_precision
from airjax.training.loop import train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import STRATEGIES, Strategy, make_members, strategy_backend
from airjax.training.programs import Kind, Programs, make_group_steps, programs_of

# The order of the sums differs; 6 steps amplify that.
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
RATES = (11.5, 5.0, 8.0)
SUBSETS = np.stack([np.random.default_rng(seed).permutation(300)[:64] for seed in range(3)])


@pytest.fixture(scope="module")
def short() -> Recipe:
    """Six steps, of a single program: the bias trains to the end."""
    return RECIPES["tiny"].override(
        epochs=3.0,
        train_examples=64,
        test_examples=20,
        widths=(4, 4, 4),
        whiten_examples=64,
        whiten_bias_epochs=None,
        precision="float64",
    )


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def singles(short: Recipe, toy: airjax.Dataset) -> list[Any]:
    """Three networks, one by one, each with its own learning rate and its own training examples."""
    with jax.enable_x64(True):
        recipes = [short.override(learning_rate=rate) for rate in RATES]
        return [train(recipes[seed], toy.subset(SUBSETS[seed]), seed) for seed in range(3)]


@pytest.mark.slow
@pytest.mark.usefixtures("_x64")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_the_networks_of_single_runs(
    short: Recipe, toy: airjax.Dataset, singles: list[Any], strategy: Strategy
) -> None:
    members = make_members(short, seed_keys(range(3)), learning_rate=RATES, subsets=SUBSETS)
    # Two at a time: the last group is filled up.
    done = run_many(short, members, toy, strategy=strategy, group=2, keep_variables=True)
    assert done.strategy == strategy
    assert done.metrics.loss.shape == (3, 6)
    for k, single in enumerate(singles):
        np.testing.assert_allclose(done.metrics.loss[k], single.metrics.loss, rtol=TOLERANCE["float64"])
        np.testing.assert_allclose(done.logits[k], single.logits, rtol=0, atol=TOLERANCE["float64"])
        assert done.accuracy[k] == single.accuracy
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE["float64"]),
            done.variables[k],
            jax.device_get(single.variables),
        )
    assert not done.diverged.any()


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["loop", "chunks", "scan"])
def test_interleaved_networks_are_the_bits_of_those_one_after_another(
    toy: airjax.Dataset, tiny: Recipe, driver: Driver
) -> None:
    members = make_members(tiny, seed_keys(range(3)), learning_rate=RATES)
    alone, turns = (
        run_many(tiny, members, toy, strategy=strategy, group=2, driver=driver, keep_variables=True)
        for strategy in ("sequential", "interleaved")
    )
    assert (alone.group, turns.group) == (1, 2)
    np.testing.assert_array_equal(turns.metrics.loss, alone.metrics.loss)
    np.testing.assert_array_equal(turns.logits, alone.logits)
    for ours, theirs in zip(turns.variables, alone.variables, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_interleaved_members_share_the_loop_and_nothing_in_it(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe, members = resolve_precision(tiny), make_members(tiny, seed_keys(range(3)))
    arrays, backend = to_device(toy, recipe), strategy_backend(recipe, "interleaved", "scan")
    programs = programs_of(recipe, backend, "interleaved", (members, arrays.train_images, arrays.train_labels))
    steps = make_group_steps(recipe, backend, Kind((), 2), "interleaved")
    program = jax.make_jaxpr(steps)(*programs.step_shapes)
    [loop] = [one for one in program.eqns if one.primitive.name == "scan"]
    needed = [inputs_of(loop.params["jaxpr"].jaxpr, k) for k in range(3)]
    # The members' states come last: the steps read no array of their own.
    num_carried = 3 * len(jax.tree.leaves(programs.step_shapes[0]))
    carried = set(range(len(loop.invars) - num_carried, len(loop.invars)))
    for mine, *others in ((needed[k], needed[k - 1], needed[k - 2]) for k in range(3)):
        assert mine & carried
        assert not any(mine & other & carried for other in others)


def inputs_of(body: Any, member: int) -> set[int]:
    """The inputs of a loop's body on which a member's loss depends, by their position."""
    made_by = {id(variable): one for one in body.eqns for variable in one.outvars}
    # The last outputs are each member's loss and accuracy.
    open_, seen = [body.outvars[len(body.outvars) - 6 + 2 * member]], set()
    while open_:
        variable = open_.pop()
        if id(variable) not in seen:
            seen.add(id(variable))
            open_ += made_by[id(variable)].invars if id(variable) in made_by else []
    return {position for position, variable in enumerate(body.invars) if id(variable) in seen}


def test_float32_networks_are_those_of_single_runs_within_rounding(toy: airjax.Dataset, tiny: Recipe) -> None:
    done = run_many(tiny, seed_keys([0, 1]), toy, strategy="vmap")
    for seed in range(2):
        single = train(tiny, toy, seed)
        np.testing.assert_allclose(done.logits[seed], single.logits, rtol=0, atol=TOLERANCE["float32"])


@pytest.mark.slow
def test_a_scan_gives_the_numbers_of_a_loop(toy: airjax.Dataset, tiny: Recipe) -> None:
    loop, scan = (run_many(tiny, seed_keys([0, 1]), toy, strategy="vmap", driver=d) for d in ("loop", "scan"))
    np.testing.assert_allclose(loop.metrics.loss, scan.metrics.loss, rtol=1e-5)
    np.testing.assert_allclose(loop.logits, scan.logits, rtol=0, atol=TOLERANCE["float32"])


@pytest.mark.parametrize("strategy", ["sequential", "map"])
def test_networks_are_validated_without_test_time_augmentation(
    strategy: Strategy, toy: airjax.Dataset, tiny: Recipe
) -> None:
    reports: list[airjax.EpochReport] = []
    done = run_many(
        tiny, seed_keys([0, 1]), toy, strategy=strategy, validate=True, keep_variables=True, on_epoch=reports.append
    )
    plain = [
        airjax.evaluate(airjax.Model(done.recipe, network, toy.classes), toy, tta_level=0) for network in done.variables
    ]
    assert done.plain_accuracy is not None
    np.testing.assert_allclose(done.plain_accuracy, plain, atol=0.02)  # two of 100 images, by rounding
    assert [run.plain_accuracy for run in done.runs([0, 1])] == done.plain_accuracy.tolist()
    means = [report.validation_accuracy for report in reports]
    if strategy == "map":  # epochs of the group, else of each network
        assert (len(means), means[-1]) == (2, done.plain_accuracy.mean())
    else:
        assert means[1::2] == done.plain_accuracy.tolist()
    assert None not in means


def test_nothing_is_compiled_for_other_seeds_rates_subsets_or_weights(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered = []
    lower = Programs._lower
    monkeypatch.setattr(Programs, "_lower", lambda self, kind: lowered.append(kind) or lower(self, kind))
    for seed in range(3):
        generator = np.random.default_rng(seed)
        members = make_members(
            tiny,
            seed_keys([seed, seed + 7]),
            learning_rate=generator.uniform(1, 10, 2).tolist(),
            weight_decay=generator.uniform(0, 0.1, 2).tolist(),
            momentum=generator.uniform(0, 0.9, 2).tolist(),
            label_smoothing=generator.uniform(0, 0.5, 2).tolist(),
            subsets=generator.integers(0, 300, (2, tiny.train_examples)),
            weights=generator.uniform(0, 2, (2, tiny.train_examples)),
        )
        run_many(tiny.override(learning_rate=3.0 + seed), members, toy, strategy="vmap")
        if seed == 0:
            first = len(lowered)
    assert first == len(lowered) == 3  # the start, and a program for each of two phases


def test_a_diverging_member_leaves_the_others_alone(toy: airjax.Dataset, tiny: Recipe) -> None:
    members = make_members(tiny, seed_keys([0, 1]), learning_rate=[11.5, 1e6])
    wild = members.hyper._replace(learning_rate=members.hyper.learning_rate.at[1].set(np.inf))
    done = run_many(tiny, members._replace(hyper=wild), toy, strategy="vmap")
    assert done.diverged.tolist() == [False, True]
    np.testing.assert_allclose(done.logits[0], train(tiny, toy, 0).logits, rtol=0, atol=TOLERANCE["float32"])


def test_too_little_memory_halves_the_group_and_loses_nothing(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, progress = [], []
    run_group: Callable[..., Any] = seeds.train_group

    def run_small_groups(work: Any, members: Any, *rest: Any) -> Any:
        sizes.append(len(members.keys))
        if len(members.keys) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return run_group(work, members, *rest)

    monkeypatch.setattr(seeds, "train_group", run_small_groups)
    done = run_many(tiny, seed_keys([0, 1]), toy, strategy="vmap", on_group=progress.append)
    assert sizes == [2, 1, 1]
    assert (done.group, progress) == (1, [1, 2])
    monkeypatch.undo()
    np.testing.assert_array_equal(done.logits[1], run_many(tiny, seed_keys([1]), toy, strategy="vmap").logits[0])


def test_a_group_predicted_not_to_fit_is_not_tried(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "predicted_bytes", lambda programs: 10**9)
    monkeypatch.setattr(seeds, "available_bytes", lambda: 10**8)
    # One member is tried even so: the prediction may be wrong, and there is nothing smaller.
    assert run_many(tiny, seed_keys([0, 1]), toy, strategy="vmap").group == 1


def test_other_runtime_errors_are_not_taken_for_it(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(seeds, "train_group", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run_many(tiny, seed_keys([0, 1]), toy, strategy="vmap")


@pytest.mark.slow
def test_sharded_members_are_the_same_networks_on_four_devices() -> None:
    script = """
import jax, numpy as np
from airjax.data.builtin import load_builtin
from airjax.recipes.published import RECIPES
from airjax.training.many import run_many, seed_keys
assert jax.local_device_count() == 4
data, recipe = load_builtin(300, 100), RECIPES["tiny"]
sharded = run_many(recipe, seed_keys(range(6)), data, strategy="sharded", keep_variables=True)
assert sharded.group == 8  # two on each device
single = run_many(recipe, seed_keys([5]), data, strategy="sequential")
np.testing.assert_allclose(sharded.logits[5], single.logits[0], rtol=0, atol=1e-3)
assert len(set(map(bytes, sharded.logits.argmax(2)))) > 1
assert len(sharded.variables) == 6
"""
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])} | environment,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": [1.0]}, "learning_rate has 1 values, but there are 2 keys"),
        ({"momentum": [0.5, 1.0]}, "momentum is 1.0"),
        ({"subsets": np.zeros((2, 3), int)}, r"subsets has shape \(2, 3\).*need \(2, 256\)"),
        ({"weights": np.ones((1, 256))}, r"weights has shape \(1, 256\)"),
        ({"subsets": np.full((2, 256), -1)}, "whole numbers from 0"),
        ({"subsets": np.zeros((2, 256))}, "whole numbers from 0"),
    ],
)
def test_members_that_do_not_fit_are_refused(tiny: Recipe, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_members(tiny, seed_keys([0, 1]), **arguments)


def test_bad_groups_and_subsets_are_refused(toy: airjax.Dataset, tiny: Recipe) -> None:
    with pytest.raises(ValueError, match="there are no members"):
        run_many(tiny, seed_keys([]), toy)
    with pytest.raises(ValueError, match="group is 0"):
        run_many(tiny, seed_keys([0]), toy, group=0)
    members = make_members(tiny, seed_keys([0]), subsets=np.full((1, 256), 300))
    with pytest.raises(ValueError, match="training example 300, but synthetic has 300"):
        run_many(tiny, members, toy)


@pytest.mark.parametrize("strategy", ["sequential", "vmap"])
def test_fewer_test_images_at_once_are_what_every_strategy_takes(
    toy: airjax.Dataset, tiny: Recipe, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    sizes: list[int] = []
    parts_of = evaluate.parts_of

    def watched(images: Any, size: int, *chosen: Any) -> Any:
        sizes.append(size)
        return parts_of(images, size, *chosen)

    for module in (evaluate, evaluate_group):
        monkeypatch.setattr(module, "parts_of", watched)
    few = run_many(tiny, seed_keys([0]), toy, strategy=strategy, eval_size=7)
    assert sizes == [7]
    whole = run_many(tiny, seed_keys([0]), toy, strategy=strategy)
    np.testing.assert_allclose(few.logits, whole.logits, rtol=0, atol=TOLERANCE["float32"])
