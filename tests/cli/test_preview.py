from pathlib import Path

import pytest

import airjax
from airjax.cli import data

pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")


@pytest.mark.usefixtures("small_builtin")
def test_a_page_shows_classes_and_what_the_epochs_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toy: airjax.Dataset
) -> None:
    out = tmp_path / "page.html"
    assert data.main(["preview", "--data", "synthetic", "--recipe", "96", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    text = out.read_text()
    assert "300 training and 100 test images of 10 classes" in text
    assert "alternating flip, translation by up to 4 pixels, cutout of 12 pixels" in text
    # Eight images of each class; six examples as they are and in eight epochs. Alternating flip mirrors half of these.
    assert text.count("data:image/png") == 10 * 8 + 6 * 9
    assert text.count('<td class="mirrored">') == 6 * 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "nowhere"], 2, "nowhere"),
        (["--data", "synthetic", "--seed", "-1"], 2, "seed"),
        (["--data", "synthetic", "--out", "none/page.html"], 1, "none: No such folder"),
    ],
)
@pytest.mark.usefixtures("small_builtin")
def test_what_is_wrong_is_named(
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data.main(["preview", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
