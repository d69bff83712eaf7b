"""The command line on trees of images: results, resuming, and what cannot be meant."""

import contextlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tree_files import SMALL, encode, make_pixels, write_tree

import airjax
from airjax.cli import train
from airjax.cli.stopping import StopRequest
from airjax.cli.tracking import Watchers
from airjax.cli.train import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, main
from airjax.training.loop import TrainedRun
from airjax.training.stream_loop import train_members
from airjax.utils.records import read_lines

for package in ("grain", "simplejpeg", "cv2"):
    pytest.importorskip(package)

UNREADABLE = Path("/proc/self/mem")  # a file whose first bytes nobody can read


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-99])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "three")


def test_networks_learn_from_a_tree_are_kept_and_not_trained_again(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whatever libraries read is trained on: CMYK, and a PNG with a JPEG's name.
    (tree / "train" / "n01" / "00.JPEG").write_bytes(encode(make_pixels(0, 40, 30), mode="CMYK"))
    (tree / "val" / "n01" / "21.JPEG").write_bytes(encode(make_pixels(21, 47, 41), "PNG"))
    out = tmp_path / "out"
    arguments = [*SMALL, "--data", "imagenet", "--data-dir", str(tree), "--out", str(out), "--json"]
    assert main(arguments) == EXIT_OK
    said = capsys.readouterr().out
    result = json.loads(said.splitlines()[-1])
    assert (result["dataset"], result["split"], result["classes"], result["steps"]) == ("three", "validation", 3, 3)
    assert [(crop["size"], crop["fraction"]) for crop in result["test_crops"]] == [(48, 0.875), (32, 1.0)]
    assert result["accuracy"] == [result["test_crops"][0]["tta_accuracy"]]
    assert result["target_met"] == "not evaluated"
    assert "on the test crop of 32 pixels. This is data of your own" in said
    (line,) = read_lines(out / "runs.jsonl")
    assert line["test_crops"] == result["test_crops"]
    model = airjax.load(out / "model-0.safetensors")
    assert model.classes == ("n01", "n02", "n03")
    assert model.recipe.inputs.image_size == 48
    # It predicts in memory what it does on the tree.
    seen = np.asarray(make_pixels(0, 48, 48))[None]
    with_all, plain = (airjax.infer(model, seen, tta_level=level) for level in (None, 0))
    assert with_all.shape == plain.shape == (1, 3)
    assert not np.array_equal(with_all, plain)
    # A folder with the same tree, named another way.
    assert main([*SMALL, "--data", str(tree), "--out", str(out)]) == EXIT_OK
    said = capsys.readouterr().out
    assert "seed 0: accuracy" in said
    assert "kept from" in said


def test_a_page_of_networks_that_learned_from_a_tree_decodes_none_of_it(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")
    from airjax.report import networks
    from airjax.report.networks_page import render_networks

    assert main([*SMALL, "--data", str(tree), "--out", str(tmp_path / "out")]) == EXIT_OK
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["place"] == str(tree.resolve())
    asked: list[str] = []
    monkeypatch.setattr(networks, "find_data", lambda name, *_: asked.append(name))
    found = networks.read_networks(tmp_path / "out")
    assert (asked, found.dataset, found.logits) == ([], None, None)
    assert "learned from a tree of images" in render_networks(found).text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "there is no folder "),
        (lambda p: shutil.rmtree(p / "val"), "three has no folder test (or val); need train/CLASS/"),
        (lambda p: shutil.rmtree(p / "val" / "n02"), "class n02 is in"),
        (lambda p: [file.unlink() for file in (p / "train" / "n02").iterdir()], "n02 has no images; remove the class"),
        (lambda p: (p / "train" / "n01" / "x.jpeg").write_text("none"), "its format is unknown; mend or remove it"),
        (
            lambda p: (p / "train" / "n01" / "00.JPEG").write_bytes(
                (p / "train" / "n01" / "00.JPEG").read_bytes()[:-99]
            ),
            "train/n01/00.JPEG cannot be decoded",
        ),
        pytest.param(
            lambda p: (p / "val" / "n01" / "x.jpg").symlink_to(UNREADABLE),
            "x.jpg cannot be read as an image: Input/output error; mend or remove it",
            marks=pytest.mark.skipif(not UNREADABLE.exists(), reason="no file of /proc that cannot be read"),
        ),
    ],
)
def test_a_tree_that_cannot_be_meant_is_named_with_the_remedy(
    spoil: Callable[[Path], object], message: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tree)
    assert main([*SMALL, "--data", "imagenet", "--data-dir", str(tree)]) == EXIT_USAGE
    assert message in capsys.readouterr().err


