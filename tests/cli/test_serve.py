"""The server of a folder's page: for this machine alone, and only as long as it is asked for."""

import http.client
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airjax.cli.serve import PageServer, main, make_live, open_server, render_or_explain, stamp_of
from airjax.utils.records import append_line

pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "recipe.json").write_text("{}")
    with open_server(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: PageServer, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=named)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), dict(answer.getheaders())
    connection.close()
    return found


def test_it_listens_on_the_loopback_address_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(("host", "status"), [("localhost:8", 200), ("127.0.0.1", 200), ("evil.example", 403)])
def test_other_names_are_refused(server: PageServer, host: str, status: int) -> None:
    assert ask(server, "/stamp", Host=host)[0] == status


def test_a_folder_whose_name_is_no_text_is_served(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"ws\xff")
    folder.mkdir()
    (folder / "recipe.json").write_text("{}")
    assert len(stamp_of(folder)) == 16
    assert "ws\\udcff" in render_or_explain(folder, None, mixed=False).encode().decode()


def test_a_name_that_is_too_long_is_no_fault_of_the_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["x" * 300]) == 2
    assert "xxx cannot be read: File name too long" in capsys.readouterr().err


def test_a_page_is_sent_again_only_after_a_change(server: PageServer, tmp_path: Path) -> None:
    status, text, headers = ask(server)
    assert (status, "Nothing to show yet" in text) == (200, True)  # recipe.json is damaged, and the page says so
    assert f'data-stamp="{stamp_of(tmp_path)}"' in text
    assert ask(server, If_None_Match=headers["ETag"])[:2] == (304, "")
    append_line(tmp_path / "epochs.jsonl", {"epoch": 1})
    assert ask(server, "/stamp")[1] == stamp_of(tmp_path) != headers["ETag"].strip('"')
    assert ask(server, If_None_Match=headers["ETag"])[0] == 200


def test_a_browser_that_goes_away_is_no_error(server: PageServer, capsys: pytest.CaptureFixture[str]) -> None:
    for sent in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /stamp HT"):
        client = socket.create_connection(server.server_address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing it is a reset
        client.sendall(sent)
        ask(server)  # by then the first one is being answered
        client.close()
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        time.sleep(0.01)
    assert capsys.readouterr().err == ""


def test_other_errors_of_an_answer_are_said(
    server: PageServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(server, "stamp", fail)
    with pytest.raises(ConnectionError):
        ask(server, "/stamp")
    assert "ValueError: a fault of ours" in capsys.readouterr().err


def test_there_is_one_page(server: PageServer) -> None:
    assert ask(server, "/recipe.json")[0] == 404
    assert ask(server, "/../recipe.json")[0] == 404


def test_a_live_page_asks_for_changes() -> None:
    text = make_live("<html lang='en'><body>x </body> y</body></html>", "abc")
    assert text.startswith('<html data-stamp="abc" data-every="3000" lang=')
    assert text.index("</body> y<script>") < text.index('fetch("/stamp"')


def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "is not the folder of a sweep, nor of a training" in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    command = [sys.executable, "-m", "airjax", "serve", str(tmp_path), "--port", "0"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        (address,) = re.findall(r"http://(127.0.0.1:\d+)/", process.stdout.readline())
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request("GET", "/stamp")
        assert connection.getresponse().status == 200  # so that it serves when it is interrupted
        connection.close()
        process.send_signal(signal.SIGINT)
        try:
            output, error = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, output, error) == (0, "stopped\n", "")
