"""Trainings on trees of images: what a step sees, resuming, networks that share batches, both test crops."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tree_files import write_tree

import airjax
from airjax.augment.batch import Batch
from airjax.augment.transforms import mirror_where, normalize
from airjax.nn.build import init_variables
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import RECIPES
from airjax.stream.batches import open_batches
from airjax.stream.images import open_images
from airjax.stream.tree import Tree, open_tree
from airjax.stream.views import TrainView
from airjax.training import stream_loop
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.events import Callbacks, EpochReport
from airjax.training.loop import DivergedError, TrainedRun
from airjax.training.snapshots import Keeping, StoppedError
from airjax.training.step import StepMetrics, init_state, train_step
from airjax.training.stream_data import Member, fit_tree
from airjax.training.stream_loop import train_members, train_stream
from airjax.utils.seeds import make_key
from tests.networks import classify

cv2 = pytest.importorskip("cv2")
for package in ("grain", "simplejpeg"):
    pytest.importorskip(package)

RECIPE = RECIPES["imagenet-resnet18-16"].override(
    widths=(16, 16, 16, 16),
    batch_size=7,
    epochs=2.6,
    ramp_first=32,
    ramp_last=48,
    ramp_start=0.3,
    ramp_end=0.5,
    ramp_multiple=16,
    test_sizes=(48, 32),
    flip="alternating-hash",
    learning_rate=0.002,  # a larger one would make chaos of rounding
)
STEPS = 8  # two epochs of 3 and 2 more, of 32, 32 and 48 pixels
# Sums of float32 in another order; every step makes more of it, through BatchNorms of few values.
ROUNDING = 2e-3


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_tree(write_tree(tmp_path_factory.mktemp("stream") / "three"))


@pytest.fixture(scope="module")
def whole(tree: Tree) -> TrainedRun:
    return train_stream(RECIPE, tree, 3)


def same_bits(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def test_a_training_is_the_step_of_all_recipes_on_the_stream_s_batches(tree: Tree, whole: TrainedRun) -> None:
    recipe = resolve_precision(fit_tree(RECIPE, tree))
    backend, hyper = backend_of(recipe), hyperparameters(recipe)
    init_key, _ = jax.random.split(make_key(3))
    state = init_state(recipe, backend, init_variables(recipe, backend, init_key), hyper)
    step = jax.jit(lambda state, batch: train_step(recipe, state, batch, hyper, backend=backend))
    losses, sizes = [], []
    view = TrainView(7, (32, 32, 48), 3, "heavy", "alternating-hash")
    with open_batches(tree.train, view) as batches:
        for batch in list(batches)[:STEPS]:
            images = normalize(jnp.asarray(batch.images), recipe.inputs, jnp.float32)
            images = mirror_where(images, jnp.asarray(batch.mirrors))
            state, metrics = step(state, Batch(images, jnp.asarray(batch.labels)))
            losses.append(float(metrics.loss))
            sizes.append(batch.images.shape[1])
    assert sizes == [32] * 6 + [48] * 2
    np.testing.assert_allclose(whole.metrics.loss, losses, rtol=ROUNDING)
    np.testing.assert_allclose(whole.metrics.loss[:3], losses[:3], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING * (1 + float(np.abs(b).max()))),
        whole.variables["params"],
        state.params,
    )
    assert whole.recipe.total_steps == len(whole.metrics.accuracy) == STEPS


def test_one_that_is_stopped_in_the_middle_of_an_epoch_ends_in_the_same_bits(
    tree: Tree, whole: TrainedRun, tmp_path: Path
) -> None:
    calls: list[int] = []

    def after_five() -> bool:
        calls.append(0)
        return len(calls) == 5

    with pytest.raises(StoppedError, match="stopped after step 5 of 8") as stopped:
        train_stream(RECIPE, tree, 3, keeping=Keeping(tmp_path, 100, after_five))
    assert stopped.value.kept
    done: list[int] = []
    resumed = train_stream(RECIPE, tree, 3, keeping=Keeping(tmp_path), on_step=lambda steps, _: done.append(steps))
    assert done == list(range(6, STEPS + 1))
    assert same_bits(whole.variables, resumed.variables)
    assert same_bits((whole.metrics, whole.logits), (resumed.metrics, resumed.logits))
    assert not list(tmp_path.iterdir())
    other = train_stream(RECIPE, tree, 4)
    assert not same_bits(whole.metrics, other.metrics)


def test_an_epoch_that_ends_as_the_training_is_stopped_is_reported_once(
    tree: Tree, whole: TrainedRun, tmp_path: Path
) -> None:
    reports: list[EpochReport] = []
    steps = iter(range(1, STEPS))
    keeping = Keeping(tmp_path, 100, lambda: next(steps) == 3)
    with pytest.raises(StoppedError, match="stopped after step 3 of 8"):
        train_stream(RECIPE, tree, 3, keeping=keeping, validate=True, on_epoch=reports.append)
    resumed = train_stream(RECIPE, tree, 3, keeping=Keeping(tmp_path), validate=True, on_epoch=reports.append)
    assert [report.epoch for report in reports] == list(range(len(reports)))
    assert [report.validation_accuracy is None for report in reports] == [True, False, False]
    assert same_bits(whole.logits, resumed.logits)


def test_one_that_is_killed_while_it_is_evaluated_is_not_trained_again(
    tree: Tree, whole: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> list[TrainedRun]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream_loop, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train_stream(RECIPE, tree, 3, keeping=Keeping(tmp_path, 100))
    done: list[int] = []
    resumed = train_stream(RECIPE, tree, 3, keeping=Keeping(tmp_path), on_step=lambda steps, _: done.append(steps))
    assert done == []
    assert same_bits((whole.metrics, whole.logits), (resumed.metrics, resumed.logits))


def test_networks_that_share_their_batches_are_those_trained_alone(tree: Tree, whole: TrainedRun) -> None:
    reports: list[EpochReport] = []
    members = [Member(3, "alternating-hash"), Member(8, "random")]
    both = train_members(RECIPE, tree, members, called=Callbacks(on_epoch=reports.append))
    np.testing.assert_allclose(both[0].metrics.loss, whole.metrics.loss, rtol=ROUNDING)
    np.testing.assert_allclose(both[0].logits, whole.logits, atol=10 * ROUNDING)
    assert [run.recipe.augmentation.flip for run in both] == ["alternating-hash", "random"]
    assert [run.seed for run in both] == [3, 8]
    assert not np.allclose(both[1].metrics.loss, whole.metrics.loss, rtol=ROUNDING)
    assert [report.epoch for report in reports] == [0, 1, 2]
    mean = np.mean([run.metrics.loss[:3].mean() for run in both])
    assert reports[0].train_loss == pytest.approx(mean, rel=1e-6)
    with pytest.raises(ValueError, match="at least one, and differ in seed or flip"):
        train_members(RECIPE, tree, [members[0], members[0]])
    with pytest.raises(ValueError, match="flip is 'up', but it must be one of none, random, alternating-hash"):
        train_members(RECIPE, tree, [members[0], Member(1, "up")])  # pyright: ignore[reportArgumentType]


def test_both_test_crops_are_the_squares_in_the_middle_and_views_are_mirrored(tree: Tree, whole: TrainedRun) -> None:
    recipe = whole.recipe
    for crop, size, fraction in zip(whole.test_crops, (48, 32), (0.875, 1.0), strict=True):
        pixels = []
        for example in range(6):
            image = open_images(tree.val).read(example)
            side = int(fraction * min(image.shape[:2]))
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            part = image[top : top + side, left : left + side]
            pixels.append(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA))
        x = normalize(jnp.asarray(np.stack(pixels)), recipe.inputs, jnp.float32)
        plain, mirrored = (classify(recipe, whole.variables, y) for y in (x, x[:, :, ::-1]))
        mean = np.asarray(plain + mirrored) / 2
        labels = tree.val_labels
        assert (crop.size, crop.fraction) == (size, fraction)
        assert crop.accuracy == pytest.approx((np.asarray(plain).argmax(1) == labels).mean())
        assert crop.tta_accuracy == pytest.approx((mean.argmax(1) == labels).mean())
        if size == 48:
            np.testing.assert_allclose(whole.logits, mean, atol=ROUNDING)
            assert whole.accuracy == crop.tta_accuracy


def test_callbacks_see_every_step_and_every_epoch(tree: Tree, whole: TrainedRun) -> None:
    steps: list[tuple[int, StepMetrics]] = []
    epochs: list[EpochReport] = []
    stages: list[str] = []
    seen = {"on_epoch": epochs.append, "on_phase": stages.append}
    train_stream(RECIPE, tree, 3, validate=True, on_step=lambda done, metrics: steps.append((done, metrics)), **seen)
    assert [done for done, _ in steps] == list(range(1, STEPS + 1))
    assert all(np.shape(metrics.loss) == () for _, metrics in steps)
    assert [report.tta_accuracy is None for report in epochs] == [True, True, False]
    assert epochs[2].validation_accuracy == whole.test_crops[0].accuracy
    assert epochs[2].tta_accuracy == whole.accuracy
    assert epochs[1].train_loss == pytest.approx(whole.metrics.loss[3:6].mean(), rel=1e-6)
    assert stages.index("whiten") < stages.index("train") < stages.index("validate") < stages.index("evaluate")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_examples": 12}, "train-examples is 12, but all 21 images of three are used; leave it out"),
        ({"batch_size": 22}, "batch-size is 22, but there are only 21 training examples; make batch-size smaller"),
        ({"crops": False}, "choose one with crops"),
    ],
)
def test_a_recipe_that_does_not_fit_a_tree_is_refused(change: dict[str, Any], message: str, tree: Tree) -> None:
    with pytest.raises(ValueError, match=message):
        fit_tree(RECIPE.override(**change), tree)


def test_a_recipe_with_crops_does_not_learn_from_a_data_set_in_memory(toy: airjax.Dataset) -> None:
    for refuse in (airjax.fit_recipe, lambda recipe, data: airjax.to_device(data, recipe)):
        with pytest.raises(ValueError, match="this recipe has crops, so it learns from a tree of images"):
            refuse(RECIPE, toy)


def test_one_of_several_networks_that_diverges_does_not_stop_the_others(tree: Tree) -> None:
    members = [Member(3, "none"), Member(8, "none")]
    bad, good = [1.0, np.nan, 1.0], [1.0, 1.0, 1.0]
    work: Any = SimpleNamespace(recipe=RECIPE, members=members)

    def check(*losses: list[float]) -> None:
        metrics = StepMetrics(np.array(losses), np.array(losses))
        stream_loop._require_finite(work, metrics, 3)

    check(bad, good)
    with pytest.raises(DivergedError, match="seed 3: the loss is not finite at step 2 of"):
        check(bad, bad)
    work.members = members[:1]
    with pytest.raises(DivergedError, match="seed 3"):
        check(bad)
