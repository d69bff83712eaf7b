import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from airjax.cli import train_folder
from airjax.cli.train_folder import Contents, FolderError, choose_precision, hold, keep_run, open_folder, setting_of
from airjax.nn.build import init_variables
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.checkpoint import Model
from airjax.training.environment import describe, fingerprint_of
from airjax.utils.records import read_lines
from airjax.utils.seeds import make_key

DATA = SimpleNamespace(name="synthetic", content="unknown", fingerprint="f0", split="test", labels=None)
HERE = describe()
ELSEWHERE = HERE | {"versions": HERE["versions"] | {"jax": "0.0.1"}}


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return resolve_precision(RECIPES["tiny"])


@pytest.fixture(scope="session")
def model(recipe: Recipe) -> Model:
    return Model(recipe, jax.device_get(jax.jit(lambda: init_variables(recipe, backend_of(recipe), make_key(0)))()))


@pytest.fixture
def out(tmp_path: Path, recipe: Recipe, model: Model) -> Path:
    """A folder with the networks of seeds 0 and 1."""
    folder = tmp_path / "out"
    hold(folder).close()
    opened(folder, recipe)
    for seed in range(2):
        keep_run(folder, model, {"seed": seed, "accuracy": 0.1 * seed}, setting_of(recipe, DATA), HERE)
    return folder


def opened(
    out: Path,
    recipe: Recipe,
    *,
    data: Any = DATA,
    environment: dict[str, Any] = HERE,
    seeds: Sequence[int] = range(2),
    mixed: bool = False,
) -> Contents:
    return open_folder(out, "tiny", recipe, data, environment, seeds, mixed=mixed)


