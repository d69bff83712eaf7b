"""The parity suite: from single pixels to a whole training, airjax against PyTorch, number by number."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np

from airjax.data.builtin import load_builtin
from airjax.data.cifar10 import load_cifar10
from airjax.data.dataset import DataError, Dataset
from airjax.recipes.network import AirbenchNet
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe, kind_of
from airjax.utils.records import plain
from parity import (
    checks_curriculum,
    checks_data,
    checks_draws,
    checks_initialisation,
    checks_layers,
    checks_network,
    checks_selection,
    checks_stream,
    checks_training,
    checks_updates,
)
from parity.check_setup import BOTH, CheckSetup
from parity.checks_training import DRIFT
from parity.compare import Comparison, Row, summarize
from parity.torch_implementation import OWN, TorchImplementation

IMAGES = 1600  # of the training split: enough for every check
SHIFT = 311  # images from one seed's first image to the next one's
RECIPE_NAMES = tuple(name for name in OWN.recipes if not name.startswith("mini"))  # which are for studies


class SuiteStep(NamedTuple):
    """A function that yields the comparisons of one or more checks."""

    checks: tuple[str, ...]
    function: Callable[[CheckSetup], Iterator[Comparison]]
    once: bool = False  # does not depend on the recipe
    by: Callable[[Recipe], Hashable] | None = None  # what of the recipe it depends on, where that is not all


def _kinds(recipe: Recipe) -> Hashable:
    return kind_of(recipe.network), kind_of(recipe.optimizer), kind_of(recipe.selection)


def _filters(recipe: Recipe) -> Hashable:
    network = recipe.network
    return network.whitening if isinstance(network, AirbenchNet) else None


SUITE = (
    SuiteStep(("normalize",), checks_data.check_normalize, once=True),
    SuiteStep(("augmentation",), checks_data.check_augmentation),
    SuiteStep(("resize",), checks_curriculum.check_resize, once=True),
    SuiteStep(("curriculum",), checks_curriculum.check_curriculum),
    SuiteStep(("draws",), checks_draws.check_draws, once=True),
    SuiteStep(("schedule",), checks_data.check_schedule),
    SuiteStep(("whitening",), checks_data.check_whitening, by=_filters),
    SuiteStep(("dirac", "initial-law"), checks_initialisation.check_initialisation),
    SuiteStep(("layers",), checks_layers.check_layers, once=True),
    SuiteStep(("cancellation",), checks_layers.check_cancellation, once=True),
    SuiteStep(("intermediates", "loss", "gradients", "running-statistics"), checks_network.check_network),
    SuiteStep(("image-sizes",), checks_curriculum.check_image_sizes),
    SuiteStep(("optimizer", "freeze"), checks_updates.check_optimizer),
    SuiteStep(("lookahead",), checks_updates.check_lookahead),
    SuiteStep(("batches", "selection", "proxy"), checks_selection.check_selection),
    SuiteStep(("tail",), checks_curriculum.check_tail),
    SuiteStep(("trajectory", "drift"), checks_training.check_trajectory),
    SuiteStep(("tta",), checks_network.check_tta),
    SuiteStep(("training",), checks_training.check_training, by=_kinds),
    SuiteStep(("boxes",), checks_stream.check_boxes, once=True),
    SuiteStep(("area",), checks_stream.check_area, once=True),
    SuiteStep(("ramp",), checks_stream.check_ramp, once=True),
    SuiteStep(("stream-step",), checks_stream.check_stream_step, once=True),
)
CHECK_NAMES = tuple(name for step in SUITE for name in step.checks)


class SuiteResult(NamedTuple):
    """The parity suite as it went."""

    reference: str  # the PyTorch implementation compared with
    data: str  # the data set
    rows: list[Row]
    comparisons: list[Comparison]
    seeds: tuple[int, ...] = (0,)

    @property
    def passed(self) -> bool:
        """Say whether every comparison is within tolerance; a suite without checks proves nothing."""
        return bool(self.rows) and all(row.passed for row in self.rows)


def load_dataset(data: str, data_dir: str | None) -> Dataset:
    """Load a data set: cifar10, synthetic (also called builtin), or auto for whichever is there.

    Raises DataError where a named one cannot be read. Never downloads.
    """
    if data not in ("synthetic", "builtin"):
        try:
            return load_cifar10(data_dir, download=False)
        except DataError:
            if data == "cifar10" or data_dir is not None:
                raise
    return load_builtin(IMAGES, 1)


def first_images(dataset: Dataset) -> tuple[str, np.ndarray, np.ndarray]:
    """Name, images [N,32,32,3] and labels [N] that the checks run on."""
    return dataset.name, dataset.train_images[:IMAGES], dataset.train_labels[:IMAGES]


def load_images(data: str, data_dir: str | None) -> tuple[str, np.ndarray, np.ndarray]:
    """Load the `first_images` of `load_dataset`."""
    return first_images(load_dataset(data, data_dir))


def run_suite(
    reference: TorchImplementation,
    images: tuple[str, np.ndarray, np.ndarray],
    *,
    recipes: tuple[str, ...] = RECIPE_NAMES,
    checks: tuple[str, ...] = CHECK_NAMES,
    precisions: tuple[str, ...] = BOTH,
    seeds: tuple[int, ...] = (0,),
    on_step: Callable[[SuiteResult], None] | None = None,
) -> SuiteResult:
    """Run the checks of those names for those recipes, each with every seed; on_step sees each part as it is done.

    Everything that the checks draw at random follows from the seed, and so does which of the images they begin with.
    """
    name, pixels, labels = images
    comparisons: list[Comparison] = []
    for step in SUITE:
        if not set(step.checks) & set(checks):
            continue
        for recipe in recipes_of(step, recipes):
            part = []
            for seed in seeds:
                begin_at = np.roll(np.arange(len(pixels)), -SHIFT * seed)
                setup = CheckSetup(
                    recipe, RECIPES[recipe], pixels[begin_at], labels[begin_at], reference, precisions, seed
                )
                label = "" if len(seeds) == 1 else f", seed {seed}"
                found = (comparison for comparison in step.function(setup) if comparison.check in checks)
                part += [comparison._replace(name=comparison.name + label) for comparison in found]
            if step.once:
                part = [comparison._replace(recipe="any") for comparison in part]
            comparisons += part
            if on_step is not None:
                on_step(SuiteResult(reference.name, name, summarize(part), part, seeds))
    return SuiteResult(reference.name, name, summarize(comparisons), comparisons, seeds)


def recipes_of(step: SuiteStep, recipes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the recipes that a step is run for: all, one, or the first of those that are the same to it."""
    if step.by is not None:
        kinds = {step.by(RECIPES[name]): name for name in reversed(recipes)}
        return tuple(name for name in recipes if name in kinds.values())
    return recipes[:1] if step.once else recipes


