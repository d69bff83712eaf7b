"""CIFAR-10 from every place it can come from, and everything that can be wrong with it.

The archives here are made up: the official layout with images that are nearly all zero, and a tenth of them.
"""

import contextlib
import errno
import gzip
import hashlib
import lzma
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from data_files import Hostile, forbidden, tar_of, write_archive, write_folder, zip_of

import airjax
from airjax.data import cifar10 as module
from airjax.data import download, load_data
from airjax.data.cache import cache_folder, find_cached, load_cached
from airjax.data.cifar import PIXELS
from airjax.data.download import CHUNK, Remote
from airjax.data.unpickle import load_plain_pickle

RECORD = 1 + PIXELS
BATCH = 1000  # images in a file, where the official ones have 10,000
NAMES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]

# What these tests make up is not the official content, and said to be not.
pytestmark = pytest.mark.filterwarnings("ignore:.*has the form of CIFAR-10 but not its content:UserWarning")


def batch(number: int, size: int = BATCH) -> tuple[np.ndarray, list[int]]:
    """Planes uint8 [size,3072] and labels."""
    planes = np.zeros((size, RECORD - 1), np.uint8)
    planes[:, number] = 7  # one red pixel in the first row
    planes[:, 1024 + 33] = 200 + number  # a green one in the second
    return planes, [(number + index) % 10 for index in range(size)]


def binary_files() -> dict[str, bytes]:
    files = {}
    for number, name in enumerate(NAMES):
        planes, labels = batch(number)
        files[f"{name}.bin"] = np.concatenate([np.array(labels, np.uint8)[:, None], planes], axis=1).tobytes()
    return files


def python_files(size: int = BATCH) -> dict[str, bytes]:
    files = {}
    for number, name in enumerate(NAMES):
        planes, labels = batch(number, size)
        # Protocol 2 with byte keys, as the official files have.
        files[name] = pickle.dumps({b"data": planes, b"labels": labels, b"batch_label": b"x"}, protocol=2)
    return files


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    (root / "archives").mkdir()
    return {
        "binary folder": write_folder(root / "b" / "cifar-10-batches-bin", binary_files()),
        "python folder": write_folder(root / "p" / "cifar-10-batches-py", python_files()),
        "binary archive": write_archive(root / "binary.tar.gz", "cifar-10-batches-bin", binary_files()),
        "python archive": write_archive(root / "python.tar.gz", "cifar-10-batches-py", python_files()),
        "folder with one": root / "p",
    }


@pytest.fixture
def whole_files() -> None:
    """Files of this test are as large as the official ones."""


@pytest.fixture(autouse=True)
def _fresh_cache_and_small_files(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))
    if not {"cifar10", "whole_files"} & set(request.fixturenames):
        monkeypatch.setattr(module, "FORM", module.FORM._replace(sizes=(BATCH,) * 6))


@pytest.mark.parametrize(
    "source", ["binary folder", "python folder", "binary archive", "python archive", "folder with one"]
)
def test_every_source_gives_the_same_images(source: str, sources: dict[str, Path]) -> None:
    data = airjax.load_cifar10(sources[source])
    assert data.train_images.shape == (5000, 32, 32, 3)
    assert data.train_labels[[0, 1, 1000]].tolist() == [0, 1, 1]
    assert data.train_images[2000, 0, 2].tolist() == [7, 0, 0]
    assert data.train_images[2000, 1, 1].tolist() == [0, 202, 0]
    assert data.test_images[0, 1, 1, 1] == 205
    assert data.fingerprint == airjax.load_cifar10(sources["binary folder"]).fingerprint


