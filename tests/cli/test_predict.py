import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import airjax
from airjax.cli import predict
from airjax.data.image_files import read_image
from airjax.recipes.recipe import Recipe
from tests.networks import initial

CLASSES = ("Flugzeug", "Auto", "Vögel", "猫", "Hirsch", "Hund", "Frosch", "Pferd", "Schiff", "LKW")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    recipe = tiny.override(precision="float32")
    variables = initial(recipe)
    # Zeros would give every class the same probability.
    variables["frozen"] = jax.tree.map(
        lambda zeros: jax.random.normal(jax.random.key(1), zeros.shape), variables["frozen"]
    )
    airjax.save_model(file, airjax.Model(recipe, variables, CLASSES))
    return file


@pytest.fixture
def images(toy: airjax.Dataset, tmp_path: Path) -> list[str]:
    files = [str(tmp_path / f"bild-{index}-ä.png") for index in range(3)]
    for file, pixels in zip(files, toy.test_images, strict=False):
        Image.fromarray(pixels).save(file)
    return files


def run_in_shell(command: str, *arguments: object, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `command`, in which PREDICT stands for the program and its arguments."""
    program = '"$0" -m airjax.predict "$@"'
    done = subprocess.run(
        ["bash", "-c", command.replace("PREDICT", program), sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout, done.stderr


def test_every_class_has_its_probability(
    model_file: Path, images: list[str], toy: airjax.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(model_file), *images, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    logits = airjax.infer(airjax.load(model_file), toy.test_images[:3])
    assert not np.allclose(logits[0], logits[1])
    for row, expected in zip(rows, predict.softmax(logits), strict=True):
        assert list(row["probabilities"]) == list(CLASSES)
        assert np.array_equal(list(row["probabilities"].values()), expected)
        assert row["class"] == CLASSES[expected.argmax()]
    assert predict.main([str(model_file), *images]) == 0
    assert capsys.readouterr().out.startswith(f"{images[0]}: {rows[0]['class']}  (")


def test_one_bad_image_does_not_stop_the_others(
    model_file: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = str(tmp_path / "none.png")
    files = [images[0], bad, images[1]]
    assert predict.main([str(model_file), *files, "--json"]) == 1
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert [row["file"] for row in rows] == files
    assert [set(row) for row in rows] == [{"file", "class", "probabilities"}, {"file", "error"}, set(rows[0])]
    assert rows[1]["error"] == f"{bad} does not exist"
    assert captured.err == f"error: {bad} does not exist\n1 of 3 images could not be classified\n"
    assert predict.main([str(model_file), *files]) == 1
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == [images[0], images[1]]


def test_batches_give_the_answers_of_single_images(
    model_file: Path, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, files = airjax.load(model_file), [*map(Path, images), tmp_path / "none.png", Path(images[0])]
    whole = [row for row, _ in predict.classify(model, files, fit=False)]
    monkeypatch.setattr(predict, "BATCH", 2)
    rows, shown = zip(*predict.classify(model, files, fit=False), strict=True)
    assert list(rows) == whole
    for file, pixels in zip(files, shown, strict=True):  # those that the row is of
        assert (pixels is None) == (not file.exists())
        assert pixels is None or np.array_equal(pixels, np.asarray(Image.open(file)))
    assert [row["file"] for row in whole] == [str(file) for file in files]


def test_nothing_done_is_code_2(
    model_file: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([model_file], "error: no image given; name at least one image file after the model\n"),
        ([model_file, tmp_path / "none.png"], f"error: {tmp_path / 'none.png'} does not exist\n"),
        ([model_file, tmp_path], f"error: {tmp_path} is a folder; name the image files in it: {tmp_path}/*\n"),
        (
            [tmp_path / "none", images[0]],
            f"error: {tmp_path / 'none'} does not exist; python -m airjax.train --out DIR writes models\n",
        ),
        (
            [tmp_path / "empty", images[0]],
            f"error: {tmp_path / 'empty'} is a folder without a .safetensors file; "
            "airjax train --out DIR writes them\n",
        ),
    ):
        assert predict.main([str(argument) for argument in arguments]) == 2
        assert capsys.readouterr() == ("", message)


def test_an_answer_that_is_not_finite_is_no_class(model_file: Path, images: list[str]) -> None:
    model = airjax.load(model_file)
    params = model.variables["params"]
    broken = model.variables | {"params": params | {"head": np.full_like(params["head"], 3e38)}}
    ((row, image),) = predict.classify(model._replace(variables=broken), [Path(images[0])], fit=False)
    assert (set(row), image) == ({"file", "error"}, None)
    assert "the network's answer is not finite" in row["error"]


def test_what_pillow_finds_odd_is_said_in_a_line(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side = 9500  # 90 million pixels of one bit: more than Pillow takes without a warning
    Image.new("1", (side, side)).save(tmp_path / "large.png")
    assert predict.main([str(model_file), str(tmp_path / "large.png"), "--fit"]) == 0
    errors = capsys.readouterr().err
    assert errors.startswith(f"warning: {tmp_path / 'large.png'}: Image size (90250000 pixels) exceeds limit")
    assert errors.count("\n") == 1


def test_a_reader_that_leaves_and_a_full_disk(model_file: Path, images: list[str]) -> None:
    code, output, errors = run_in_shell("PREDICT | (read line); exit ${PIPESTATUS[0]}", model_file, *images * 400)
    assert (code, output, errors) == (141, "", "")
    if Path("/dev/full").exists():
        code, _, errors = run_in_shell("PREDICT > /dev/full", model_file, *images)
        assert (code, errors) == (74, "error: cannot write the output: No space left on device\n")


def test_an_ascii_terminal_shows_escapes(model_file: Path, images: list[str]) -> None:
    code, output, errors = run_in_shell("PREDICT", model_file, *images, "x-ö", PYTHONIOENCODING="ascii")
    assert code == 1
    assert output.startswith(images[0].replace("ä", "\\xe4"))
    assert "\\u732b " in output
    assert errors == "error: x-\\xf6 does not exist\n1 of 4 images could not be classified\n"


def test_help_says_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        predict.main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "The exit code is 0 if all files were, 1 if some were, and 2 if none was" in text


def test_a_page_shows_what_the_network_saw(
    model_file: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed (pip install '.[report]')")
    out, missing = tmp_path / "page.html", str(tmp_path / "none.png")
    assert predict.main([str(model_file), *images, missing, "--html", str(out), "--json"]) == 1
    captured = capsys.readouterr()
    assert f"wrote {out}" in captured.err
    rows, text = json.loads(captured.out), out.read_text()
    assert "3 images classified" in text
    assert text.count("data:image/png") == 3
    assert f"<b>{rows[0]['class']}</b>" in text
    assert f"{100 * rows[0]['probabilities'][rows[0]['class']]:.1f}%" in text
    assert f"{missing} does not exist" in text
    assert predict.main([str(model_file), images[0], "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot write --html" in capsys.readouterr().err


def test_a_page_shows_files_whose_names_are_no_text_and_reads_each_once(
    model_file: Path, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed (pip install '.[report]')")
    name, out = tmp_path / os.fsdecode(b"bad\xff.png"), tmp_path / "page.html"
    Path(images[0]).rename(name)
    read: list[Path] = []

    def read_once(file: Path, **how: Any) -> np.ndarray:  # as a pipe can be
        assert file not in read
        read.append(file)
        return read_image(file, **how)

    monkeypatch.setattr(predict, "read_image", read_once)
    assert predict.main([str(model_file), str(name), images[1], "--html", str(out), "--json"]) == 0
    assert "bad\\udcff.png" in out.read_text()
    assert out.read_text().count('src="data:image/png;base64,') == 2
