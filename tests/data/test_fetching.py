"""Downloads, from a server on this machine: checksums, what is left behind, and what the user is told."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import os
import pickle
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from diffusion_lab.data import fetch, fetching, load
from diffusion_lab.errors import DataError


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on the loopback interface and keeps the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.folder, self.asked = folder, []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        self.server.asked.append(self.path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    with Server(tmp_path / "served") as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def glove(server: Server, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """GloVe's download, from the server here."""
    content = os.urandom(300_000)
    (server.folder / "glove.gz").write_bytes(content)
    monkeypatch.setattr(fetching, "GLOVE", (f"{server.address}/glove.gz", f"md5:{md5(content)}"))
    return content


def test_a_download_is_checked_kept_and_not_repeated(
    server: Server, glove: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    for _ in range(2):
        path = fetch("text", tmp_path / "root")
        assert path == tmp_path / "root" / "glove-twitter-25.gz" and path.read_bytes() == glove
    assert server.asked == ["/glove.gz"]
    assert capfd.readouterr().err == ""


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, glove: bytes, tmp_path: Path):
    (server.folder / "glove.gz").write_bytes(glove[:-1] + b"!")
    with pytest.raises(DataError, match=r"glove-twitter-25\.gz could not be downloaded.*checksum md5:"):
        fetch("text", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_file_that_went_bad_is_downloaded_again(server: Server, glove: bytes, tmp_path: Path):
    (tmp_path / "glove-twitter-25.gz").write_bytes(b"half of it")
    assert fetch("text", tmp_path).read_bytes() == glove


def test_a_server_that_has_it_not_or_does_not_answer(server: Server, glove: bytes, tmp_path: Path):
    (server.folder / "glove.gz").unlink()
    with pytest.raises(DataError, match=r"glove-twitter-25\.gz could not be downloaded: .*404"):
        fetch("text", tmp_path / "root")
    server.server_close()
    with pytest.raises(DataError, match=r"could not be downloaded"):
        fetch("text", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_mnist_from_the_second_mirror(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    MNIST = pytest.importorskip("torchvision.datasets").MNIST
    resources = []
    for name, _ in MNIST.resources:
        content = gzip.compress(name.encode())
        (server.folder / name).write_bytes(content)
        resources.append((name, md5(content)))
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(MNIST, "mirrors", [f"{server.address}/absent/", f"{server.address}/"])
    raw = fetch("mnist", tmp_path / "root")
    assert sorted(file.name for file in raw.iterdir()) == sorted(name for name, _ in resources)
    with pytest.raises(DataError, match="is not MNIST's"):  # it is looked for where it was put
        load("mnist", root=tmp_path / "root")


def test_cifar10_is_unpacked_and_loaded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    CIFAR10 = pytest.importorskip("torchvision.datasets").CIFAR10
    folder = tmp_path / "made" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    sums = {}
    batch = {"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 0, 1]}
    for name, content in {"one": batch, "test": batch, "batches.meta": {"label_names": ["cat", "dog"]}}.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = md5((folder / name).read_bytes())
    archive = server.folder / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "url", f"{server.address}/{CIFAR10.filename}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive.read_bytes()))
    monkeypatch.setattr(CIFAR10, "train_list", [["one", sums["one"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR10, "meta", dict(CIFAR10.meta, md5=sums["batches.meta"]))
    root = tmp_path / "root"
    for _ in range(2):
        assert fetch("cifar10", root) == root / CIFAR10.base_folder
    assert sorted(file.name for file in root.iterdir()) == [CIFAR10.base_folder, CIFAR10.filename]
    assert load("cifar10", source="real", root=root).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "place"),
    [("chess", "*.pgn"), ("heartbeats", "mitdb"), ("points", "ModelNet10"), ("spectra", "EuroSAT_MS")],
)
def test_what_comes_from_the_user_is_told_with_its_place(name: str, place: str, tmp_path: Path):
    said = rf"{name} comes from you: put .* under the data root as .*{re.escape(place)}"
    with pytest.raises(DataError, match=said):
        fetch(name, tmp_path)


@pytest.mark.parametrize("name", ["spiral", "games", "chess"])
def test_what_cannot_be_fetched(name: str, tmp_path: Path):
    with pytest.raises(
        DataError, match=r"nothing to download; names that can be fetched are mnist, cifar10, audio, satellite, text"
    ):
        fetch(name, tmp_path)
    with pytest.raises(DataError, match="accepted names are"):
        fetch("imagenet", tmp_path)


def test_a_root_that_cannot_be_written_to(glove: bytes, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"cannot write to {tmp_path}/file/root.*DIFFUSION_LAB_DATA"):
        fetch("text", tmp_path / "file" / "root")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may write anywhere")
def test_a_root_that_is_read_only(glove: bytes, tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir(mode=0o555)
    with pytest.raises(DataError, match="cannot write to"):
        fetch("text", root)
