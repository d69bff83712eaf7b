"""Download official files: checked by md5, moved into place when complete, resumed where they stopped."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from airjax.data.dataset import DataError

MIRRORED = "cifar-10-binary.tar.gz"  # what AIRJAX_MIRROR is the address of, unless it ends in a slash
CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 14  # bytes; a broken connection loses less than this
LOG = logging.getLogger(__name__)


class Remote(NamedTuple):
    """A file on the network."""

    name: str  # of the file
    md5: str  # as it is published
    size: int  # bytes
    urls: tuple[str, ...]  # that are tried in turn


def places(remote: Remote) -> tuple[str, ...]:
    """Return the addresses of a file in the order in which they are tried, AIRJAX_MIRROR's first.

    A mirror that ends in a slash has all files by their names; any other is the address of CIFAR-10's archive.
    """
    mirror = os.environ.get("AIRJAX_MIRROR", "")
    if mirror.endswith("/"):
        return (mirror + remote.name, *remote.urls)
    return (mirror, *remote.urls) if mirror and remote.name == MIRRORED else remote.urls


def download(remote: Remote, folder: Path, title: str, remedy: str) -> Path:
    """Path of the file in folder, fetched from the first address that works, or by another process meanwhile.

    Raises DataError, naming each host and its failure, where none works; title is the data set's, in messages.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    fetch = functools.partial(resume_download, name=remote.name)
    failures = []
    with alone(folder, remote.name):
        for url in places(remote):
            try:
                return Path(pooch.retrieve(url, f"md5:{remote.md5}", remote.name, folder, downloader=fetch))  # pyright: ignore[reportArgumentType]
            # pooch reports a wrong checksum as ValueError; requests' own errors derive from OSError, some from both.
            except (OSError, ValueError) as error:
                if not isinstance(error, OSError):
                    _partial(folder / remote.name).unlink(missing_ok=True)
                LOG.debug("%s: %s", url, error)
                failures.append(f"{urlsplit(url).netloc or url}: {_reason(error)}")
    raise DataError(f"{title} is not here, and cannot be downloaded ({'; '.join(failures)}); {remedy}")


@contextlib.contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Keep other processes from downloading the file of that name: they wait, and then find it.

    Two that write one partial file would spoil it.
    """
    import fcntl

    with contextlib.ExitStack() as held:
        # Where it cannot be locked it may still be written to; if not, the download says so.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / f".{name}.lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                LOG.warning("another process is downloading %s; waiting for it", name)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reason(error: Exception) -> str:
    # In a few words; what the libraries say takes several lines, and goes to the log.
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())


def resume_download(
    url: str, output_file: str, pooch_object: Any, check_only: bool = False, *, name: str
) -> bool | None:
    """Return a pooch downloader that continues the partial file, beside the one of that name, of an earlier attempt.

    The partial file stands beside output_file, so that it outlives a kill. pooch makes output_file for this call alone,
    in the target folder, checks its md5 and renames it.
    """
    import requests
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    if check_only:
        return requests.head(url, timeout=CONNECT_TIMEOUT, allow_redirects=True).ok
    del pooch_object
    partial = _partial(Path(output_file).parent / name)
    done = partial.stat().st_size if partial.exists() else 0
    # As it is: what is unpacked on the way has another md5 sum, and ranges are of what is sent.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as response:
        if response.status_code == 416:  # nothing is left to send
            partial.replace(output_file)
            return None
        response.raise_for_status()
        if response.status_code != 206:  # the server sends everything from the start
            if 0 < int(response.headers.get("Content-Length", done)) < done:  # some page, by which nothing is replaced
                raise requests.RequestException("its answer is shorter than what is here already")
            done = 0
        total = done + int(response.headers.get("Content-Length", 0))
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, transient=True) as progress, partial.open("ab" if done else "wb") as file:
            task = progress.add_task(partial.stem, total=total or None, completed=done)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                progress.update(task, advance=len(chunk))
    partial.replace(output_file)
    return None


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