def test_environment_variable_names_the_place(sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_DATA", str(sources["binary archive"]))
    assert airjax.load_cifar10().name == "custom"


@pytest.mark.usefixtures("whole_files")
def test_the_second_load_comes_from_the_cache_in_under_two_seconds(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "python.tar.gz", "cifar-10-batches-py", python_files(10_000))
    assert airjax.load_cifar10(archive).train_images.shape == (50_000, 32, 32, 3)
    began = time.process_time()
    airjax.load_cifar10(archive)
    # Processor time, so that other tests beside this one do not count.
    assert time.process_time() - began < 2


def test_a_source_whose_bytes_change_is_read_again_though_size_and_time_stay(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "changing", binary_files())
    before, file = airjax.load_cifar10(folder).fingerprint, folder / "test_batch.bin"
    status, content = file.stat(), bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert airjax.load_cifar10(folder).fingerprint != before


def test_a_damaged_cache_is_noticed_and_replaced(sources: dict[str, Path]) -> None:
    expected = airjax.load_cifar10(sources["binary folder"]).fingerprint
    [cached] = cache_folder().glob("*.safetensors")
    content = bytearray(cached.read_bytes())
    content[-1000] ^= 1
    cached.write_bytes(content)
    with pytest.warns(UserWarning, match="cached data set is damaged"):
        assert airjax.load_cifar10(sources["binary folder"]).fingerprint == expected
    cached.write_bytes(content[:1000])
    with pytest.warns(UserWarning, match="cached data set is damaged"):
        airjax.load_cifar10(sources["binary folder"])


def test_an_unwritable_cache_costs_a_warning_only(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="cannot write the cache"):
        assert airjax.load_cifar10(sources["binary folder"]).name == "custom"


def test_a_cache_that_may_not_be_read_costs_a_warning_only(
    sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = airjax.load_cifar10(sources["binary folder"])
    [cached] = cache_folder().glob("*.safetensors")
    assert find_cached(dataset.fingerprint) is not None
    with forbidden(cached.parent):
        with pytest.warns(UserWarning, match=r"cannot read the cache \(Permission denied\); reading the source again"):
            assert load_cached(cached) is None
        assert find_cached(dataset.fingerprint) is None
    # A damaged one that cannot be removed either is read again from its source.
    cached.write_bytes(b"damaged")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.warns(UserWarning, match="cached data set is damaged"):
            assert load_cached(cached) is None


def test_a_missing_place_says_where_to_put_the_files(tmp_path: Path) -> None:
    with pytest.raises(airjax.DataError, match=r"nowhere does not exist. Put cifar-10-binary.tar.gz or"):
        airjax.load_cifar10(tmp_path / "nowhere")
    with pytest.raises(airjax.DataError, match="holds no CIFAR-10"):
        airjax.load_cifar10(tmp_path)
    with pytest.raises(airjax.DataError, match="is not in the cache"):
        airjax.load_cifar10(download=False)


def test_a_named_place_is_never_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(airjax.DataError, match="does not exist"):
        load_data("auto", tmp_path / "nowhere")
    monkeypatch.setenv("AIRJAX_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(airjax.DataError, match="does not exist"):
        load_data("auto")


def test_an_incomplete_or_short_folder_is_refused(tmp_path: Path) -> None:
    files = binary_files()
    folder = write_folder(tmp_path / "short", files | {"data_batch_4.bin": files["data_batch_4.bin"][:-1]})
    with pytest.raises(airjax.DataError, match=r"data_batch_4.bin has 3072999 bytes, but 3073000 are expected"):
        airjax.load_cifar10(folder)
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(airjax.DataError, match=r"data_batch_4.bin is missing. The folder is incomplete"):
        airjax.load_cifar10(folder)


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    files = binary_files()
    files["test_batch.bin"] = b"\x0a" + files["test_batch.bin"][1:]
    with pytest.raises(airjax.DataError, match=r"test labels must lie in \[0, 10\)"):
        airjax.load_cifar10(write_folder(tmp_path / "labels", files))


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_archive_is_refused(sources: dict[str, Path], tmp_path: Path, kept: float) -> None:
    content = sources["binary archive"].read_bytes()
    file = tmp_path / "cut.tar.gz"
    file.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(airjax.DataError, match="truncated or damaged archive"):
        airjax.load_cifar10(file)


def test_a_corrupted_archive_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(sources["binary archive"].read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "bad.tar.gz").write_bytes(content)
    with pytest.raises(airjax.DataError, match="truncated or damaged archive"):
        airjax.load_cifar10(tmp_path / "bad.tar.gz")


def test_a_sparse_member_takes_no_more_memory_than_any_other(tmp_path: Path) -> None:
    member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")  # of 1 PiB, in an archive of 10 KiB
    member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 50)}
    with tarfile.open(tmp_path / "sparse.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    with pytest.raises(airjax.DataError, match=r"sparse.tar unpacks to more than 1 GiB, so it is not CIFAR-10$"):
        airjax.load_cifar10(tmp_path / "sparse.tar")


def test_a_zip_whose_names_are_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "names.zip"
    file.write_bytes(zip_of({"\u00e9": b"content"}).replace("\u00e9".encode(), b"\xff\xff"))
    with pytest.raises(airjax.DataError, match=r"names.zip: truncated or damaged archive"):
        airjax.load_cifar10(file)


def test_another_archive_is_refused(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "other.tar.gz", "other", {"readme": b"hello"})
    with pytest.raises(airjax.DataError, match="has no data_batch_1, so it is not a CIFAR-10 archive"):
        airjax.load_cifar10(file)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("cifar-10-binary.tar", tar_of),
        ("cifar-10-binary.tgz", lambda members: gzip.compress(tar_of(members), 1)),
        ("any.tar.xz", lambda members: lzma.compress(tar_of(members), preset=0)),
        ("cifar-10-binary.zip", zip_of),
    ],
)
def test_other_kinds_of_archive_are_read(
    name: str, pack: Callable[[dict[str, bytes]], bytes], sources: dict[str, Path], tmp_path: Path
) -> None:
    members = {f"cifar-10-batches-bin/{file}": content for file, content in binary_files().items()}
    # What a Mac adds, what another folder has, and what is no data.
    members["__MACOSX/cifar-10-batches-bin/data_batch_1.bin"] = b"\0" * 10
    members["__MACOSX/cifar-10-batches-bin/._data_batch_1.bin"] = b"\0" * 10
    members["cifar-10-batches-bin/old/data_batch_1.bin"] = b"\0" * 10
    members["cifar-10-batches-bin/readme.html"] = b"hello"
    (tmp_path / name).write_bytes(pack(members))
    expected = airjax.load_cifar10(sources["binary folder"]).fingerprint
    assert airjax.load_cifar10(tmp_path / name).fingerprint == expected
    if name.startswith("cifar"):
        assert airjax.load_cifar10(tmp_path).fingerprint == expected


