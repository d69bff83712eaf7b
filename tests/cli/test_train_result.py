import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airjax.cli.train_result import MEASURED, describe_result, expected_accuracy, summarize_runs
from airjax.data.info import CIFAR10, DatasetInfo
from airjax.recipes.published import CLAIMS, RECIPES
from airjax.recipes.recipe import Recipe


def data(name: str, content: str, fingerprint: str, split: str = "test", labels: str | None = None) -> SimpleNamespace:
    known = {"info": DatasetInfo(name, tuple("abcdefghij"), 3, 32, *CIFAR10), "resized": 0}
    return SimpleNamespace(name=name, content=content, fingerprint=fingerprint, split=split, labels=labels, **known)


OFFICIAL = data("cifar10", "official", "f0")
SHUFFLED = data("cifar10", "shuffled", "f1")
CUSTOM = data("custom", "unknown", "f2")
BUILTIN = data("synthetic", "unknown", "f3")
CIFAR100 = data("cifar100", "official", "f6")
NOISY = data("cifar10+cifar10n-worst", "official", "f7", labels="cifar10n-worst")
VALIDATION = data("cifar10", "official", "f5", split="validation")


def runs(*accuracies: float) -> list[dict[str, Any]]:
    parts = {"loss_of_first_steps": 2.3, "loss_of_last_steps": 1.0, "seconds": {"train": 1.0}}
    return [{"seed": seed, "accuracy": accuracy, **parts} for seed, accuracy in enumerate(accuracies)]


def summary(
    dataset: Any, *accuracies: float, name: str = "94", recipe: Recipe | None = None, measured: Path = Path("none")
) -> dict[str, Any]:
    return summarize_runs(name, recipe or RECIPES[name], dataset, runs(*accuracies), measured=measured)


@pytest.mark.parametrize(
    ("dataset", "content", "verdict"),
    [
        (OFFICIAL, "official", "mean"),
        (SHUFFLED, "shuffled", "mean"),
        (CUSTOM, "unknown", "not evaluated"),
        (BUILTIN, "unknown", "not evaluated"),
        (VALIDATION, "official", "not evaluated"),
        (CIFAR100, "official", "not evaluated"),
        (NOISY, "official", "not evaluated"),
        # A folder of the right shape, from a version that would have called it cifar10.
        (data("cifar10", "unknown", "f4"), "unknown", "not evaluated"),
    ],
)
def test_only_the_test_images_of_cifar10_meet_a_target(dataset: Any, content: str, verdict: str) -> None:
    result = summary(dataset, 0.9416)
    assert (result["content"], result["target"], result["target_met"]) == (content, 0.94, verdict)


def test_a_target_takes_the_whole_test_set() -> None:
    part = RECIPES["94"].override(test_examples=5000)
    result = summary(OFFICIAL, 0.9416, recipe=part)
    assert result["target_met"] == "not evaluated"
    assert describe_result(result) == (
        "94 on cifar10: accuracy 94.16% (one network); target 94%: not evaluated. "
        "A target is judged on all 10,000 test images only"
    )


def test_the_sentence_gives_the_expected_accuracy_and_the_content_beside_the_reached_one() -> None:
    assert describe_result(summary(OFFICIAL, 0.9416)) == (
        "94 on cifar10: accuracy 94.16% (one network); expected 94.01%; target 94%: mean"
    )
    assert describe_result(summary(SHUFFLED, 0.9416, 0.9402)) == (
        "94 on cifar10, shuffled: accuracy 94.09% (mean of 2; 95% interval 93.20% to 94.98%; sd 0.10%); "
        "expected 94.01%; target 94%: mean"
    )
    assert describe_result(summary(CUSTOM, 0.5, name="mini")) == (
        "mini on custom: accuracy 50.00% (one network). This is data of your own, not CIFAR-10: no target applies to it"
    )
    assert describe_result(summary(CIFAR100, 0.5, name="mini")) == (
        "mini on cifar100: accuracy 50.00% (one network). A target is an accuracy on CIFAR-10: none applies to cifar100"
    )
    noisy = summary(NOISY, 0.5, name="mini")
    assert (noisy["dataset"], noisy["labels"]) == ("cifar10+cifar10n-worst", "cifar10n-worst")
    assert describe_result(noisy) == (
        "mini on cifar10+cifar10n-worst: accuracy 50.00% (one network). "
        "Its labels are cifar10n-worst, not CIFAR-10's own: no target applies to them"
    )
    pooled = summary(OFFICIAL, 0.9416) | {"mixed": {"versions.jax": ["0.10.0", "0.10.1"]}}
    assert "networks of different environments (versions.jax: 0.10.0, 0.10.1)" in describe_result(pooled)


def test_what_was_measured_before_is_found_in_a_checkout() -> None:
    assert MEASURED.exists()


def test_validation_images_are_said_to_be_that_and_meet_no_target() -> None:
    # As many as there are test images, so that their number does not tell.
    result = summary(VALIDATION, 0.9416)
    assert (result["split"], result["expected"], summary(OFFICIAL, 0.9416)["split"]) == ("validation", None, "test")
    assert describe_result(result) == (
        "94 on cifar10, validation images: accuracy 94.16% (one network); target 94%: not evaluated. "
        "Validation images are for tuning: a target is judged on the test images only"
    )


def test_nothing_is_expected_of_a_changed_recipe_or_of_data_that_nobody_measured(tmp_path: Path) -> None:
    measured = tmp_path / "accuracy.jsonl"
    lines = [
        {"recipe": "mini", "dataset_sha256": "f3", "changed": {"epochs": 1.0}, "mean": 0.9},
        {"recipe": "mini", "dataset_sha256": "f3", "changed": {"precision": "float32"}, "mean": 0.55},
        {"recipe": "94", "dataset_sha256": "f3", "changed": {}, "mean": 0.97},
        {"recipe": "mini", "dataset_sha256": "another synthetic dataset", "changed": {}, "mean": 0.2},
    ]
    measured.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def expected(dataset: Any, **changed: Any) -> float | None:
        return expected_accuracy("mini", changed, dataset, measured)

    assert expected(BUILTIN, precision="bfloat16") == 0.55
    assert expected(BUILTIN, epochs=2.0) is None
    assert expected(CUSTOM) is None
    assert expected(OFFICIAL) == CLAIMS["mini"].expected_accuracy
    # Its first 3,000 images are others; what was measured on these counts.
    assert expected(SHUFFLED) is None
    measured.write_text(json.dumps({"recipe": "mini", "dataset_sha256": "f1", "changed": {}, "mean": 0.41}) + "\n")
    assert expected(SHUFFLED) == 0.41
    assert expected_accuracy("94", {}, SHUFFLED, measured) == CLAIMS["94"].expected_accuracy
    measured.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert expected_accuracy("mini", {}, BUILTIN, tmp_path / "none.jsonl") is None
    sentence = describe_result(summary(BUILTIN, 0.52, name="mini", measured=measured))
    assert sentence == (
        "mini on synthetic: accuracy 52.00% (one network); expected 55.00%. "
        "This is the synthetic dataset, not CIFAR-10 (--data-dir DIR names a copy of that)"
    )
