"""Members of folders and archives, and the cache of decoded files."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from diffusion_lab.data.storage import decoded, held_out, read_members, replacing
from diffusion_lab.errors import DataError


def make_archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:]}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


MEMBERS = {"b/2.WAV": b"two", "a/1.wav": b"one", "a/._1.wav": b"hidden", "a/notes.txt": b"text"}
EXPECTED = [("a/1.wav", b"one"), ("b/2.WAV", b"two")]


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_members_of_an_archive(suffix: str, tmp_path: Path):
    archive = make_archive(tmp_path / f"sounds.tar.{suffix}", MEMBERS)
    assert list(read_members(archive, (".wav",))) == EXPECTED


def test_members_of_a_folder(tmp_path: Path):
    for name, content in MEMBERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert list(read_members(tmp_path, (".wav",))) == EXPECTED


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_truncated_archive_is_named(suffix: str, share: float, tmp_path: Path):
    noise = os.urandom(100_000)
    archive = make_archive(tmp_path / f"sounds.tar.{suffix}", {"1.wav": noise, "2.wav": noise[::-1]})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=rf"sounds\.tar\.{suffix} is not a complete tar archive"):
        list(read_members(archive, (".wav",)))


def test_nothing_to_read_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"neither a folder nor an archive"):
        list(read_members(tmp_path / "absent", (".wav",)))
    archive = make_archive(tmp_path / "notes.tar.gz", {"a.txt": b"text"})
    for empty in (tmp_path, archive):
        with pytest.raises(DataError, match=rf"{empty.name}.*accepted suffixes are \.wav, \.flac"):
            list(read_members(empty, (".wav", ".flac")))


@pytest.mark.parametrize("name", ["../evil/a.wav", "a/../../evil.wav", "/evil/a.wav"])
def test_a_name_that_leads_out_of_an_archive_is_refused(name: str, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as archive:
        archive.writestr("1.wav", b"one")
        archive.writestr(name, b"two")
    make_archive(tmp_path / "sounds.tar.gz", {"./1.wav": b"one", name: b"two"})
    for file in ("sounds.zip", "sounds.tar.gz"):
        with pytest.raises(DataError, match=rf"{file} names a file outside of itself, {name};"):
            list(read_members(tmp_path / file, (".wav",)))
    inside = make_archive(tmp_path / "more.tar.gz", {"./a/1..wav": b"one"})
    assert list(read_members(inside, (".wav",))) == [("./a/1..wav", b"one")]


def test_decoded_copies_follow_their_source(tmp_path: Path):
    source = tmp_path / "source"
    calls = []

    def decode():
        calls.append(source.read_text())
        return {"length": torch.tensor([len(calls[-1])])}, {"text": [calls[-1]]}

    source.write_text("one")
    for _ in range(2):
        tensors, words = decoded("test", [source], decode)
        assert tensors["length"].tolist() == [3] and words == {"text": ["one"]}
    assert calls == ["one"]
    source.write_text("three")
    assert decoded("test", [source], decode)[1] == {"text": ["three"]}
    assert calls == ["one", "three"]


def test_a_broken_copy_is_made_again(tmp_path: Path, own_cache: Path):
    source = tmp_path / "source"
    source.touch()
    decoded("test", [source], lambda: ({"x": torch.zeros(1000)}, {}))
    (copy,) = own_cache.rglob("*.safetensors")
    copy.write_bytes(copy.read_bytes()[:100])
    assert decoded("test", [source], lambda: ({"x": torch.ones(2)}, {}))[0]["x"].tolist() == [1, 1]


def test_two_writers_leave_one_whole_file(tmp_path: Path):
    target, together = tmp_path / "file", threading.Barrier(2)

    def write(text: str) -> None:
        with replacing(target) as part:
            together.wait(timeout=10)
            part.write_text(text * 10_000)

    threads = [threading.Thread(target=write, args=(text,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in ("a" * 10_000, "b" * 10_000)
    assert list(tmp_path.glob("file*")) == [target]


def test_a_failed_writer_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and list(tmp_path.glob("file*")) == [target]


def test_held_out_is_a_fixed_partition():
    train, test = held_out(57)
    assert sorted(train.tolist() + test.tolist()) == list(range(57)) and len(test) == 5
    assert torch.equal(held_out(57)[1], test)
    assert len(held_out(2)[1]) == 1
    with pytest.raises(DataError, match="found 1"):
        held_out(1)