def test_of_two_levels_of_one_folder_the_complete_one_counts(sources: dict[str, Path], tmp_path: Path) -> None:
    expected = airjax.load_cifar10(sources["binary folder"]).fingerprint
    inner = write_folder(tmp_path / "cifar-10-batches-bin" / "cifar-10-batches-bin", binary_files())
    assert airjax.load_cifar10(tmp_path).fingerprint == expected
    assert airjax.load_cifar10(inner.parent).fingerprint == expected


@pytest.mark.parametrize("stray", ["my_batch_notes.txt", "data_batch_7", "test_batch", "data_batch_1.bin"])
def test_other_files_beside_an_intact_folder_hide_nothing(stray: str, sources: dict[str, Path], tmp_path: Path) -> None:
    write_folder(tmp_path / "cifar-10-batches-py", python_files())
    (tmp_path / stray).write_bytes(b"something else")
    assert airjax.load_cifar10(tmp_path).fingerprint == airjax.load_cifar10(sources["binary folder"]).fingerprint


def test_files_of_another_kind_are_called_what_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "cifar10.npz", x_train=np.zeros(3), y_train=np.zeros(3))
    with pytest.raises(airjax.DataError, match=r"cifar10.npz is an .npz of arrays \(x_train.npy, y_train.npy\)"):
        airjax.load_cifar10(tmp_path / "cifar10.npz")
    (tmp_path / "page.html").write_text("<html>not found</html>")
    with pytest.raises(airjax.DataError, match=r"page.html: truncated or damaged archive, or not one of .*\.zip"):
        airjax.load_cifar10(tmp_path / "page.html")
    files = binary_files()
    del files["data_batch_3.bin"]
    (tmp_path / "part.tar").write_bytes(tar_of(files))
    with pytest.raises(airjax.DataError, match=r"part.tar: has no data_batch_3.bin; the archive is incomplete"):
        airjax.load_cifar10(tmp_path / "part.tar")


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path: Path) -> None:
    planes, labels = batch(0)
    for wrong, said in (
        (3.7, "labels are float64, such as 3.7; need whole numbers"),
        (2**32 + 3, "labels must be whole numbers from 0 to 9, but one is 4294967299"),  # 3, cut to 32 bits
    ):
        content = pickle.dumps({b"data": planes, b"labels": [wrong, *labels[1:]]}, protocol=2)
        folder = write_folder(tmp_path / str(wrong), python_files() | {"data_batch_1": content})
        with pytest.raises(airjax.DataError, match=f"data_batch_1: {said}"):
            airjax.load_cifar10(folder)


