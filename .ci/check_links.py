"""Check every link of a built site that stays on it; exit with 1 where one leads nowhere: check_links.py build/site."""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the places in it that others may lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag leads to and what it is called."""
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            elif value is not None and (name == "src" or (name == "href" and tag in ("a", "link"))):
                self.links.append(value)


def broken_links(site: Path) -> Iterator[str]:
    """Yield every link that leads to no file, or to no place in its page, with the page that has it."""
    pages = {file: Page(file.read_text()) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or file == site / "404.html":  # whose links are absolute
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].places):
                yield f"{file.relative_to(site)}: {link}"


if __name__ == "__main__":
    found = list(broken_links(Path(sys.argv[1]).resolve()))
    print("\n".join([*found, f"{len(found)} broken links"]))
    sys.exit(bool(found))
