"""Download the official CIFAR-10 archive: checked by md5, moved into place when complete, resumed where it stopped."""

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airjax.data.dataset import DataError

MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of cifar-10-binary.tar.gz, as its makers publish it
SOURCES = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
)
CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 14  # bytes; a broken connection loses less than this


def download_archive(folder: Path, sources: tuple[str, ...] | None = None, md5: str | None = None) -> Path:
    """Path of the archive in folder, fetched from the first source that works.

    AIRJAX_MIRROR is tried before the others. Raises DataError, naming each host and its failure, where none works.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    mirror = os.environ.get("AIRJAX_MIRROR")
    failures = []
    for url in ((mirror,) if mirror else ()) + (SOURCES if sources is None else sources):
        name = url.rsplit("/", 1)[-1]
        try:
            return Path(pooch.retrieve(url, f"md5:{md5 or MD5}", name, folder, downloader=resume_download))  # pyright: ignore[reportArgumentType]
        # requests' own errors derive from OSError; pooch reports a wrong checksum as ValueError.
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError):
                _partial(folder / name).unlink(missing_ok=True)
            logging.getLogger(__name__).debug("%s: %s", url, error)
            failures.append(f"{urlsplit(url).netloc or url}: {_reason(error)}")
    raise DataError(
        f"CIFAR-10 is not here, and cannot be downloaded ({'; '.join(failures)}); name its folder or archive with "
        "--data-dir or AIRJAX_DATA"
    )


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


def resume_download(url: str, output_file: str, pooch_object: Any, check_only: bool = False) -> bool | None:
    """A pooch downloader that continues the partial file of an earlier attempt.

    The partial file stands beside output_file, so that it outlives a kill. pooch makes output_file for this call alone,
    in the target folder, checks its md5 and renames it.
    """
    import requests
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    if check_only:
        return requests.head(url, timeout=CONNECT_TIMEOUT, allow_redirects=True).ok
    del pooch_object
    partial = _partial(Path(output_file).parent / url.rsplit("/", 1)[-1])
    done = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as response:
        if response.status_code == 416:  # nothing is left to send
            partial.replace(output_file)
            return None
        response.raise_for_status()
        if response.status_code != 206:  # the server sends everything from the start
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