def official_files(data: airjax.Dataset) -> dict[str, bytes]:
    """The official files in the binary layout, whichever form the data came in."""
    images = np.concatenate([data.train_images, data.test_images]).transpose(0, 3, 1, 2).reshape(-1, RECORD - 1)
    labels = np.concatenate([data.train_labels, data.test_labels]).astype(np.uint8)[:, None]
    records = np.concatenate([labels, images], axis=1).reshape(len(NAMES), -1)
    return {f"{name}.bin": rows.tobytes() for name, rows in zip(NAMES, records, strict=True)}


def test_the_official_content_is_known(cifar10: airjax.Dataset) -> None:
    assert (cifar10.name, cifar10.content) == ("cifar10", "official")
    assert cifar10.train_labels[:3].tolist() == [6, 9, 9]
    assert cifar10.subset(np.arange(100)).content == "unknown"
    wide = replace(cifar10, train_labels=cifar10.train_labels.astype(np.int64))
    assert wide.content == "official"
    exchanged = replace(
        cifar10,
        train_images=np.concatenate([cifar10.test_images[:1], cifar10.train_images[1:]]),
        train_labels=np.concatenate([cifar10.test_labels[:1], cifar10.train_labels[1:]]),
        test_images=np.concatenate([cifar10.train_images[:1], cifar10.test_images[1:]]),
        test_labels=np.concatenate([cifar10.train_labels[:1], cifar10.test_labels[1:]]),
    )
    assert exchanged.content == "unknown"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_batch_3": lambda files: bytes(len(files["data_batch_3.bin"]))}, "data_batch_3 is not the official one"),
        (
            {"data_batch_5": lambda files: files["data_batch_5.bin"][: RECORD * 5000] + bytes(RECORD * 5000)},
            "data_batch_5 is not the official one",
        ),
        ({"data_batch_2": lambda files: files["data_batch_1.bin"]}, "data_batch_2 is the official data_batch_1"),
        ({"test_batch": lambda files: files["data_batch_4.bin"]}, "test_batch is the official data_batch_4"),
    ],
    ids=["a batch of zeros", "half a batch of zeros", "one batch twice", "a training batch as the test set"],
)
def test_wrong_content_of_the_right_size_is_data_of_ones_own(
    changes: dict[str, Callable[[dict[str, bytes]], bytes]], said: str, cifar10: airjax.Dataset, tmp_path: Path
) -> None:
    files = official_files(cifar10)
    changed = {f"{name}.bin": make(files) for name, make in changes.items()}
    folder = write_folder(tmp_path / "changed", files | changed)
    with pytest.warns(UserWarning, match=said):
        data = airjax.load_cifar10(folder)
    assert (data.name, data.content) == ("custom", "unknown")


def test_a_shuffled_copy_is_said_to_be_one(cifar10: airjax.Dataset, tmp_path: Path) -> None:
    files = official_files(cifar10)
    swapped = files | {"data_batch_1.bin": files["data_batch_2.bin"], "data_batch_2.bin": files["data_batch_1.bin"]}
    folder = write_folder(tmp_path / "shuffled", swapped)
    with pytest.warns(UserWarning, match="holds CIFAR-10's images in another order than the official one"):
        data = airjax.load_cifar10(folder)
    assert (data.name, data.content) == ("cifar10", "shuffled")


def test_a_tar_whose_members_lead_back_ends(tmp_path: Path) -> None:
    # Of three members the last one has the size -1536: behind it is the second again.
    with tarfile.open(tmp_path / "back.tar", "w") as archive:
        for name in ("a", "b", "c"):
            archive.addfile(tarfile.TarInfo(name))
    content = bytearray((tmp_path / "back.tar").read_bytes())
    header = content[1024:1536]
    header[124:136] = b"\xff" * 8 + (-1024).to_bytes(4, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}".encode() + b"\0 "
    content[1024:1536] = header
    (tmp_path / "back.tar").write_bytes(content)
    with pytest.raises(airjax.DataError, match=r"truncated or damaged archive.* leads back"):
        airjax.load_cifar10(tmp_path / "back.tar")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
