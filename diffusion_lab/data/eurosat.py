"""EuroSAT (Helber, Bischke, Dengel & Borth 2019): places in Europe seen by Sentinel-2, as pictures or in all 13 bands.

Pictures are read by torchvision's `EuroSAT`, from the folder that it downloads to or an archive of the same files. The
bands are GeoTIFF files, which `tifffile` reads (`beyond` extra).
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.landscapes import BANDS, METRES, PIXELS, RGB, SIDE, some_pixels, spectra
from diffusion_lab.data.storage import decoded, held_out, read_members
from diffusion_lab.errors import DataError, importing

WHOLE = 27_000
"""Pictures in all of EuroSAT."""
CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
IN_FILE = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
"""The bands of a file: B8A, which lies between B08 and B09, comes last."""
UNIT = 10_000
"""The number in a file for a reflectance of 1."""
MANY = 1_000
"""Files, of each of which `PIXELS` are enough."""
MORE_PIXELS = 1_000
"""Taken from each file where there are fewer than `MANY`."""
RECIPE = 2
"""Of reading. Raise the number when it changes, and what was decoded before is read again."""


def load_eurosat(path: Path) -> Dataset:
    """Pictures (N, 3, 64, 64) in [-1, 1] with the names of their folders as classes; a fixed tenth is held out.

    Args:
        path: the folder `eurosat/2750` of torchvision, or an archive that holds `2750/CLASS/NAME.jpg`.

    Raises:
        DataError: no pictures, or one that is truncated, not RGB, or not 64 x 64; the message names the file.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    tensors, words = decoded(f"eurosat-{RECIPE}", files, lambda: _pictures(path))
    images, labels, classes = tensors["images"], tensors["labels"], tuple(words["classes"])
    train, test = held_out(len(images), labels=labels.tolist(), where=path)
    return Dataset(
        name=_name("EuroSAT", classes, len(images), path),
        source="real",
        kind="image",
        train=_scaled(images[train]),
        test=_scaled(images[test]),
        train_labels=labels[train],
        test_labels=labels[test],
        classes=classes,
        info={"bands": RGB, "metres": METRES},
    )


def _name(name: str, classes: tuple[str, ...], count: int, path: Path) -> str:
    if classes != CLASSES:
        return f"satellite images of {path.name}"
    return name if count == WHOLE else f"{name} subset ({count:,} images)"


def _scaled(images: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def _pictures(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """uint8 (N, 64, 64, 3), labels, and the names of the classes."""
    if path.is_dir():
        return _listed(path.parent.parent, path)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in read_members(path, (".jpg", ".jpeg")):
            _lay(Path(folder, "eurosat", "2750"), name, content)
        return _listed(Path(folder), path)


def _lay(folder: Path, name: str, content: bytes) -> None:
    """Write an archive's member CLASS/NAME, whatever folders it lies in there, below `folder`."""
    file = folder.joinpath(*PurePosixPath(name).parts[-2:])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _listed(root: Path, path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """What torchvision finds in `root`/eurosat/2750; `path` is what errors call it."""
    with importing("torchvision"):
        from torchvision.datasets import EuroSAT

    try:
        found = EuroSAT(str(root), download=False)
    except (RuntimeError, FileNotFoundError) as fault:
        raise DataError(f"{path} is not laid out as eurosat/2750/CLASS/NAME.jpg: {fault}") from fault
    base = root / "eurosat" / "2750"
    images = [_picture(Path(file), f"{path}/{Path(file).relative_to(base).as_posix()}") for file, _ in found.samples]
    tensors = {"images": torch.from_numpy(np.stack(images)), "labels": torch.tensor(found.targets)}
    return tensors, {"classes": list(found.classes)}


def _picture(file: Path, name: str) -> np.ndarray:
    """uint8 (64, 64, 3)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode != "RGB":
                raise DataError(f"{name} has the bands {', '.join(image.getbands())}; needed are R, G, B")
            if image.size != (SIDE, SIDE):
                raise DataError(f"{name} is {image.width} x {image.height} pixels; needed are {SIDE} x {SIDE}")
            return np.asarray(image)
    except UnidentifiedImageError as fault:
        raise DataError(f"{name} cannot be read: it is not an image") from fault
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        raise DataError(f"{name} cannot be read: {fault}") from fault


def load_eurosat_spectra(path: Path) -> Dataset:
    """Pixels of the 13-band files as reflectances (N, 13), by rising wavelength; a tenth of the files is held out.

    Of each file 100 pixels are kept, or 1,000 where there are fewer than 1,000 files.

    Args:
        path: a folder or an archive with CLASS/NAME.tif.

    Raises:
        DataError: `tifffile` is not installed, there are no files, or one is truncated, packed in a way that needs
            another library, or not 64 x 64 pixels of 13 bands in whole numbers of 16 bits; the message names it.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    tensors, words = decoded(f"eurosat-bands-{RECIPE}", files, lambda: _bands(path))
    labels, pixels, classes = tensors["labels"], tensors["pixels"], tuple(words["classes"])
    _, test = held_out(len(pixels), labels=labels.tolist(), where=path)
    held = torch.zeros(len(pixels), dtype=torch.bool)
    held[test] = True
    dataset = spectra(pixels.float() / UNIT, labels, held, classes)
    return replace(dataset, name=f"spectra of {_name('EuroSAT', classes, len(pixels), path)}", source="real")


def _bands(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """int32 pixels (N, count, 13) with bands in the order of `BANDS`, labels, and the names of the classes.

    No file is kept whole: all 27,000 would take 5.75 GB.
    """
    pixels, folders, generator = [], [], torch.Generator().manual_seed(0)
    for number, (name, content) in enumerate(read_members(path, (".tif", ".tiff"))):
        image = torch.from_numpy(read_bands(content, f"{path}/{name}"))
        pixels.append(some_pixels(image[None], MORE_PIXELS if number < MANY else PIXELS, generator)[0])
        folders.append((PurePosixPath(path.name) / name).parts[-2])
    if len(pixels) >= MANY:
        pixels = [some[:PIXELS] for some in pixels]
    classes = sorted(set(folders))
    labels = torch.tensor([classes.index(folder) for folder in folders])
    return {"pixels": torch.stack(pixels), "labels": labels}, {"classes": classes}


def read_bands(content: bytes, name: str) -> np.ndarray:
    """One GeoTIFF as int32 (13, 64, 64), bands in the order of `BANDS`.

    Raises:
        DataError: see `load_eurosat_spectra`; the message begins with `name`.
    """
    try:
        import tifffile
    except ImportError as fault:
        raise DataError("tifffile is needed for 13 bands; `pip install diffusion-lab[beyond]` adds it") from fault
    try:
        pixels = tifffile.imread(io.BytesIO(content))
    except Exception as fault:  # tifffile raises whatever its parsing stumbles over
        reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
        raise DataError(f"{name} cannot be read: {reason}") from fault
    if pixels.shape == (len(BANDS), SIDE, SIDE):
        pixels = pixels.transpose(1, 2, 0)  # band after band
    if pixels.shape != (SIDE, SIDE, len(BANDS)) or pixels.dtype != np.uint16:
        raise DataError(
            f"{name} is {pixels.dtype} of shape {pixels.shape}; needed are {SIDE} x {SIDE} pixels of "
            f"{len(BANDS)} bands in uint16"
        )
    order = [IN_FILE.index(band) for band in BANDS]
    return np.ascontiguousarray(pixels[..., order].transpose(2, 0, 1).astype(np.int32))
