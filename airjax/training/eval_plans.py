"""In which rounds, calls and forward passes the images of an evaluation go through networks. (§5)"""

import math
from typing import NamedTuple

from airjax.kernels.backend import Backend
from airjax.recipes.recipe import Recipe
from airjax.training.data_parallel import num_devices

EVAL_BATCH = {"cpu": 200, "other": 2000}  # images per forward pass: on a CPU, as many as fit its caches

# Forward passes of a call with oneDNN's convolutions, which are as fast in a loop inside a program: every call
# page-faults the whole temporary buffer.
EVAL_PASSES = 20


class EvalPlan(NamedTuple):
    """How many images an evaluation computes at once."""

    batch: int  # images of a forward pass
    passes: int  # forward passes of a call
    devices: int = 1  # each of which computes so many passes of a call

    @property
    def images(self) -> int:
        """Images of a call."""
        return self.batch * self.passes * self.devices

    def passes_for(self, count: int) -> int:
        """Return the forward passes, on every device, that a call with so many images needs, the first ones."""
        return min(self.passes, -(-count // self.batch))


class EvalRound(NamedTuple):
    """All calls of an evaluation with the same views: of all images, or of those that the recipe selects."""

    level: int  # of test-time augmentation
    plan: EvalPlan
    selected: bool = False  # only the images that the logits of the round before select


def eval_batch(recipe: Recipe, backend: Backend) -> int:
    """Return the number of images per forward pass of an evaluation."""
    return min(EVAL_BATCH.get(backend.platform, EVAL_BATCH["other"]), _device_examples(recipe, backend))


def _device_examples(recipe: Recipe, backend: Backend) -> int:
    return math.ceil(recipe.test_examples / num_devices(backend.mesh))


def eval_plan(recipe: Recipe, backend: Backend) -> EvalPlan:
    """Return the fastest sizes for the recipe's test images, with as little padding as possible in the last call."""
    batch, count, devices = eval_batch(recipe, backend), _device_examples(recipe, backend), num_devices(backend.mesh)
    if backend.convolution != "onednn":
        return EvalPlan(batch, 1, devices)
    passes = math.ceil(count / batch)
    calls = math.ceil(passes / EVAL_PASSES)
    passes = math.ceil(passes / calls)
    return EvalPlan(math.ceil(count / (calls * passes)), passes, devices)


def eval_rounds(recipe: Recipe, level: int, plan: EvalPlan) -> tuple[EvalRound, ...]:
    """Return the rounds of an evaluation at a level: one, or two where the recipe selects images for all views."""
    if not recipe.evaluation.selects(level):
        return (EvalRound(level, plan),)
    return EvalRound(0, plan), EvalRound(level, _selected_plan(recipe, plan), selected=True)


def _selected_plan(recipe: Recipe, plan: EvalPlan) -> EvalPlan:
    # As many calls as the selected ones of the recipe's test images need, and no more.
    count = recipe.evaluation.num_selected(recipe.test_examples)
    images = math.ceil(count / math.ceil(count / plan.images) / plan.devices)  # of a call, on each device
    passes = math.ceil(images / plan.batch)
    return EvalPlan(math.ceil(images / passes), passes, plan.devices)