def test_a_user_without_a_home_has_a_cache_of_its_own() -> None:
    # The user is changed once Python and airjax are loaded, which may lie in a home that nobody else can read.
    load = "import os, sys; from airjax.data.cache import cache_folder"
    script = f"{load}; os.setuid(int(sys.argv[1])); print(cache_folder())"

    def run(user: int, folder: str) -> str:
        environment = {"PATH": os.environ["PATH"], "TMPDIR": folder}
        command = [sys.executable, "-W", "error", "-c", script, str(user)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        assert run(54_321, folder) == f"{folder}/airjax-54321"
        # What somebody else has put there is not used.
        (Path(folder) / "airjax-54322").mkdir(mode=0o777)
        found = run(54_322, folder)
        assert found.startswith(f"{folder}/airjax-")
        assert found != f"{folder}/airjax-54322"


def test_a_hostile_pickle_is_never_executed(tmp_path: Path) -> None:
    created = tmp_path / "created"
    content = pickle.dumps({b"data": Hostile(created), b"labels": []}, protocol=2)
    with pytest.raises(airjax.DataError, match=r"refused, not a plain CIFAR-10 batch: it wants to call posix.system"):
        load_plain_pickle(content, "data_batch_1", "CIFAR-10 batch")
    assert not created.exists()
    pickle.loads(content)
    assert created.exists(), "the pickle of this test is not hostile at all"


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({b"data": [1]})])
def test_a_damaged_or_odd_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path / "odd", dict.fromkeys(NAMES, content))
    with pytest.raises(airjax.DataError, match=r"refused, not a plain|not a CIFAR-10 batch"):
        airjax.load_cifar10(folder)


DOWNLOAD = """
import sys
from pathlib import Path
from airjax.data.download import Remote, download
remote = Remote("cifar-10-binary.tar.gz", sys.argv[3], 0, (sys.argv[2],))
download(remote, Path(sys.argv[1]), "CIFAR-10", "put it there")
"""


class Server:
    """Serves one file on the loopback address, with ranges, counting bytes; may stop early or send garbage."""

    def __init__(self, content: bytes) -> None:
        self.content, self.ranges, self.stop_after, self.pause = content, [], None, 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                start = int(wanted.split("=")[1].rstrip("-")) if wanted else 0
                outer.ranges.append(start)
                part = outer.content[start:]
                if not part:
                    self.send_response(416)
                    self.end_headers()
                    return
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                part = part if outer.stop_after is None else part[: outer.stop_after]
                for position in range(0, len(part), 4096):
                    self.wfile.write(part[position : position + 4096])
                    time.sleep(outer.pause)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/cifar-10-binary.tar.gz"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(sources: dict[str, Path]) -> Iterator[Server]:
    serving = Server(sources["binary archive"].read_bytes())
    yield serving
    serving.server.shutdown()
    serving.server.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def download_archive(folder: Path, urls: tuple[str, ...], checksum: str) -> Path:
    return download.download(Remote("cifar-10-binary.tar.gz", checksum, 0, urls), folder, "CIFAR-10", "put it there")


