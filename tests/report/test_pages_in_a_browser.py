"""Every page in a real browser, at the widths of a phone, a tablet and a wide screen, in light and dark colours."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import make_networks

import airjax
from airjax.cli.serve import make_live
from airjax.report import charts
from airjax.report.folders import render_folder
from airjax.report.predictions import render_predictions
from airjax.report.preview import render_preview
from airjax.sweep.store import Writer
from airjax.utils.records import append_line, write_json

pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (360, 768, 1440)
PROBE = Path(__file__).with_name("probe.js")
SCHEMES = {"dark": 0, "light": 1}  # Chromium's numbers of them
FEWEST_TEXTS = 20  # of a page: a probe that finds none would find no fault
READABLE = 4.5  # contrast of letters and ground (WCAG 2.2, AA)


def make_sweep(folder: Path, dataset: airjax.Dataset) -> Path:
    """A sweep of eight settings, of three networks each, that nobody trained."""
    writer, labels = Writer(folder, "a"), dataset.test_labels
    settings = {
        f"s{i}": {"learning_rate": 1.0 + i % 2, "translate": 2 * (i // 2), "data": "synthetic"} for i in range(8)
    }
    for number, (name, fields) in enumerate(settings.items()):
        for seed in range(3):
            right = 50 + 3 * number + seed
            record = {"id": f"{name}-{seed}", "setting": name, "data": "synthetic", "seed": seed, "subset": None}
            record |= {"changes": fields, "environment": "e", "accuracy": right / len(labels), "diverged": False}
            record |= {"error": None, "examples": len(labels), "seconds": 1.5 + number}
            seen = np.where(np.arange(len(labels)) < right, labels, (labels + 1) % 10)
            logits = np.where(np.arange(10) == seen[:, None], 4.0, 0.0)
            curves = np.array([[2.0, 0.3], [1.0 - 0.1 * seed, 0.5], [0.5, 0.7]], np.float32)
            writer.add(record, {"predictions": seen.astype(np.uint8), "curves": curves, "logits": logits})
    append_line(folder / "environments.jsonl", {"environment": "e", "device": "a processor"})
    plan = {"recipe": "tiny", "num_runs": 24, "seeds": [0, 1, 2], "subsets": None, "settings": settings}
    write_json(folder / "plan.json", plan)
    return folder


@pytest.fixture(scope="module")
def pages(toy: airjax.Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of a page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    row = {"file": "a long name of a file without any blanks in it".replace(" ", "_"), "class": "cat"}
    row |= {"probabilities": dict(zip(toy.classes, np.full(10, 0.1).tolist(), strict=True))}
    with pytest.MonkeyPatch.context() as patch:
        from airjax.data import registry

        entry = registry.REGISTRY["synthetic"]
        patch.setitem(registry.REGISTRY, "synthetic", entry._replace(load=lambda place, download=True: toy))
        make_sweep(folder / "sweeps" / "one", toy)
        networks = render_folder(make_networks(folder / "networks", toy, [60, 64, 68])).text
        texts = {"networks": networks, "sweep": render_folder(folder / "sweeps" / "one").text}
        texts["sweeps"] = render_folder(folder / "sweeps").text
    texts["live"] = make_live(networks, "0")
    recipe = airjax.fit_recipe(airjax.get_recipe("96").override(batch_size=50), toy)
    texts["preview"] = render_preview(toy, "96", recipe, 0, ["It is small."]).text
    rows = [row] * 3 + [{"file": "b", "error": "b does not exist"}]
    images = [*toy.test_images[:3], None]
    texts["predictions"] = render_predictions("model-0.safetensors", "a network", rows, images)
    return texts


def browse(pages: dict[str, str], folder: Path, mode: str) -> dict[str, Any]:
    """What the probe finds in each page at each width, by "name width"."""
    assert BROWSER is not None
    frames = {f"{name} {width}": (text, width) for name, text in pages.items() for width in WIDTHS}
    texts = json.dumps([[name, text, width] for name, (text, width) in frames.items()]).replace("<", "\\u003c")
    probed = folder / f"{mode}.html"
    probed.write_text(f"<!doctype html><body><script>const pages = {texts};\n{PROBE.read_text()}</script></body>")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / mode}"]
    command += [f"--blink-settings=preferredColorScheme={SCHEMES[mode]}", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run([*command, probed.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    found = re.search('<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    return json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome is installed")
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pages_fit_are_legible_and_have_no_faults(pages: dict[str, str], tmp_path: Path, mode: str) -> None:
    faulty = '<html><body><p style="width: 3000px; color: #777; background: #888">wide</p><script>nothing()</script>'
    found = browse(pages | {"faulty": f'{faulty}<img src="https://example.org/x.png"></body></html>'}, tmp_path, mode)
    for name in [name for name in found if name.startswith("faulty")]:  # the probe sees what is wrong
        one = found.pop(name)
        assert one["overflow"] > 1000
        assert one["contrast"][0][0] < 1.5
        assert any("nothing is not defined" in fault for fault in one["faults"])
    for name, one in found.items():
        assert one["faults"] == [], name
        assert one["overflow"] == 0, name
        assert one["dark"] is (mode == "dark"), name
        assert one["drawn"] == one["charts"], name
        assert one["texts"] > FEWEST_TEXTS, name
        assert not one["contrast"], (name, one["contrast"][:5])
        assert not one["outside"], (name, one["outside"][:5])
    assert found["networks 360"]["charts"] == 9
    assert "wrong networks, %" in found["networks 360"]["hover"]  # of the last figure, the difficulty


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_letters_are_legible_all_along_a_ramp(mode: charts.Mode) -> None:
    near, far, turn = charts.RAMP_INKS[mode]
    stops = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in charts.RAMPS[mode]]) / 255
    parts = np.linspace(0, 1, 101)
    colors = np.stack([np.interp(parts, np.linspace(0, 1, len(stops)), stops[:, k]) for k in range(3)], 1)
    luminances = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]
    for part, luminance in zip(parts, luminances, strict=True):
        ink = far if part > turn else near
        contrast = 1.05 / (luminance + 0.05) if ink == "#ffffff" else (luminance + 0.05) / 0.05
        assert contrast >= READABLE - 0.3, (part, contrast)  # between two of the ramp's colours no ink is at 4.5
