"""Hooks of mkdocs: the notebooks of docs/notebooks, executed, as pages of the site.

They are stored without outputs, in one normal form, which `python .ci/site_notebooks.py` writes. A build executes what
build/notebooks does not have from the same cells and the same library, and fails where a notebook has a fault.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FOLDER, EXECUTED = ROOT / "docs" / "notebooks", ROOT / "build" / "notebooks"
MOST_LINES = 40  # of an output: a screen
MOST_SECONDS = 900  # of a cell, on a machine with other work
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LEFT_OUT = "remove-cell"  # tag of cells that the site has no use for
HEADING = re.compile(r"(\A# .*\n|^##+ .*\n)", re.MULTILINE)  # a comment in code has one sign
MADE_FROM = "made_from"  # metadata of an executed notebook


def notebooks() -> list[Path]:
    """Return the stored notebooks."""
    return sorted(FOLDER.glob("*.ipynb"))


def normal_form(notebook: Any) -> str:
    """Return a notebook's text without what running it leaves behind: outputs, counts, and what an editor notes."""
    cells = []
    for number, cell in enumerate(notebook.cells):
        tags = {"tags": cell.metadata.tags} if "tags" in cell.metadata else {}
        kept = {"cell_type": cell.cell_type, "id": f"cell-{number}", "metadata": tags, "source": cell.source.strip()}
        if cell.cell_type == "code":
            kept |= {"execution_count": None, "outputs": []}
        cells.append(kept)
    normal = {"cells": cells, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}
    return nbformat.writes(nbformat.from_dict(normal)) + "\n"


def execute(notebook: Any) -> Any:
    """Return a notebook with its outputs, run in an empty folder with this checkout's library. Errors are outputs."""
    from nbclient import NotebookClient
    from traitlets.config import Config

    here = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=MOST_SECONDS,
            allow_errors=True,
            resources={"metadata": {"path": folder}},
            store_widget_state=False,
            # Files of this user, not ports that every user of the machine could talk to.
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),
            startup_timeout=MOST_SECONDS,
        )
        client.execute(env=os.environ | here)
    return notebook


def executed(file: Path) -> Any:
    """Return a stored notebook with its outputs, which are kept until its cells or the library change.

    Raises PluginError for a notebook with faults.
    """
    notebook, kept = nbformat.read(file, 4), EXECUTED / file.name
    digest = hashlib.sha256(file.read_bytes())
    for source in sorted((ROOT / "airjax").rglob("*.py")):
        digest.update(source.read_bytes())
    if kept.exists() and (known := nbformat.read(kept, 4)).metadata.get(MADE_FROM) == digest.hexdigest():
        return known
    found = faults(execute(notebook))
    if found:
        raise PluginError(f"{file.relative_to(ROOT)}: {'; '.join(found)}")
    notebook.metadata[MADE_FROM] = digest.hexdigest()
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    return notebook


def faults(notebook: Any) -> list[str]:
    """Return what is wrong with an executed notebook: errors, warnings, and outputs of more than a screen."""
    return [
        f"cell {number}: {fault}"
        for number, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        for fault in output_faults(output)
    ]


def output_faults(output: Any) -> Iterator[str]:
    """Yield what is wrong with one output."""
    if output.output_type == "error":
        yield f"{output.ename}: {output.evalue}"
    elif output.output_type == "stream" and output.name == "stderr":
        yield f"writes to standard error: {output.text.strip()}"
    text = output.get("text", output.get("data", {}).get("text/plain", ""))
    if (lines := len(text.splitlines())) > MOST_LINES:
        yield f"an output of {lines} lines, more than {MOST_LINES}"


def to_page(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Return an executed notebook as Markdown, and its pictures by their places beside it."""
    from nbconvert import MarkdownExporter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {LEFT_OUT}
    exporter = MarkdownExporter(config=config)
    text, resources = exporter.from_notebook_node(notebook, {"output_files_dir": f"{name}_files"})
    return describe_pictures(text), resources["outputs"]


def describe_pictures(text: str) -> str:
    """Return Markdown whose pictures are described by the heading that they stand under."""
    parts = HEADING.split(text)  # what is before the first heading, then headings and what follows them in turn
    for place in range(2, len(parts), 2):
        title = parts[place - 1].strip("# \n")
        parts[place] = parts[place].replace("![png](", f"![{title}](")
    return "".join(parts)


def colab_link(repository: str | None, name: str) -> str | None:
    """Return where Colab opens a notebook of a repository on GitHub; None for one elsewhere, or nowhere yet."""
    parts = urlsplit(repository or "")
    if parts.netloc != "github.com":
        return None
    place = f"{parts.path.strip('/')}/blob/main/{FOLDER.relative_to(ROOT).as_posix()}/{name}.ipynb"
    return f"https://colab.research.google.com/github/{place}"


def on_files(files: Files, config: Any) -> Files:
    """Add a page for every notebook, and its pictures."""
    for file in notebooks():
        text, pictures = to_page(executed(file), file.stem)
        files.append(File.generated(config, f"notebooks/{file.stem}.md", content=text))
        for place, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{place}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Put links to the notebook itself below a page's title."""
    place = Path(page.file.src_uri)
    if place.parent.name != "notebooks":
        return markdown
    title, _, rest = markdown.partition("\n")
    links = [f"[Download the notebook]({place.stem}.ipynb)"]
    if colab := colab_link(config.get("repo_url"), place.stem):
        links.insert(0, f"[Open in Colab]({colab}){{ .md-button .md-button--primary }}")
    return f"{title}\n\n{' '.join(links)}\n{rest}"


if __name__ == "__main__":
    for stored in notebooks():
        stored.write_text(normal_form(nbformat.read(stored, 4)))