def visible(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def test_a_download_is_checked_cached_and_not_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMOTE", module.REMOTE._replace(md5=md5(server.content)))
    monkeypatch.setenv("AIRJAX_MIRROR", server.url)
    assert airjax.load_cifar10().train_images.shape == (5000, 32, 32, 3)
    assert server.ranges == [0]
    airjax.load_cifar10()
    assert server.ranges == [0]


def test_a_wrong_md5_is_refused_naming_both(server: Server, tmp_path: Path) -> None:
    with pytest.raises(airjax.DataError) as raised:
        download_archive(tmp_path, (server.url,), "0" * 32)
    assert "0" * 32 in str(raised.value)
    assert md5(server.content) in str(raised.value)
    assert visible(tmp_path) == []


def test_the_next_source_is_tried(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = download_archive(tmp_path, ("http://127.0.0.1:1/none.tar.gz", server.url), md5(server.content))
    assert file.read_bytes() == server.content
    monkeypatch.setenv("AIRJAX_MIRROR", server.url)
    other = download_archive(tmp_path / "mirror", (), md5(server.content))
    assert other.read_bytes() == server.content


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.stop_after = 2 * CHUNK
    assert len(server.content) > 3 * CHUNK
    with pytest.raises(airjax.DataError, match="cannot be downloaded"):
        download_archive(tmp_path, (server.url,), md5(server.content))
    assert visible(tmp_path) == ["cifar-10-binary.tar.gz.partial"]
    partial = tmp_path / "cifar-10-binary.tar.gz.partial"
    done = partial.stat().st_size
    assert CHUNK < done <= 2 * CHUNK
    server.stop_after = None
    assert download_archive(tmp_path, (server.url,), md5(server.content)).read_bytes() == server.content
    assert server.ranges == [0, done]
    assert visible(tmp_path) == ["cifar-10-binary.tar.gz"]


def test_a_killed_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.pause = 0.05
    command = [sys.executable, "-c", DOWNLOAD, str(tmp_path), server.url, md5(server.content)]
    partial = tmp_path / "cifar-10-binary.tar.gz.partial"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as downloading:
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        downloading.kill()
    assert not (tmp_path / "cifar-10-binary.tar.gz").exists()
    done, server.pause = partial.stat().st_size, 0.0
    assert 0 < done < len(server.content)
    assert download_archive(tmp_path, (server.url,), md5(server.content)).read_bytes() == server.content
    assert server.ranges == [0, done]


def test_a_file_that_another_process_is_downloading_is_waited_for(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DOWNLOAD, str(tmp_path), server.url, md5(server.content)]
    name = "cifar-10-binary.tar.gz"
    with contextlib.ExitStack() as held:
        held.enter_context(download.alone(tmp_path, name))
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == f"another process is downloading {name}; waiting for it\n"
        (tmp_path / name).write_bytes(server.content)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.2)
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert server.ranges == []


def test_an_address_that_is_none_loses_nothing_of_what_is_there(server: Server, tmp_path: Path) -> None:
    partial = tmp_path / "cifar-10-binary.tar.gz.partial"
    partial.write_bytes(server.content[:1000])
    file = download_archive(tmp_path, ("mirror.example/none", server.url), md5(server.content))
    assert file.read_bytes() == server.content
    assert server.ranges == [1000]


@pytest.mark.usefixtures("no_network")
def test_without_a_network_auto_falls_back_loudly_and_cifar10_fails_clearly(small_builtin: airjax.Dataset) -> None:
    reason = (
        r"CIFAR-10 is not here, and cannot be downloaded \(www\.cs\.toronto\.edu: no connection; "
        r"mindspore-[a-z0-9.-]+: no connection\); name its folder or archive"
    )
    with pytest.warns(
        UserWarning, match=f"^{reason} with --data-dir or AIRJAX_DATA. Using the synthetic dataset instead"
    ):
        assert load_data("auto") is small_builtin
    with pytest.raises(airjax.DataError, match=f"^{reason} with --data-dir or AIRJAX_DATA$"):
        load_data("cifar10")


def test_arrays_that_do_not_fit_are_refused(toy: airjax.Dataset) -> None:
    parts = toy.train_images, toy.train_labels, toy.test_images, toy.test_labels
    with pytest.raises(airjax.DataError, match="train images are float64"):
        airjax.Dataset("x", parts[0].astype(float), *parts[1:])
    with pytest.raises(airjax.DataError, match="test labels are"):
        airjax.Dataset("x", *parts[:3], parts[3][:-1])
    with pytest.raises(airjax.DataError, match="train labels are float64"):
        airjax.Dataset("x", parts[0], parts[1] + 0.7, *parts[2:])
    for classes in (("a",) * 10, None, (["a"],) * 10, "abcdefghij"):
        with pytest.raises(airjax.DataError, match="must be different names"):
            airjax.Dataset("x", *parts, classes=classes)  # pyright: ignore[reportArgumentType]


def test_a_data_set_is_shown_in_one_line(toy: airjax.Dataset) -> None:
    line = f"Dataset(synthetic: 300 training and 100 test images, 10 classes, unknown content, {toy.fingerprint[:12]})"
    assert repr(toy) == line


def test_a_data_set_with_other_classes_than_the_recipe_s_is_refused_before_training(toy: airjax.Dataset) -> None:
    twelve, tiny = replace(toy, classes=tuple("abcdefghijkl")), airjax.RECIPES["tiny"]
    members = airjax.make_members(tiny, airjax.seed_keys([0]))  # for this recipe; keys alone would be fitted
    with pytest.raises(ValueError, match="synthetic has 12 classes, but the network has 10 outputs"):
        airjax.run_many(tiny, members, twelve)
    assert airjax.fit_recipe(tiny, twelve).inputs.num_classes == 12


def test_real_cifar10_has_its_known_means(cifar10: airjax.Dataset) -> None:
    means = [cifar10.train_images[..., channel].mean() / 255 for channel in range(3)]
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert np.bincount(cifar10.train_labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test_labels).tolist() == [1000] * 10
