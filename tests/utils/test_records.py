import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airjax.utils.records import append_line, dump_json, lock_folder, read_lines, write_atomically, write_json


def test_a_log_torn_at_any_byte_keeps_its_whole_lines_and_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    records = [{"seed": seed, "accuracy": 0.94} for seed in range(3)]
    for record in records:
        append_line(whole, record)
    content = whole.read_bytes()
    for length in range(len(content) + 1):
        torn = tmp_path / "torn.jsonl"
        torn.write_bytes(content[:length])
        append_line(torn, {"seed": 99})
        found = read_lines(torn)
        complete = content[:length].count(b"\n")
        # A line without its newline may still be whole.
        assert found[:complete] == records[:complete]
        assert found[-1] == {"seed": 99}
        assert len(found) <= complete + 2


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none.jsonl") == []


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "recipe.json"
    write_json(file, {"old": True})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, b"new")
    assert json.loads(file.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [file]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "usual").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_no_number_is_written_that_json_does_not_have(tmp_path: Path) -> None:
    value = {"loss": [math.nan, math.inf, -math.inf, 0.5], "nested": ({"sd": math.nan},)}
    expected = {"loss": [None, None, None, 0.5], "nested": [{"sd": None}]}
    write_json(tmp_path / "whole.json", value)
    append_line(tmp_path / "log.jsonl", value)
    assert dump_json(value) == '{"loss": [null, null, null, 0.5], "nested": [{"sd": null}]}'
    assert json.loads((tmp_path / "whole.json").read_text()) == expected
    assert read_lines(tmp_path / "log.jsonl") == [expected]


def test_a_locked_folder_is_one_processs_until_the_lock_is_closed_or_its_process_dies(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    script = "import sys, pathlib; from airjax.utils import records; _ = records.lock_folder(pathlib.Path(sys.argv[1]))"
    other = [sys.executable, "-c", script, str(folder)]
    with lock_folder(folder):
        assert "BlockingIOError" in subprocess.run(other, capture_output=True, text=True, check=False).stderr
    subprocess.run(other, check=True)  # and it ends without closing its lock
    lock_folder(folder).close()


def test_a_write_that_fails_names_the_file(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from airjax.utils.records import append_line, write_json\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "for write, name in ((append_line, 'log.jsonl'), (write_json, 'whole.json')):\n"
        "    try:\n"
        "        write(Path(sys.argv[1]) / name, {'text': 200 * 'x'})\n"
        "    except OSError as error:\n"
        "        print(error.strerror, error.filename)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    expected = [f"File too large {tmp_path / name}" for name in ("log.jsonl", "whole.json")]
    assert done.stdout.splitlines() == expected


def test_a_missing_folder_a_folder_and_a_full_device_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"No such folder: '{tmp_path / 'none'}'"):
        write_atomically(tmp_path / "none" / "file", b"x")
    with pytest.raises(IsADirectoryError, match=f"Is a directory: '{tmp_path}'"):
        write_atomically(tmp_path, b"x")
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            write_atomically(Path("/dev/full"), b"x")
        assert Path("/dev/full").is_char_device()


def test_writing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "link", content)
        assert (tmp_path / "target").read_bytes() == content
    assert (tmp_path / "link").is_symlink()
