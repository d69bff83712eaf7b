"""The notebooks run from top to bottom, and are stored without what running them leaves behind."""

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest
from test_site import load_script

import airjax

for package in ("mkdocs", "nbclient", "nbconvert", "ipykernel"):
    pytest.importorskip(package, reason="notebooks need the extra docs: pip install '.[docs]'")

nbformat = pytest.importorskip("nbformat")
v4 = nbformat.v4

ROOT = Path(__file__).parents[1]
NAMES = sorted(file.stem for file in (ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site() -> ModuleType:
    """The hooks of the site that make pages of notebooks."""
    return load_script(".ci/site_notebooks.py")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_in_its_normal_form(name: str, site: ModuleType) -> None:
    text = (site.FOLDER / f"{name}.ipynb").read_text()
    assert site.normal_form(nbformat.reads(text, 4)) == text
    cells = nbformat.reads(text, 4).cells
    assert cells[0].source.startswith("# ")
    assert "%pip install --quiet airjax" in cells[1].source
    assert f"notebooks/{name}.md" in (ROOT / "mkdocs.yml").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_uses_public_names_alone(name: str, site: ModuleType) -> None:
    cells = [cell for cell in nbformat.read(site.FOLDER / f"{name}.ipynb", 4).cells[2:] if cell.cell_type == "code"]
    code = "\n".join(cell.source for cell in cells)
    used = set(re.findall(r"\bairjax\.(\w+)", code))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airjax"):
            assert node.module == "airjax"
            used |= {alias.name for alias in node.names}
    assert used
    assert used <= {*airjax.__all__, *airjax.MODULES}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_without_errors_warnings_and_long_outputs(name: str, site: ModuleType) -> None:
    notebook = site.executed(site.FOLDER / f"{name}.ipynb")  # raises PluginError for faults
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2
    text, files = site.to_page(notebook, name)
    assert len(files) == len(pictures)
    assert all(file in text for file in files)
    assert "find_spec" not in text  # the cell that is for Colab


def test_faults_of_a_notebook_are_found(site: ModuleType) -> None:
    sources = ["print('\\n' * 40)", "import warnings; warnings.warn('old')", "1 / 0", "list(range(9))"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])
    found = site.faults(site.execute(notebook))
    assert len(found) == 3
    assert found[0] == "cell 0: an output of 41 lines, more than 40"
    assert found[1].startswith("cell 1: writes to standard error: ")
    assert found[1].endswith("import warnings; warnings.warn('old')")
    assert found[2] == "cell 2: ZeroDivisionError: division by zero"


def test_what_an_editor_leaves_behind_is_not_normal(site: ModuleType) -> None:
    cell = v4.new_code_cell("x = 1", execution_count=3, metadata={"collapsed": True, "tags": ["remove-cell"]})
    normal = nbformat.reads(site.normal_form(v4.new_notebook(cells=[cell])), 4).cells[0]
    assert (normal.id, normal.execution_count, normal.metadata) == ("cell-0", None, {"tags": ["remove-cell"]})


def test_pictures_are_described_by_their_headings(site: ModuleType) -> None:
    text = site.describe_pictures("# Title\n\n```python\n# no heading\n```\n\n![png](a.png)\n## Flips\n![png](b.png)\n")
    assert "![Title](a.png)" in text
    assert "![Flips](b.png)" in text


def test_links_to_colab_lead_into_the_repository(site: ModuleType) -> None:
    assert site.colab_link("https://github.com/someone/airjax", "quickstart") == (
        "https://colab.research.google.com/github/someone/airjax/blob/main/docs/notebooks/quickstart.ipynb"
    )
    assert site.colab_link("https://example.org/airjax", "quickstart") is None
    assert site.colab_link(None, "quickstart") is None
    page = type("Page", (), {"file": type("File", (), {"src_uri": "notebooks/quickstart.md"})})
    shown = site.on_page_markdown("# Quickstart\n\nText", page, {"repo_url": "https://github.com/someone/airjax"})
    assert shown.startswith("# Quickstart\n\n[Open in Colab](https://colab.research.google.com/github/someone/")
    assert "[Download the notebook](quickstart.ipynb)" in shown
    assert "Colab" not in site.on_page_markdown("# Quickstart\n\nText", page, {"repo_url": ""})