def test_images_that_cannot_be_decoded_are_left_out_where_that_is_asked_for(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(tree / "train" / "n01" / "00.JPEG")
    assert main([*SMALL, "--data", str(tree), "--corrupt", "skip", "--batch-size", "21"]) == EXIT_USAGE
    said = capsys.readouterr().err
    assert "1 files of" in said
    assert "are left out: train/n01/00.JPEG; mend or remove them" in said
    assert "batch-size is 21, but there are only 20 training examples" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data imagenet", "no folder is named: pass --data-dir TREE, with train/CLASS/... and val/CLASS/..., or set"),
        ("--data cifar10", "data is cifar10, but recipe imagenet-resnet18-16 learns from a tree of images: name its"),
        ("", "data is auto, but recipe imagenet-resnet18-16 learns from a tree of images: name its folder, "),
        ("--data TREE --data-dir TREE", "which names a place already; leave --data-dir out"),
        ("--data TREE --validation 3", "validation is 3, but recipe imagenet-resnet18-16 learns from a tree of images"),
        ("--data TREE --image-size 64", "image-size is 64, but"),
        (
            "--data TREE --strategy vmap --seeds 2",
            "strategy is vmap, but networks that learn from a tree of images are",
        ),
        ("--data TREE --train-examples 12", "train-examples is 12, but all 21 images of three are used; leave it out"),
        ("--data TREE --flip alternating", "take alternating-hash"),
        ("--data TREE --cutout 12", "cutout is 12, but images of a tree are only cropped and flipped: set it to 0"),
        ("--data TREE --workers -1", "workers is -1, but it must be a number from 0 to 1024"),
    ],
)
def test_options_that_do_not_go_with_a_tree_are_refused_with_the_remedy(
    arguments: str, message: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *arguments.replace("TREE", str(tree)).split()]) == EXIT_USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--recipe tiny --data imagenet", "choose a recipe with crops, such as --recipe imagenet-resnet18-16"),
        ("--recipe tiny --data synthetic --workers 2", "workers is 2, but recipe tiny reads no images while it trains"),
    ],
)
def test_a_recipe_without_crops_learns_from_no_tree(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == EXIT_USAGE
    assert message in capsys.readouterr().err


def test_networks_of_a_group_learn_from_the_batches_of_its_first(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [*SMALL, "--data", str(tree), "--out", str(out), "--seed", "5", "--seeds", "3", "--json"]
    assert main([*arguments, "--group", "2"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["seeds"] == [5, 6, 7]
    runs = {run["seed"]: run for run in read_lines(out / "runs.jsonl")}
    assert [runs[seed].get("batches_of") for seed in (5, 6, 7)] == [None, 5, None]
    assert runs[5]["seconds"]["train"] == runs[6]["seconds"]["train"]
    # Those that lead a group are what they are alone.
    own = [*SMALL, "--data", str(tree), "--out", str(tmp_path / "alone"), "--seed", "5", "--seeds", "2"]
    assert main(own) == EXIT_OK
    alone = {run["seed"]: run for run in read_lines(tmp_path / "alone" / "runs.jsonl")}
    assert alone[5]["train_loss"] == pytest.approx(runs[5]["train_loss"], rel=1e-5)
    assert alone[6]["train_loss"] != pytest.approx(runs[6]["train_loss"], rel=1e-5)
    # One that is lost is trained again on the same batches, without the other one.
    (out / "model-6.safetensors").unlink()
    capsys.readouterr()
    assert main([*arguments, "--group", "2"]) == EXIT_OK
    assert "kept from" in capsys.readouterr().out
    again = [run for run in read_lines(out / "runs.jsonl") if run["seed"] == 6]
    assert len(again) == 2
    assert again[1]["batches_of"] == 5
    assert again[1]["train_loss"] == pytest.approx(runs[6]["train_loss"], rel=1e-5)
    # A folder holds one or the other.
    assert main(arguments) == EXIT_USAGE
    said = capsys.readouterr().err
    assert "seed 6" in said
    assert "learned from the batches of seed 5, which is not batches of its own; give the --group and --seed" in said


def test_networks_of_a_group_stop_and_resume_together(tree: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, "--data", str(tree), "--seeds", "2", "--group", "2", "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == EXIT_OK

    class AfterTwo(StopRequest):
        calls = 0

        def __call__(self) -> bool:
            self.calls += 1
            self.signal = signal.SIGTERM if self.calls == 2 else self.signal
            return super().__call__()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "watch_signals", lambda: contextlib.nullcontext(AfterTwo()))
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 143
    assert not (tmp_path / "out" / "runs.jsonl").exists()
    assert list((tmp_path / "out" / "snapshots").rglob("*"))
    steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watchers, "step", lambda _, done, metrics: steps.append(done))
        assert main([*arguments, "--out", str(tmp_path / "out")]) == EXIT_OK
    assert steps[0] > 1
    for seed in (0, 1):
        files = [tmp_path / name / f"model-{seed}.safetensors" for name in ("whole", "out")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_network_of_a_group_that_diverges_leaves_the_others_to_be_kept(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_diverges(*arguments: Any, **how: Any) -> list[TrainedRun]:
        first, *others = train_members(*arguments, **how)
        return [first._replace(metrics=first.metrics._replace(loss=np.full(3, np.nan))), *others]

    monkeypatch.setattr(train, "train_members", one_diverges)
    out = tmp_path / "out"
    assert main([*SMALL, "--data", str(tree), "--seeds", "2", "--group", "2", "--out", str(out)]) == EXIT_FAILURE
    assert [run["seed"] for run in read_lines(out / "runs.jsonl")] == [1]
    assert "seed 0: the loss is not finite" in capsys.readouterr().err
