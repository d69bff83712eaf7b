"""The page of a folder while it is written to: airjax serve DIR, in a browser on this machine."""

import argparse
import functools
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from airjax.cli.console import describe_os_error
from airjax.cli.report import ERRORS, add_folder, require_packages
from airjax.report.folders import kind_of_folder, render_folder
from airjax.report.page import HERE, fill_template
from airjax.report.survey import SurveyError
from airjax.utils.extras import MissingExtraError

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
LOOPBACK = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
PORT = 8094
EVERY = 3000  # milliseconds between two looks of a page
SCRIPT = HERE / "live.js"
WATCHED = ("runs.jsonl", "epochs.jsonl", "environments.jsonl", "plan.json", "recipe.json")

Text = Callable[[], str]


class PageServer(ThreadingHTTPServer):
    """A server of one page, which is made again when the folder has changed. It keeps nothing but the last page."""

    daemon_threads = True  # a browser that keeps a connection does not hold Ctrl-C up

    def __init__(self, port: int, stamp: Text, render: Text) -> None:
        super().__init__((LOOPBACK, port), PageHandler)
        self.stamp, self._render = stamp, render
        self._last: tuple[str, bytes] | None = None
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Return where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def page(self) -> tuple[str, bytes]:
        """Return the folder's stamp and the page as of then; threads that ask at once wait for one rendering."""
        with self._lock:
            stamp = self.stamp()
            if self._last is None or self._last[0] != stamp:
                self._last = stamp, make_live(self._render(), stamp).encode()
            return self._last

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away: it closes a tab or a connection whenever it likes."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class PageHandler(BaseHTTPRequestHandler):
    """Answers GET of the page and of its stamp; to nobody who came by another name than this machine's own."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a request."""
        server = self.server
        assert isinstance(server, PageServer)
        # A page of another site may resolve its own name to this address (DNS rebinding), but not hide that name.
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in HOSTS:
            self._answer(HTTPStatus.FORBIDDEN, b"this page is for this machine alone\n", "text/plain")
        elif self.path == "/stamp":
            self._answer(HTTPStatus.OK, server.stamp().encode(), "text/plain")
        elif self.path == "/":
            stamp, content = server.page()
            if self.headers.get("If-None-Match") == f'"{stamp}"':
                self._answer(HTTPStatus.NOT_MODIFIED, b"", "text/html", stamp)
            else:
                self._answer(HTTPStatus.OK, content, "text/html", stamp)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is one page here: /\n", "text/plain")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of requests."""

    def _answer(self, status: HTTPStatus, content: bytes, kind: str, stamp: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache" if stamp else "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if stamp:
            self.send_header("ETag", f'"{stamp}"')
        self.end_headers()
        self.wfile.write(content)


def main(arguments: list[str] | None = None, prog: str = "airjax serve") -> int:
    """Run the command line until Ctrl-C or SIGTERM. Exit codes: 0 ended, 1 port taken, 2 bad usage or input."""
    options = make_parser(prog).parse_args(arguments)
    try:
        require_packages()
        kind_of_folder(options.folder)
    except (SurveyError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        server = open_server(options.folder, options.port, options.data_dir, mixed=options.mixed)
    except OSError as error:
        print(f"error: port {options.port}: {error.strerror}; choose another --port", file=sys.stderr)
        return EXIT_FAILED
    with server:
        # Also where a shell has started this in the background, and so with Ctrl-C switched off.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        try:
            print(f"serving {options.folder} at {server.address} until Ctrl-C", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
    return EXIT_OK


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def open_server(folder: Path, port: int, data_dir: Path | None = None, *, mixed: bool = False) -> PageServer:
    """Open the server of a folder's page on the loopback address. Raises OSError where the port is taken."""
    render = functools.partial(render_or_explain, folder, data_dir, mixed=mixed)
    return PageServer(port, functools.partial(stamp_of, folder), render)


def render_or_explain(folder: Path, data_dir: Path | None, *, mixed: bool) -> str:
    """Render a folder's page, or one that says why there is none yet."""
    try:
        return render_folder(folder, data_dir, mixed=mixed).text
    except (*ERRORS, OSError) as error:
        said = describe_os_error(error) if isinstance(error, OSError) else str(error)
        values = {"title": folder.name, "verdict": "incomplete", "headline": "Nothing to show yet", "sentence": said}
        return fill_template(HERE / "layout.html", values)


def make_live(text: str, stamp: str) -> str:
    """Return a page that looks for changes, and loads itself again after one."""
    text = text.replace("<html ", f'<html data-stamp="{stamp}" data-every="{EVERY}" ', 1)
    head, end, rest = text.rpartition("</body>")
    return f"{head}<script>\n{SCRIPT.read_text()}</script>\n{end}{rest}"


def stamp_of(folder: Path) -> str:
    """Digest the sizes and times of the files that a page is made from: cheap, and another one after every line."""
    digest = hashlib.sha256()
    for file in sorted(one for one in folder.rglob("*.json*") if one.name in WATCHED):
        try:
            found = file.stat()
        except OSError:  # gone since
            continue
        digest.update(os.fsencode(file) + f" {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text} is no port: a whole number from 0 to 65535")
    return int(text)


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    description = "The page of networks, a sweep or an experiment, on this machine alone; it follows what is written."
    parser = argparse.ArgumentParser(prog, description=description)
    add_folder(parser)
    parser.add_argument("--port", type=_port, default=PORT, help=f"of the loopback address ({PORT}); 0: any free one")
    return parser
