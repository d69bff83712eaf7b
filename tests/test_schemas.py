"""The schemas in docs/schemas: what is written fits them, and what is wrong does not."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import airjax
from airjax.cli import export, predict, sweep, train, train_result
from airjax.sweep.folder import prepare_folder
from airjax.sweep.plan import make_plan
from airjax.sweep.worker import Job, Source, run_record
from airjax.training.checkpoint import metadata_of
from airjax.training.environment import describe
from airjax.training.events import EpochReport
from airjax.training.loop import TrainedRun
from airjax.training.step import StepMetrics

jsonschema = pytest.importorskip("jsonschema", reason="the schemas are checked with jsonschema: pip install '.[test]'")

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    file.name.removesuffix(".schema.json"): json.loads(file.read_text())
    for file in sorted((ROOT / "docs" / "schemas").glob("*.json"))
}
FIRST = Path(__file__).parent / "files" / "v0.1"

# An entry of each, and a value that it cannot have.
WRONG: dict[str, tuple[str, Any]] = {
    "environment": ("versions", {"python": "3.11.7"}),
    "model": ("format", "airjax-9"),
    "plan": ("set", {"learning_rate": "fast"}),
    "recipe": ("epochs", "many"),
    "sweep-arrays": ("curves", [2, 3]),
    "sweep-plan": ("seeds", [-1]),
    "sweep-row": ("set.flip", ["random", "none"]),
    "sweep-run": ("accuracy", None),  # which only a network that failed has
    "training-epoch": ("epoch", 0),
    "training-folder": ("dataset_sha256", "abc"),
    "training-result": ("target_met", "yes"),
    "training-run": ("accuracy", 39.55),  # percent
}


def check(kind: str, value: Any) -> None:
    """Raise ValidationError where a value does not fit the schema of that kind."""
    from referencing import Registry, Resource

    known = Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in SCHEMAS.values())
    jsonschema.Draft202012Validator(SCHEMAS[kind], registry=known).validate(value)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def written(tmp_path: Path, toy: airjax.Dataset, tiny: airjax.Recipe) -> dict[str, Any]:
    """One of each, as this version makes it, without training."""
    metrics = StepMetrics(np.ones(tiny.total_steps), np.ones(tiny.total_steps))
    trained = TrainedRun(tiny, 0, {}, metrics, np.zeros((100, 10)), 0.5, {"train": 1.0})
    run = train_result.record_run(trained, batches_of=5)
    environment = json.loads(json.dumps(describe()))
    plan = make_plan({"recipe": "tiny", "data": "synthetic", "seeds": 1, "set": {"flip": "none"}}, "cpu")
    source = Source(toy.fingerprint, "unknown", None)
    prepare_folder(plan, tmp_path, {"synthetic": source})
    job = Job(plan, tmp_path, None, "auto", "cpu", {"synthetic": source}, None)
    failed = run_record(job, next(plan.runs({"synthetic": toy.fingerprint}, "1")), "it ran out of memory")
    finished = failed | {"error": None, "accuracy": 0.5, "seconds": 1.0, "environment": "0" * 12}
    result = train_result.summarize_runs("tiny", tiny, toy, [run])
    return {
        "environment": {"environment": "0" * 12} | environment,
        "model": metadata_of(airjax.Model(tiny, {})) | {"classes": list(toy.classes)},
        "plan": {"recipe": "tiny", "seeds": 2, "set": {"learning_rate": 8.0}},
        "recipe": tiny.to_dict(),
        "sweep-arrays": {"predictions": [100], "curves": [2, 2]},
        "sweep-plan": json.loads((tmp_path / "plan.json").read_text()),
        "sweep-row": {k: v for k, v in finished.items() if k != "changes"} | {"last_loss": 2.0, "set.flip": "none"},
        "sweep-run": finished | {"last_loss": None, "row": 0},
        "failed": failed | {"row": None},
        "training-epoch": {"seeds": [0]} | EpochReport(1, 2.3, 0.1, None, None, 0.5)._asdict(),
        "training-folder": {"name": "tiny", "recipe": tiny.to_dict(), "dataset": "synthetic", "content": "unknown"}
        | {"labels": None, "validation": 0, "split": "test", "dataset_sha256": toy.fingerprint},
        "training-result": json.loads(json.dumps(result | {"mixed": {}, "warnings": []} | environment)),
        "training-run": run | {"setting": "0" * 16, "environment": "0" * 12},
    }


def test_every_schema_is_one_and_is_listed() -> None:
    page = (ROOT / "docs" / "files.md").read_text()
    for kind, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$id"] == f"{kind}.schema.json"
        assert f"(schemas/{kind}.schema.json)" in page, kind
    assert {*WRONG, "predictions"} == SCHEMAS.keys()


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_written_fits_and_what_is_wrong_does_not(kind: str, written: dict[str, Any]) -> None:
    right, (name, value) = written[kind], WRONG[kind]
    check(kind, right)
    for wrong in (right | {name: value}, right | {"unheard_of": 1}, dict(list(right.items())[1:]), [right]):
        with pytest.raises(jsonschema.ValidationError):
            check(kind, wrong)


def test_a_network_that_failed_has_no_accuracy(written: dict[str, Any]) -> None:
    check("sweep-run", written["failed"])
    with pytest.raises(jsonschema.ValidationError):
        check("sweep-run", written["failed"] | {"accuracy": 0.5})


def test_a_recipe_of_any_kind_fits_and_one_of_mixed_kinds_does_not() -> None:
    for recipe in airjax.RECIPES.values():
        check("recipe", recipe.to_dict())
    mixed = airjax.RECIPES["94"].to_dict()
    mixed["optimizer"]["kind"] = "muon"  # whose fields are others
    with pytest.raises(jsonschema.ValidationError):
        check("recipe", mixed)


def test_files_of_version_0_1_fit() -> None:
    check("training-folder", json.loads((FIRST / "train" / "recipe.json").read_text()))
    check("sweep-plan", json.loads((FIRST / "sweep" / "plan.json").read_text()))
    check("plan", tomllib.loads((FIRST / "plan.toml").read_text()))
    (worker,) = (FIRST / "sweep" / "workers").iterdir()
    check("sweep-arrays", json.loads((worker / "arrays.json").read_text()))
    for kind, file in (
        ("training-run", FIRST / "train" / "runs.jsonl"),
        ("sweep-run", worker / "runs.jsonl"),
        ("environment", FIRST / "train" / "environments.jsonl"),
        ("environment", FIRST / "sweep" / "environments.jsonl"),
    ):
        assert lines(file)
        for line in lines(file):
            check(kind, line)


def test_every_plan_of_the_repository_fits() -> None:
    plans = [file for room in ("benchmarks", "experiments") for file in (ROOT / room).rglob("*.toml")]
    plans = [file for file in plans if "seeds" in tomllib.loads(file.read_text())]
    assert len(plans) > 5
    for file in plans:
        check("plan", tomllib.loads(file.read_text()))


def test_the_schemas_of_recipes_and_plans_are_those_of_the_code() -> None:
    from test_site import load_script

    module = load_script(".ci/recipe_schemas.py")
    for name, text in module.written().items():  # python .ci/recipe_schemas.py writes them
        assert (ROOT / "docs" / "schemas" / name).read_text() == text, name


def test_fields_that_the_page_lists_are_those_of_the_schemas() -> None:
    from test_site import fields_of

    for what, kind in (
        ("a training", "training-run"),
        ("an epoch", "training-epoch"),
        ("a result", "training-result"),
        ("a sweep", "sweep-plan"),
        ("a network of a sweep", "sweep-run"),
    ):
        listed = fields_of(what) - {"compile", "whiten", "train", "evaluate"}
        assert listed == SCHEMAS[kind]["properties"].keys(), kind


@pytest.mark.slow
def test_what_a_training_and_a_sweep_write_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow: pip install '.[report]'")
    out, swept = tmp_path / "train", tmp_path / "sweep"
    assert train.main(["--recipe", "tiny", "--data", "synthetic", "--out", str(out), "--json"]) == 0
    check("training-result", json.loads(capsys.readouterr().out.splitlines()[-1]))
    check("training-folder", json.loads((out / "recipe.json").read_text()))
    for kind, name in (("training-run", "runs"), ("environment", "environments")):
        (line,) = lines(out / f"{name}.jsonl")
        check(kind, line)
    first, last = lines(out / "epochs.jsonl")
    check("training-epoch", first)
    check("training-epoch", last)
    model = out / "model-0.safetensors"
    with safe_open(model, framework="numpy") as content:
        check("model", json.loads(content.metadata()["airjax"]))
    assert export.main([str(model), str(tmp_path / "hub"), "--hub"]) == 0
    check("model", json.loads((tmp_path / "hub" / "config.json").read_text()))

    capsys.readouterr()
    (tmp_path / "broken.png").write_bytes(b"")
    assert predict.main([str(model), str(tmp_path / "broken.png"), "--json"]) == 2
    check("predictions", json.loads(capsys.readouterr().out))
    with pytest.raises(jsonschema.ValidationError):
        check("predictions", [{"file": "a.png", "class": "cat"}])

    plan = 'recipe = "tiny"\ndata = "synthetic"\nseeds = 1\n[grid]\nflip = ["none", "random"]\n[keep]\nlogits = true\n'
    (tmp_path / "plan.toml").write_text(plan)
    assert sweep.main([str(tmp_path / "plan.toml"), "--out", str(swept), "--workers", "1"]) == 0
    check("sweep-plan", json.loads((swept / "plan.json").read_text()))
    (worker,) = (swept / "workers").iterdir()
    check("sweep-arrays", json.loads((worker / "arrays.json").read_text()))
    assert len(lines(worker / "runs.jsonl")) == 2
    for line in lines(worker / "runs.jsonl"):
        check("sweep-run", line)
    check("environment", lines(swept / "environments.jsonl")[0])
    file = tmp_path / "networks.parquet"
    assert export.main([str(swept), str(file), "--array", "predictions", "--array", "curves", "--array", "logits"]) == 0
    for row in pq.read_table(file).to_pylist():
        check("sweep-row", row)
