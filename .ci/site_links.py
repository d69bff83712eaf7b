"""Hooks of mkdocs: pages from outside of docs/, and links to files of the repository, which the site then holds, too.

On GitHub the same links lead to the files themselves. A link to nothing is an error of `mkdocs build --strict`.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Of the repository, and where they stand on the site; an experiment's README.md is a page of its own.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/results/README.md": "measurements.md",
    "experiments/README.md": "paper/index.md",
}
LINK = re.compile(r"(?<=\]\()([^)\s#]*)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
SECTION = re.compile(r"^(?:##|:::) ", re.MULTILINE)  # without any, a page needs no table of contents
COMMENT = re.compile(r"^<!--.*-->$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z]+:")  # https:, mailto:
SHOWN = {".py": "python", ".toml": "toml", ".sh": "bash", ".md": "markdown"}  # as a page; the rest as it is


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside of docs/, and every file that a page links to."""
    for source, place in site_pages().items():
        if not source.startswith("docs/"):
            files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for source in site_pages():
        for target, _ in LINK.findall(FENCE.sub("", (ROOT / source).read_text())):
            path = repository_path(source, target)
            if path is None or path in site_pages() or files.get_file_from_path(site_place(path)):
                continue
            files.append(linked_file(config, source, path))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn a page's links into those of the site, and set comments apart from the tables that follow them."""
    source = next((path for path, place in site_pages().items() if place == page.file.src_uri), None)
    if source is None:
        return markdown
    folder = Path(page.file.src_uri).parent
    page.meta["hide"] = ["navigation"] * page.is_homepage + ["toc"] * (SECTION.search(markdown) is None)

    def to_site(match: re.Match[str]) -> str:
        path = repository_path(source, match[1])
        if path is None:
            return match[0]
        return os.path.relpath(site_pages().get(path, site_place(path)), folder) + (match[2] or "")

    parts = re.split(f"({FENCE.pattern})", markdown, flags=FENCE.flags)
    parts[::2] = [COMMENT.sub(r"\n\g<0>\n", LINK.sub(to_site, text)) for text in parts[::2]]
    return "".join(parts)


def site_pages() -> dict[str, str]:
    """Return where every page stands on the site, by its place in the repository."""
    docs = {f"docs/{path.relative_to(ROOT / 'docs').as_posix()}": path for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {
        f"docs/notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in (ROOT / "docs/notebooks").glob("*.ipynb")
    }
    readmes = sorted((ROOT / "experiments").glob("*/README.md"))
    return (
        PAGES
        | {name: name.removeprefix("docs/") for name in docs}
        | notebooks
        | {path.relative_to(ROOT).as_posix(): f"paper/{path.parent.name}.md" for path in readmes}
    )


def repository_path(source: str, target: str) -> str | None:
    """Return what a link of a page leads to, as a path in the repository; None for another host or the page itself."""
    if not target or ELSEWHERE.match(target):
        return None
    path = os.path.normpath(Path(source).parent / unquote(target))
    readme = f"{path}/README.md"
    return readme if readme in site_pages() else path


def site_place(path: str) -> str:
    """Return where a file that is no page stands on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}.md" if (ROOT / path).is_dir() or Path(path).suffix in SHOWN else f"source/{path}"


def linked_file(config: Any, source: str, path: str) -> File:
    """Return a file of the repository, or the list of a folder, for the site. Raises PluginError if there is none."""
    file, place = ROOT / path, site_place(path)
    if file.is_dir():
        names = sorted(child.name for child in file.iterdir() if not child.name.startswith((".", "__")))
        return File.generated(config, place, content=f"# {path}/\n\n" + "".join(f"- `{name}`\n" for name in names))
    if not file.is_file():
        raise PluginError(f"{source} links to {path}, which is not there")
    if file.suffix not in SHOWN:
        return File.generated(config, place, abs_src_path=str(file))
    return File.generated(config, place, content=f"# {path}\n\n````{SHOWN[file.suffix]}\n{file.read_text()}````\n")
