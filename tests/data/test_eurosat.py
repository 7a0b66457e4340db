"""EuroSAT as pictures and in 13 bands: what is read, and what is refused with the file and the reason."""

from __future__ import annotations

import inspect
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_lab.data import eurosat, fetching, load
from diffusion_lab.errors import DataError

tifffile = pytest.importorskip("tifffile")


def pictures(root: Path, count: int = 3, size=(64, 64), mode: str = "RGB") -> Path:
    """eurosat/2750 with two classes, Forest all green and River all blue."""
    base = root / "eurosat" / "2750"
    for name, colour in (("Forest", (0, 200, 0)), ("River", (0, 0, 200))):
        (base / name).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            Image.new("RGB", size, colour).convert(mode).save(base / name / f"{name}_{number}.jpg")
    return base


def bands(folder: Path, count: int = 3, dtype=np.uint16, shape=(64, 64, 13), **options) -> Path:
    """Two classes of files in which every band has its own number, 100 times its place in the file."""
    for name in ("Forest", "River"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            pixels = np.broadcast_to(100 * np.arange(shape[-1]), shape).astype(dtype)
            tifffile.imwrite(folder / name / f"{name}_{number}.tif", pixels, planarconfig="contig", **options)
    return folder


def test_pictures_from_the_folder_and_from_archives(tmp_path: Path):
    base = pictures(tmp_path)
    data = load("satellite", source="real", root=tmp_path)
    assert data.classes == ("Forest", "River") and data.name == "satellite images of 2750"
    assert data.train.shape == (5, 3, 64, 64) and data.test.shape == (1, 3, 64, 64)
    for label, channel in ((0, 1), (1, 2)):
        means = data.train[data.train_labels == label].mean(dim=(0, 2, 3))
        assert means[channel] == pytest.approx(200 / 127.5 - 1, abs=0.02) and means.argmax() == channel
    for kind, name in (("zip", "EuroSAT"), ("xztar", "eurosat-rgb-subset")):
        elsewhere = tmp_path / kind
        elsewhere.mkdir()
        shutil.make_archive(str(elsewhere / name), kind, base.parent)
        packed = load("satellite", source="real", root=elsewhere)
        assert torch.equal(packed.train, data.train) and packed.classes == data.classes


def test_the_download_is_the_one_that_torchvision_knows():
    from torchvision.datasets import EuroSAT

    address, known = fetching.EUROSAT
    assert address.endswith("/EuroSAT.zip") and known.removeprefix("md5:") in inspect.getsource(EuroSAT)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda base: cut(base / "River" / "River_2.jpg"), r"2750/River/River_2.jpg cannot be read: .*[Tt]runcated"),
        (lambda base: (base / "River" / "River_2.jpg").write_bytes(b"no"), "River_2.jpg cannot be read: it is not an"),
        (lambda base: pictures(base.parent.parent, mode="L"), "Forest_1.jpg has the bands L; needed are R, G, B"),
        (lambda base: pictures(base.parent.parent, size=(32, 64)), "Forest_1.jpg is 32 x 64 pixels; needed are 64 x"),
        (lambda base: [f.unlink() for f in base.glob("River/*")], "not laid out as eurosat/2750/CLASS/NAME.jpg"),
    ],
    ids="truncated nonsense grey size empty".split(),
)
def test_pictures_that_do_not_fit_are_refused_with_the_file_and_the_reason(tmp_path: Path, spoil, said: str):
    base = pictures(tmp_path)
    spoil(base)
    with pytest.raises(DataError, match=said):
        eurosat.load_eurosat(base)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=["plain", "deflate"])
def test_bands_come_by_rising_wavelength(tmp_path: Path, options: dict):
    if options:
        pytest.importorskip("imagecodecs", reason="tifffile packs with it")
    data = eurosat.load_eurosat_spectra(bands(tmp_path / "a", **options))
    file = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]
    wanted = [file.index(band) / 100 for band in data.info["bands"]]
    assert data.info["bands"][7:10] == ("B08", "B8A", "B09") and data.train.shape == (5000, 13)
    assert torch.allclose(data.train, torch.tensor(wanted).expand(5000, 13)) and data.classes == ("Forest", "River")


