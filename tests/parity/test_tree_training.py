"""Both frameworks learn from the same batches of a tree, from the same weights."""

from pathlib import Path

import numpy as np
import pytest
from tree_files import write_tree

from airjax.stream.tree import open_tree
from parity.tree_training import describe, learn_in_airjax, learn_in_torch, small_recipe

for package in ("grain", "simplejpeg", "cv2", "statsmodels"):
    pytest.importorskip(package)


def test_losses_of_both_frameworks_are_the_same_until_rounding_grows(tmp_path: Path) -> None:
    tree = open_tree(write_tree(tmp_path / "three"))
    recipe = small_recipe(1.0).override(
        widths=(16, 16, 16, 16), batch_size=7, ramp_first=32, ramp_last=32, test_sizes=(48, 32), learning_rate=0.01
    )
    ours, theirs = (learn(recipe, tree, 2, 0) for learn in (learn_in_airjax, learn_in_torch))
    assert len(ours.losses) == len(theirs.losses) == 3
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-4)
    other = learn_in_torch(recipe, tree, 3, 0)
    assert np.abs(np.subtract(other.losses, theirs.losses)).min() > 1e-3
    record = describe([ours, theirs], tree)
    assert (record["train_images"], record["test_images"]) == (21, 6)
    for network in record["networks"]:
        low, high = network["interval"]
        assert 0 <= low <= network["accuracy"] <= high <= 1