def to_json(result: SuiteResult) -> dict[str, Any]:
    """Return the suite as plain values, with the first seed's drift after every step; a number that is not finite is
    None.
    """
    checks = [row._asdict() for row in result.rows]
    first = f", seed {result.seeds[0]}" if len(result.seeds) > 1 else ""
    curves: dict[str, dict[str, list[Any]]] = {}
    for step in result.comparisons:
        if step.check == "drift" and step.name.startswith(DRIFT) and step.name.endswith(first):
            curve = curves.setdefault(step.recipe, {"distance": [], "allowed": []})
            curve["distance"].append(step.relative)
            curve["allowed"].append(step.allowed)
    record = {"passed": result.passed, "against": result.reference, "data": result.data, "seeds": list(result.seeds)}
    return plain(record | {"checks": checks, "drift": curves})


HEADER = (
    f"{'check':19}{'recipe':14}{'precision':10}{'arrays':>6}{'absolute':>10}{'relative':>10}{'allowed':>10}"
    "         nearest to its tolerance"
)


def format_row(row: Row) -> str:
    """Return one line of the table under HEADER."""
    return (
        f"{row.check:19}{row.recipe:14}{row.precision:10}{row.arrays:6}{row.absolute:10.1e}{row.relative:10.1e}"
        f"{row.allowed:10.1e}  {'pass' if row.passed else 'FAIL'}   {row.worst}"
    )


def recipe_names(reference: TorchImplementation, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the recipes to compare. Raises ValueError for one that the implementation does not have."""
    offered = tuple(name for name in RECIPE_NAMES if name in reference.recipes)
    unknown = [name for name in wanted or () if name not in offered]
    if unknown:
        raise ValueError(f"{reference.name} has no recipe {', '.join(unknown)}; it has {', '.join(offered)}")
    return wanted or offered