@pytest.mark.parametrize(("many", "count"), [(1000, 1000), (4, 100)], ids=["few", "many"])
def test_of_each_file_some_pixels_are_kept_and_the_rest_is_not(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, many: int, count: int
):
    monkeypatch.setattr(eurosat, "MANY", many)
    folder = bands(tmp_path / "a")
    for file in folder.rglob("*.tif"):
        places = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1)  # each pixel says where it lies, in each band
        tifffile.imwrite(file, np.repeat(places, 13, axis=2), planarconfig="contig")
    data = eurosat.load_eurosat_spectra(folder)
    found = (torch.cat([data.train, data.test]) * 10_000).round().reshape(6, count, 13)
    assert (found == found[..., :1]).all()
    for file in found[..., 0]:
        assert len(file.unique()) == count and 0 <= file.min() and file.max() < 64 * 64
        assert abs(file.mean() - 2047.5) < 5 * 4096 / (12 * count) ** 0.5
    assert not torch.equal(found[0], found[1]) and len(data.test_labels) == count
    kept = sum(copy.stat().st_size for copy in own_cache.rglob("eurosat-bands-*"))
    assert 0 < kept < 6 * (count * 13 * 4) + 3000


def test_band_after_band_is_the_same_picture():
    pixels = np.random.default_rng(0).integers(0, 9000, (64, 64, 13)).astype(np.uint16)
    both = []
    for array, planar in ((pixels, "contig"), (np.ascontiguousarray(pixels.transpose(2, 0, 1)), "separate")):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, photometric="minisblack", planarconfig=planar)
        both.append(eurosat.read_bands(buffer.getvalue(), "x.tif"))
    assert (both[0] == both[1]).all() and (both[0][8] == pixels[..., 12]).all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: bands(f, shape=(64, 64, 3)), r"Forest_1.tif is uint16 of shape \(64, 64, 3\); needed are 64 x 64"),
        (lambda f: bands(f, shape=(32, 32, 13)), r"Forest_1.tif is uint16 of shape \(32, 32, 13\)"),
        (lambda f: bands(f, dtype=np.float32), "Forest_1.tif is float32"),
        (lambda f: cut(f / "River" / "River_1.tif"), "River_1.tif cannot be read"),
        (lambda f: (f / "River" / "River_1.tif").write_bytes(b"no"), "River_1.tif cannot be read: .*not a TIFF"),
        (lambda f: [x.unlink() for x in f.rglob("*.tif")], "no file that can be used; accepted suffixes are .tif"),
    ],
    ids="bands size floats truncated nonsense empty".split(),
)
def test_bands_that_do_not_fit_are_refused_with_the_file_and_the_reason(tmp_path: Path, spoil, said: str):
    folder = bands(tmp_path / "a")
    spoil(folder)
    with pytest.raises(DataError, match=said):
        eurosat.load_eurosat_spectra(folder)


def test_without_tifffile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = bands(tmp_path / "a")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(DataError, match=r"pip install diffusion-lab\[beyond\]"):
        eurosat.load_eurosat_spectra(folder)


@pytest.mark.slow
@pytest.mark.real_data
def test_eurosat_is_read_both_ways(real_data_folder: Path):
    data = load("satellite", source="real", root=real_data_folder)
    assert data.name.startswith("EuroSAT") and data.classes == eurosat.CLASSES
    assert data.train.shape[1:] == (3, 64, 64) and data.train_labels.bincount().min() > 400
    # Published over all pictures: mean (0.345, 0.382, 0.409) on [0, 1].
    assert torch.allclose((data.train.mean(dim=(0, 2, 3)) + 1) / 2, torch.tensor([0.345, 0.382, 0.409]), atol=0.01)
    bands = load("spectra", source="real", root=real_data_folder)
    assert bands.name.startswith("spectra of EuroSAT") and bands.train.shape[1] == 13
    means = dict(zip(bands.info["bands"], bands.train.mean(0).tolist(), strict=True))
    assert means["B8A"] > means["B08"] > means["B05"] > means["B04"] and means["B10"] < 0.01