def make_old(out: Path, environment: dict[str, Any]) -> None:
    # As version 0.1 left it.
    lines = [line for line in read_lines(out / "runs.jsonl") if line.pop("setting") and line.pop("environment")]
    (out / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    described = json.loads((out / "recipe.json").read_text())
    del described["content"]
    (out / "recipe.json").write_text(json.dumps(described))
    del environment["settings"]
    (out / "environment.json").write_text(json.dumps(environment | {"commit": "another"}))
    (out / "environments.jsonl").unlink()


def test_every_line_says_recipe_data_and_environment(out: Path, recipe: Recipe) -> None:
    lines = read_lines(out / "runs.jsonl")
    assert [line["setting"] for line in lines] == 2 * [setting_of(recipe, DATA)]
    assert [line["environment"] for line in lines] == 2 * [fingerprint_of(HERE)]
    assert [line["environment"] for line in read_lines(out / "environments.jsonl")] == [fingerprint_of(HERE)]


def test_networks_that_are_asked_for_and_whole_count(out: Path, recipe: Recipe) -> None:
    assert sorted(opened(out, recipe).runs) == [0, 1]
    assert sorted(opened(out, recipe, seeds=[1, 2]).runs) == [1]
    assert opened(out, recipe).mixed == {}


@pytest.mark.parametrize("fault", ["gone", "cut off", "of another recipe"])
def test_a_network_whose_file_is_gone_or_damaged_does_not_count(
    out: Path, recipe: Recipe, model: Model, fault: str
) -> None:
    file = out / "model-1.safetensors"
    if fault == "gone":
        file.unlink()
    elif fault == "cut off":
        file.write_bytes(file.read_bytes()[:-10])
    else:
        other = recipe.override(momentum=0.5)
        keep_run(out, model._replace(recipe=other), {"seed": 1}, setting_of(recipe, DATA), HERE)
    contents = opened(out, recipe)
    assert list(contents.runs) == [0]
    assert len(contents.lost) == 1
    assert contents.lost[0].startswith(f"seed 1 is trained again: {file} ")


@pytest.mark.parametrize("recipe_json", [True, False])
def test_networks_of_another_recipe_or_data_set_are_refused(out: Path, recipe: Recipe, recipe_json: bool) -> None:
    if not recipe_json:
        (out / "recipe.json").unlink()
    before = (out / "runs.jsonl").read_bytes()
    other = recipe.override(momentum=0.5)
    message = (
        r"another recipe \(momentum 0\.85, now 0\.5\)" if recipe_json else "another recipe or data set: seed 0's is"
    )
    with pytest.raises(FolderError, match=message):
        opened(out, other)
    message = "another data set" if recipe_json else "another recipe or data set: seed 0's is"
    with pytest.raises(FolderError, match=message):
        opened(out, recipe, data=SimpleNamespace(**vars(DATA) | {"fingerprint": "f1"}))
    assert (out / "runs.jsonl").read_bytes() == before
    assert sorted(opened(out, recipe).runs) == [0, 1]  # and recipe.json is written anew
    assert json.loads((out / "recipe.json").read_text())["recipe"] == json.loads(json.dumps(recipe.to_dict()))


def test_networks_of_another_environment_are_pooled_only_on_request(out: Path, recipe: Recipe) -> None:
    with pytest.raises(FolderError, match=rf"versions\.jax: {jax.__version__}, 0\.0\.1\).*--mixed"):
        opened(out, recipe, environment=ELSEWHERE)
    contents = opened(out, recipe, environment=ELSEWHERE, mixed=True)
    assert sorted(contents.runs) == [0, 1]
    assert contents.mixed == {"versions.jax": [jax.__version__, "0.0.1"]}
    assert opened(out, recipe, environment=HERE | {"commit": "another"}).mixed == {}


def test_a_setting_that_only_one_environment_has_is_a_difference(out: Path, recipe: Recipe) -> None:
    changed = HERE | {"settings": HERE["settings"] | {"XLA_FLAGS": "--fast"}}
    assert opened(out, recipe, environment=changed, mixed=True).mixed == {"settings.XLA_FLAGS": [None, "--fast"]}


def test_an_environment_whose_description_is_gone_is_told_by_its_fingerprint(out: Path, recipe: Recipe) -> None:
    (out / "environments.jsonl").unlink()
    assert opened(out, recipe).mixed == {}
    (out / "environments.jsonl").unlink()
    with pytest.raises(FolderError, match=f"environment: {fingerprint_of(HERE)}, {fingerprint_of(ELSEWHERE)}"):
        opened(out, recipe, environment=ELSEWHERE)


@pytest.mark.parametrize(
    ("begun", "strategy", "pays", "chosen"),
    [
        (None, "auto", True, "bfloat16"),
        (None, "map", True, "bfloat16"),
        (None, "vmap", True, None),
        (None, "auto", False, None),
        ("float32", "auto", True, "float32"),
        ("bfloat16", "vmap", False, "bfloat16"),
        ("damaged", "auto", False, None),
    ],
)
def test_auto_is_what_a_folder_was_begun_in_or_what_pays_off(
    begun: str | None,
    strategy: str,
    chosen: str | None,
    tmp_path: Path,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pays: bool,
) -> None:
    monkeypatch.setattr(train_folder, "bfloat16_pays", lambda recipe: pays)
    if begun is not None:
        text = "{" if begun == "damaged" else json.dumps({"recipe": recipe.to_dict() | {"precision": begun}})
        (tmp_path / "recipe.json").write_text(text)
    assert choose_precision(recipe, strategy, tmp_path) == chosen
    assert choose_precision(recipe, strategy, None) == ("bfloat16" if pays and strategy != "vmap" else None)


def test_a_folder_of_version_0_1_is_resumed_by_its_recipe_and_environment(out: Path, recipe: Recipe) -> None:
    make_old(out, dict(HERE))
    assert sorted(opened(out, recipe).runs) == [0, 1]
    with pytest.raises(FolderError, match=r"versions\.jax"):
        opened(out, recipe, environment=ELSEWHERE)
    (out / "recipe.json").unlink()
    with pytest.raises(FolderError, match=r"does not say which recipe its networks are of: .*recipe\.json is gone"):
        opened(out, recipe)


def test_a_damaged_recipe_file_is_named(out: Path, recipe: Recipe) -> None:
    for content in ("{", "[]", "null", '{"name": "tiny"}'):
        (out / "recipe.json").write_text(content)
        with pytest.raises(FolderError, match=r"recipe\.json is damaged .*remove it"):
            opened(out, recipe)


def test_one_process_writes_at_a_time(out: Path) -> None:
    with hold(out), pytest.raises(FolderError, match="another process is writing to"):
        hold(out)
    (out / "file").touch()
    with pytest.raises(FolderError, match="cannot write to --out"):
        hold(out / "file" / "inside")
