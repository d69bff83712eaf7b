import dataclasses
import importlib.util
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import airjax
from airjax.recipes.optimizer import Piecewise, Sgd
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import resolve_precision
from parity import statistical
from parity.__main__ import main
from parity.statistical import Progress, plan_study, run_study
from parity.study import FRAMEWORKS, RunOutcome, load_study
from parity.torch_network import dtype_of
from parity.trainers import StudyJob, make_trainer
from parity.upstream_cpu import INSTALL
from parity.upstream_trainer import TAKEN
from parity.worker import Worker, WorkerError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("airbench") is None, reason=f"airbench is not installed: {INSTALL}"
)
MARGINS = {"0.5": ("open", 3), "10": ("equivalent", 0)}


def plan_of(recipe: Recipe, data: airjax.Dataset, **changes: Any) -> dict[str, Any]:
    arguments = {"runs": 4, "margin": 5.0, "reference": "own", "device": "cpu"} | changes
    return plan_study("tiny", recipe, data, **arguments)


def test_both_frameworks_train_alternately_and_a_killed_process_loses_nothing(
    tmp_path: Path, toy: airjax.Dataset, tiny: Recipe
) -> None:
    file, seen = tmp_path / "study.jsonl", []
    plan = plan_of(tiny, toy)

    def kill_after_three(progress: Progress) -> None:
        seen.append((progress.record["framework"], progress.record["seed"]))
        if len(seen) == 3:
            # The processes that train are this one's children.
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            trainers = [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
            for trainer in trainers:
                os.kill(trainer, signal.SIGKILL)

    with pytest.raises(WorkerError, match="the torch process ended with code -9 on network 1"):
        run_study(file, plan, tiny, toy, kill_after_three)
    assert len(load_study(file).runs) == 3
    study = run_study(file, plan, tiny, toy, lambda progress: seen.append(tuple(progress.record.values())[1:3]))
    assert not study.missing()
    assert [framework for framework, _ in seen] == [
        "torch",
        "airjax",
        "airjax",
        "torch",
        "torch",
        "airjax",
        "airjax",
        "torch",
    ]
    # Seeds are independent: no two networks of a framework are the same, and none is the other framework's.
    rows = [run["correct"] for run in load_study(file).runs.values()]
    assert len(set(rows)) == 8
    # A process trains what the library trains.
    job = StudyJob("airjax", "own", tiny, toy, "cpu")
    np.testing.assert_array_equal(make_trainer(job)(2).correct, study.correct("airjax")[2])


def test_the_torch_implementation_is_the_same_network_for_the_same_seed(toy: airjax.Dataset, tiny: Recipe) -> None:
    train = make_trainer(StudyJob("torch", "own", tiny, toy, "cpu"))
    first, second, again = train(0), train(1), train(0)
    np.testing.assert_array_equal(first.correct, again.correct)
    assert (first.correct != second.correct).any()
    assert not first.diverged


def test_a_plan_says_in_which_order_the_images_of_a_data_set_stand(toy: airjax.Dataset, tiny: Recipe) -> None:
    fixed: dict[str, Any] = {"runs": 4, "margin": 1.0, "reference": "own", "device": "cpu"}
    assert "content" not in plan_study("tiny", tiny, toy, **fixed)  # the synthetic images have no other
    named: Any = SimpleNamespace(name="cifar10", content="shuffled", fingerprint="0" * 64)
    assert plan_study("tiny", tiny, named, **fixed)["content"] == "shuffled"


def test_a_diverging_training_is_an_outcome(toy: airjax.Dataset, tiny: Recipe) -> None:
    diverging = tiny.override(learning_rate=1e9, bias_scale=1e6)
    for framework in FRAMEWORKS:
        outcome = make_trainer(StudyJob(framework, "own", diverging, toy, "cpu"))(0)
        assert outcome.diverged
        assert outcome.correct.shape == (100,)


@needs_package
def test_the_released_package_trains_from_seeds(toy: airjax.Dataset) -> None:
    recipe = RECIPES["mini"].override(train_examples=300, test_examples=100, widths=(8, 8, 8), epochs=1.5)
    train = make_trainer(StudyJob("torch", "upstream", recipe, toy, "cpu"))
    first, second, again = train(0), train(1), train(0)
    np.testing.assert_array_equal(first.correct, again.correct)
    assert (first.correct != second.correct).any()
    assert set(first.seconds) == {"train", "evaluate"}
    for change in ({"flip": "random"}, {"lookahead_every": 4}):
        with pytest.raises(ValueError, match=f"airbench trains with {next(iter(change))}"):
            make_trainer(StudyJob("torch", "upstream", recipe.override(**change), toy, "cpu"))
    with pytest.raises(ValueError, match="airbench whitens on"):
        make_trainer(StudyJob("torch", "upstream", recipe.override(whiten_examples=100), toy, "cpu"))


def test_a_process_tells_what_went_wrong(toy: airjax.Dataset, tiny: Recipe) -> None:
    few_classes = dataclasses.replace(tiny, inputs=dataclasses.replace(tiny.inputs, num_classes=3))
    job = StudyJob("torch", "own", few_classes, toy, "cpu")
    with (
        Worker("torch", make_trainer, job) as worker,
        pytest.raises(WorkerError, match=r"torch process failed on network 7: IndexError: Target \d is out of bounds"),
    ):
        worker.ask(7, "network 7")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"runs": 3}, "at least 4 networks"), ({"margin": 0.0}, "margin is 0.0"), ({"reference": "upstream"}, "'tiny'")],
)
def test_bad_plans_are_refused(toy: airjax.Dataset, tiny: Recipe, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(tiny, toy, **changes)


def test_batchnorm_of_groups_is_refused_since_the_reference_has_none(toy: airjax.Dataset, tiny: Recipe) -> None:
    with pytest.raises(ValueError, match=r"batchnorm_groups is 2, .* leave it at 1"):
        plan_of(tiny.override(batchnorm_groups=2), toy)


BESIDE_PACKAGE: dict[str, Any] = {"runs": 4, "margin": 5.0, "reference": "upstream"}


@needs_package
@pytest.mark.parametrize(
    "change",
    [
        {"whiten_epsilon": 1e-3},
        {"logit_scale": 1.0},
        {"activation": "silu"},
        {"final_pool": "mean"},
        {"unit_head": True},
        {"batchnorm_groups": 2},
        {"batchnorm_epsilon": 1e-5},
        {"proxy": True},
        {"drop_remainder": False},
        {"padding": "zero"},
        {"brightness": 0.1},
        {"tta_uniform": True},
        {"tta_mirror": False},
        {"tta_fraction": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_study_of_what_the_package_would_ignore_is_refused(toy: airjax.Dataset, change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    has = RECIPES["mini"].value_of(name)
    message = f"airbench trains with {name} {has} only, not {value}; leave it at {has}, or compare with our own"
    with pytest.raises(ValueError, match=message):
        plan_study("mini", RECIPES["mini"].override(**change), toy, **BESIDE_PACKAGE, device="cpu")


@needs_package
@pytest.mark.parametrize(
    ("change", "device", "message"),
    [
        ({"whiten_bias_epochs": 1.5}, "cpu", "between two epochs, but whiten_bias_epochs is 1.5; round it, or compare"),
        ({"whiten_examples": 100}, "cpu", "whitens on 5000 images, but whiten_examples is 100; leave it at 5000, or"),
        ({"precision": "float32"}, "cuda", "in float16 on a GPU, but precision is float32; leave it at auto, or"),
        ({"schedule": Piecewise()}, "cpu", "airbench trains with schedule_start 0.2 only"),
        ({"optimizer": Sgd()}, "cpu", "this recipe's optimizer is not airbench's"),
    ],
)
def test_a_study_of_what_the_package_does_otherwise_is_refused(
    toy: airjax.Dataset, change: dict[str, Any], device: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_study("mini", RECIPES["mini"].override(**change), toy, **BESIDE_PACKAGE, device=device)


@needs_package
def test_every_field_that_the_package_takes_may_be_changed(toy: airjax.Dataset) -> None:
    changes = {
        **{"epochs": 2.0, "batch_size": 60, "train_examples": 240, "test_examples": 90, "precision": "float64"},
        **{"widths": (8, 9, 10), "convs_per_block": 3, "residual": "after-activation", "batchnorm_momentum": 0.9},
        **{"whiten_examples": 4000, "whiten_bias_epochs": None, "learning_rate": 9.0, "weight_decay": 0.012},
        **{"momentum": 0.9, "bias_scale": 32.0, "label_smoothing": 0.1, "translate": 4, "cutout": 12, "tta_level": 1},
    }
    assert set(changes) == TAKEN
    plan = plan_study("mini", RECIPES["mini"].override(**changes), toy, **BESIDE_PACKAGE, device="cpu")
    assert plan["changed"] == changes


class FakeWorker:
    """Trains nothing: each network gets each of 1,000 images right with probability 0.9, or what `rates` says."""

    rates: dict[str, float] = {}  # noqa: RUF012 set anew by each test

    def __init__(self, name: str, make: Any, job: StudyJob) -> None:
        self.framework = name

    def __enter__(self) -> "FakeWorker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, seed: int, subject: str) -> RunOutcome:
        generator = np.random.default_rng([seed, len(self.framework)])
        rate = self.rates.get(self.framework, 0.9)
        if rate < 0:
            raise KeyboardInterrupt
        return RunOutcome(generator.random(1000) < rate, rate == 0, {"train": 0.1})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, small_builtin: airjax.Dataset) -> type[FakeWorker]:
    monkeypatch.setattr(statistical, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "rates", {})
    return FakeWorker


def command(file: Path, *more: str) -> list[str]:
    return ["statistical", "--recipe", "tiny", "--runs", "30", "--data", "builtin", "--out", str(file), *more]


@pytest.mark.parametrize("margin", MARGINS)
def test_exit_code_and_json_say_the_verdict(
    tmp_path: Path, fake: type[FakeWorker], capsys: pytest.CaptureFixture[str], margin: str
) -> None:
    verdict, code = MARGINS[margin]
    assert main(command(tmp_path / "s.jsonl", "--margin", margin, "--json")) == code
    lines = capsys.readouterr().out.splitlines()
    record = json.loads(lines[-1])
    assert record["verdict"] == verdict
    # Both tables stand above the sentence: the frameworks, and every test.
    printed = " ".join(lines[-80:-2])
    means = [f"{record['networks'][framework]['mean']:.3f}" for framework in ("torch", "airjax")]
    assert all(part in printed for part in (*means, "Kolmogorov-Smirnov", "Brown-Forsythe", "adjusted for being four"))
    assert record["sentence"] == lines[-2]
    assert record["runs"] == {"torch": 30, "airjax": 30}
    # Once more: everything is there already.
    assert main(command(tmp_path / "s.jsonl", "--margin", margin)) == code
    assert "60/60" not in capsys.readouterr().out


@pytest.mark.usefixtures("fake")
def test_fields_of_the_recipe_can_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = ["--set", "widths=[4,5,6]", "--set", "flip='random'"]
    main(command(tmp_path / "s.jsonl", *fields))
    plan = load_study(tmp_path / "s.jsonl").plan
    assert plan["changed"] == {"widths": [4, 5, 6], "flip": "random"}
    capsys.readouterr()
    assert main(command(tmp_path / "t.jsonl", "--set", "witdhs=[4,5,6]")) == 2
    assert "witdhs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(command(tmp_path / "t.jsonl", "--set", "flip=random"))
    assert "is no NAME=VALUE, such as widths=[32,64,64]" in capsys.readouterr().err


@pytest.mark.parametrize("name", statistical.RECIPE_NAMES["own"])
def test_auto_is_one_precision_of_both_frameworks_on_a_cpu(name: str) -> None:
    recipe = RECIPES[name].override(precision="auto")
    assert resolve_precision(recipe, "cpu").precision == "float32"
    assert dtype_of(recipe, "cpu") == torch.float32


def test_a_difference_is_exit_code_one(tmp_path: Path, fake: type[FakeWorker]) -> None:
    fake.rates = {"torch": 0.8}
    assert main(command(tmp_path / "s.jsonl")) == 1


def test_divergence_is_exit_code_one(
    tmp_path: Path, fake: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.rates = {"airjax": 0}
    assert main(command(tmp_path / "s.jsonl")) == 1
    assert "30 of 30 airjax" in capsys.readouterr().out


def test_an_interrupt_keeps_what_is_finished(
    tmp_path: Path, fake: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.rates = {"airjax": -1}
    assert main(command(tmp_path / "s.jsonl")) == 130
    assert "1 networks are in" in capsys.readouterr().err
    fake.rates = {}
    assert main(command(tmp_path / "s.jsonl", "--margin", "0.05")) == 3


def test_another_plan_in_the_file_is_a_usage_error(
    tmp_path: Path, fake: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path / "s.jsonl"))
    assert main(command(tmp_path / "s.jsonl", "--margin", "0.1")) == 2
    assert "margin 0.05, which was fixed when it began, not 0.1" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--runs", "2"], ["--margin", "-1"], ["--recipe", "97"], ["--data-dir", "/nowhere"]])
def test_bad_arguments_are_usage_errors(tmp_path: Path, fake: type[FakeWorker], more: list[str]) -> None:
    arguments = command(tmp_path / "s.jsonl", *more)
    if "--data-dir" in more:
        arguments[arguments.index("builtin")] = "cifar10"
    assert main(arguments) == 2
    assert not (tmp_path / "s.jsonl").exists()
