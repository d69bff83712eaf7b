"""What the package index shows: README.md with links that lead somewhere from any page, and links beside it.

A build knows its repository and commit where GitHub's workflows run it, or from REPOSITORY_URL. Elsewhere links into
the repository become their text, and pictures are left out.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
PAPER = "https://arxiv.org/abs/2404.00498"
ELSEWHERE = re.compile(r"[a-z]+:|#")


class ReadmeHook(MetadataHookInterface):
    """Sets the project's readme and its links."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme and the links of a project's metadata."""
        text = (Path(self.root) / "README.md").read_text()
        address, commit = repository()
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute_links(text, address, commit)}
        metadata["urls"] = {"Paper": PAPER} | project_links(address)


def project_links(address: str | None) -> dict[str, str]:
    """Return the links to a repository of GitHub's form; none where its address is unknown."""
    if address is None:
        return {}
    return {
        "Source": address,
        "Documentation": f"{address}/tree/main/docs",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
    }


def repository() -> tuple[str | None, str]:
    """Return the address of the repository, None where it is unknown, and the commit or branch that is built."""
    named, owned = os.environ.get("REPOSITORY_URL"), os.environ.get("GITHUB_REPOSITORY")
    host = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    return named or (f"{host}/{owned}" if owned else None), os.environ.get("GITHUB_SHA", "main")


def absolute_links(text: str, address: str | None, commit: str) -> str:
    """Return Markdown whose relative links lead into a repository of GitHub's form at a commit."""

    def absolute(match: re.Match[str]) -> str:
        if ELSEWHERE.match(match["target"]):
            return match[0]
        if address is None:
            return "" if match["picture"] else match["text"]
        kind = "raw" if match["picture"] else "blob"
        return f"{match['picture']}[{match['text']}]({address}/{kind}/{commit}/{match['target']})"

    return LINK.sub(absolute, text)
