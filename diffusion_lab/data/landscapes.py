"""Generated landscapes as a satellite sees them: fields, forest, a river, roads, a town, a coast, in up to 13 bands.

Every pixel is a mixture of a few materials, each with its reflectance in every band, and over all lies a texture: a
Gaussian field whose power spectrum and whose covariance between bands we chose, and so know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from scipy.fft import irfft2, rfft2
from torch import Generator, Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.errors import DataError

SIDE = 64
METRES = 10
"""The length of a pixel's side on the ground, that of Sentinel-2."""
TRAIN, TEST = 2_400, 600
PIXELS = 100
"""Spectra taken from one picture."""
CHUNK = 100
CLASSES = ("fields", "forest", "river", "road", "town", "coast")
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Those of Sentinel-2 by rising wavelength, from 443 nm to 2,190 nm."""
RGB = ("B04", "B03", "B02")
BRIGHT = 0.28
"""The reflectance that is white in a picture."""

# Reflectance of each material in each band, about what Sentinel-2 sees from above the air. Plants are dark in red and
# bright beyond 700 nm; water is dark everywhere; hardly any light of 1,375 nm (B10) comes through the air at all.
MATERIALS = {
    "water": (0.11, 0.09, 0.07, 0.045, 0.04, 0.03, 0.028, 0.025, 0.022, 0.01, 0.002, 0.012, 0.008),
    "forest": (0.11, 0.085, 0.075, 0.05, 0.09, 0.20, 0.25, 0.26, 0.28, 0.09, 0.002, 0.13, 0.06),
    "meadow": (0.12, 0.10, 0.115, 0.08, 0.14, 0.30, 0.37, 0.37, 0.40, 0.13, 0.002, 0.22, 0.12),
    "crop": (0.12, 0.095, 0.12, 0.065, 0.13, 0.36, 0.46, 0.46, 0.49, 0.16, 0.002, 0.20, 0.10),
    "soil": (0.14, 0.12, 0.14, 0.175, 0.20, 0.22, 0.24, 0.25, 0.27, 0.10, 0.003, 0.33, 0.27),
    "roof": (0.14, 0.13, 0.14, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.10, 0.003, 0.29, 0.25),
    "concrete": (0.18, 0.18, 0.19, 0.20, 0.21, 0.22, 0.22, 0.23, 0.23, 0.09, 0.003, 0.25, 0.22),
    "sand": (0.20, 0.21, 0.24, 0.27, 0.30, 0.32, 0.33, 0.34, 0.35, 0.13, 0.003, 0.40, 0.34),
}
INDEX = {name: row for row, name in enumerate(MATERIALS)}
SIGNATURES = torch.tensor([*MATERIALS.values()])  # (materials, bands)
ROUGH = torch.tensor([0.3, 1.0, 0.7, 0.5, 0.6, 0.9, 0.6, 0.4])
"""How much of the texture each material shows: still water is smooth, tree tops are not."""
GREEN = torch.tensor([1, 1, 1, 1, 2, 3, 4, 4, 4, 1.5, 0, 2, 1]) * 0.006
BARE = torch.tensor([1, 1, 1.5, 2, 2, 1, 1, 1, 1, 0.5, 0, 3, 3]) * 0.004
OWN = torch.tensor([10] * 10 + [1] + [10] * 2) * 0.0002
"""The texture moves the bands along these two directions, and each band by a little of its own besides."""
CORNER, FALL = 3.0, 3.0
"""The texture's power falls like the third power of the wave number, from 3 waves across the picture on."""


def texture_spectrum(side: int) -> Tensor:
    """The power (side, side) of the texture at each two-dimensional frequency, in the order of `torch.fft.fft2`.

    It is proportional to (1 + (k / 3)^2)^(-3/2), with k in waves across the picture, and its mean is 1: the variance of
    a pixel. This is E|F|^2 / side^2 of a field's Fourier transform F.
    """
    k = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    power = (1 + (k[:, None] ** 2 + k[None] ** 2) / CORNER**2) ** (-FALL / 2)
    return power / power.mean()


def texture_covariance() -> Tensor:
    """The covariance (13, 13) between the bands of the texture in one pixel, where a material shows all of it."""
    directions = torch.stack([GREEN, BARE], dim=1).double()
    return directions @ directions.T + (OWN.double() ** 2).diag()


def gaussian_fields(shape: tuple[int, ...], generator: Generator, steeper: float = 0.0) -> Tensor:
    """Fields (*shape), whose last two sizes are equal: mean 0, variance 1 and the power of `texture_spectrum`.

    They repeat at the edges, as all fields made by a Fourier transform do. `steeper` raises the exponent of the power.
    """
    side = shape[-1]
    power = texture_spectrum(side) ** (1 + steeper / FALL)
    gain = (power / power.mean()).sqrt().float()[:, : side // 2 + 1]
    white = torch.randn(shape, generator=generator).numpy()
    # SciPy's transform: the one that torch takes from MKL fails for some shapes ("Inconsistent configuration").
    return torch.from_numpy(irfft2(rfft2(white) * gain.numpy(), s=(side, side)))


def load_landscapes(seed: int = 0) -> Dataset:
    """2,400 + 600 pictures (N, 3, 64, 64) in [-1, 1]: red, green and blue of six classes, each equally often."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(TRAIN + TEST) % len(CLASSES)
    images = as_picture(landscapes(labels, generator, bands=RGB))
    order = torch.randperm(TRAIN, generator=generator)
    return Dataset(
        name="generated landscapes",
        source="bundled",
        kind="image",
        train=images[:TRAIN][order],
        test=images[TRAIN:],
        train_labels=labels[:TRAIN][order],
        test_labels=labels[TRAIN:],
        classes=CLASSES,
        info={"bands": RGB, "metres": METRES},
    )


def load_spectra(seed: int = 0) -> Dataset:
    """Pixels of 480 + 120 generated landscapes, 100 of each: reflectances (N, 13), bands in the order of `BANDS`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(600) % len(CLASSES)
    pixels = some_pixels(landscapes(labels, generator), PIXELS, generator)
    return spectra(pixels, labels, torch.arange(600) >= 480, CLASSES)


def some_pixels(images: Tensor, count: int, generator: Generator) -> Tensor:
    """`count` different pixels (N, count, C) of each of images (N, C, H, W), in random order."""
    places = torch.rand(len(images), images[0, 0].numel(), generator=generator).argsort(dim=1)[:, :count]
    return images.flatten(2).transpose(1, 2).gather(1, places[..., None].expand(-1, -1, images.shape[1]))


def spectra(pixels: Tensor, labels: Tensor, held: Tensor, classes: Sequence[str]) -> Dataset:
    """Pixels (N, count, 13) of N pictures as a bundled dataset of spectra; pictures `held` (N,) are for testing.

    Whole pictures are held out: neighbours in one picture are alike, and would tell each other's bands.
    """
    count = pixels.shape[1]
    train, test = pixels[~held].flatten(0, 1), pixels[held].flatten(0, 1)
    return Dataset(
        name="spectra of generated landscapes",
        source="bundled",
        kind="points",
        train=train.contiguous(),
        test=test.contiguous(),
        train_labels=labels[~held].repeat_interleave(count),
        test_labels=labels[held].repeat_interleave(count),
        classes=tuple(classes),
        info={"bands": BANDS},
    )


def as_picture(reflectance: Tensor) -> Tensor:
    """Reflectance, from 0 to 0.28 and brighter, as pixels from -1 to 1."""
    return (reflectance * (2 / BRIGHT) - 1).clamp(-1, 1)


def landscapes(labels: Tensor, generator: Generator, *, side: int = SIDE, bands: Sequence[str] = BANDS) -> Tensor:
    """Reflectances (N, bands, side, side), each landscape of the class of its label (N,).

    Args:
        bands: names out of `BANDS`, in any order.

    Raises:
        DataError: for a band that there is not, and for a side under 16.
    """
    strange = [band for band in bands if band not in BANDS]
    if strange or side < 16:
        raise DataError(
            f"side is {side} and bands are {', '.join(bands)}; accepted are 16 pixels or more, and the bands "
            f"{', '.join(BANDS)}"
        )
    columns = torch.tensor([BANDS.index(band) for band in bands])
    images = torch.empty(len(labels), len(bands), side, side)
    for label, name in enumerate(CLASSES):
        rows = (labels == label).nonzero().flatten()
        for part in rows.split(CHUNK):
            images[part] = _draw(LAYOUTS[name], len(part), side, columns, generator)
    return images


def _draw(layout: Callable, count: int, side: int, columns: Tensor, generator: Generator) -> Tensor:
    ground = Ground(count, side, generator)
    cover = layout(ground)  # (count, materials, side, side), the share of each material in each pixel
    own = torch.exp(0.12 * torch.randn(count, len(MATERIALS), 1, generator=generator))
    signatures = SIGNATURES[:, columns] * own  # each landscape has light and plants of its own
    field = gaussian_fields((count, 2, side, side), generator)
    fine = gaussian_fields((count, len(columns), side, side), generator)
    texture = torch.einsum("nkhw,kc->nchw", field, torch.stack([GREEN, BARE])[:, columns])
    texture = texture + OWN[columns, None, None] * fine
    rough = torch.einsum("nmhw,m->nhw", cover, ROUGH)[:, None]
    return (torch.einsum("nmhw,nmc->nchw", cover, signatures) + rough * texture).clamp(min=0)


class Ground:
    """Where the pixels of `count` pictures are, and what layouts are drawn with. Lengths are in half pictures."""

    def __init__(self, count: int, side: int, generator: Generator):
        self.count, self.side, self.generator = count, side, generator
        axis = (torch.arange(side) + 0.5) / side * 2 - 1
        self.y, self.x = torch.meshgrid(-axis, axis, indexing="ij")

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(count, *shape, 1, 1), ready to broadcast over pixels."""
        return low + (high - low) * torch.rand(self.count, *shape, 1, 1, generator=self.generator)

    def turned(self) -> tuple[Tensor, Tensor]:
        """Coordinates (count, side, side) along and across a random direction, from a random point near the middle."""
        angle = self.uniform(0, math.pi)
        x, y = self.x - self.uniform(-0.4, 0.4), self.y - self.uniform(-0.4, 0.4)
        return angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x

    def hills(self) -> Tensor:
        """A smooth field (count, side, side) of variance 1."""
        return gaussian_fields((self.count, self.side, self.side), self.generator, steeper=2.0)

    def share(self, distance: Tensor) -> Tensor:
        """How much of each pixel lies inside: distances are negative there, and the edge is one pixel wide."""
        return (0.5 - distance * self.side / 2).clamp(0, 1)

    def all_of(self, name: str) -> Tensor:
        """(count, materials, side, side), one material everywhere."""
        cover = torch.zeros(self.count, len(MATERIALS), self.side, self.side)
        cover[:, INDEX[name]] = 1
        return cover

    def plots(self, choices: Sequence[str], sites: int = 14) -> Tensor:
        """Farm land: the plot of each of some sites, nearest in a turned and stretched box distance."""
        along, across = self.turned()
        u, v = self.uniform(-1.6, 1.6, sites), self.uniform(-1.6, 1.6, sites)
        stretch = self.uniform(1.5, 3.5)
        least = torch.full_like(along, math.inf)
        nearest = torch.zeros(along.shape, dtype=torch.int64)  # (count, side, side)
        for number in range(sites):  # one after the other: all at once would not stay in the processor's cache
            distance = torch.maximum((along - u[:, number]).abs(), stretch * (across - v[:, number]).abs())
            nearest.masked_fill_(distance < least, number)
            least = torch.minimum(least, distance)
        kinds = torch.tensor([INDEX[name] for name in choices])
        site = kinds[torch.randint(len(choices), (self.count, sites), generator=self.generator)]
        tone = torch.exp(0.1 * torch.randn(self.count, sites, generator=self.generator))
        flat = nearest.flatten(1)
        kind = (
            torch.nn.functional.one_hot(site.gather(1, flat), len(MATERIALS)).float() * tone.gather(1, flat)[..., None]
        )
        return kind.transpose(1, 2).reshape(self.count, len(MATERIALS), self.side, self.side)


def _over(cover: Tensor, name: str, share: Tensor) -> Tensor:
    """Lay a material over the others, on its share (count, side, side) of each pixel."""
    cover = cover * (1 - share[:, None])
    cover[:, INDEX[name]] += share
    return cover


def _fields(ground: Ground) -> Tensor:
    return ground.plots(("crop", "meadow", "soil", "crop"), sites=26)


def _forest(ground: Ground) -> Tensor:
    return _over(ground.all_of("meadow"), "forest", ground.share(-0.15 * (ground.hills() + ground.uniform(0.6, 2.0))))


def _country(ground: Ground) -> Tensor:
    """Farm land with woods here and there."""
    return _over(ground.plots(("crop", "meadow", "soil")), "forest", ground.share(0.15 * (ground.hills() + 0.9)))


def _river(ground: Ground) -> Tensor:
    along, across = ground.turned()
    wave, turn = ground.uniform(1.0, 3.0), ground.uniform(0, 2 * math.pi)
    size = ground.uniform(0.1, 0.35)
    bend = across - size * torch.sin(wave * along + turn)
    steep = torch.hypot(torch.ones_like(bend), size * wave * torch.cos(wave * along + turn))
    width = ground.uniform(0.06, 0.2)
    cover = _over(_country(ground), "forest", ground.share((bend / steep).abs() - width - 0.06))
    return _over(cover, "water", ground.share((bend / steep).abs() - width))


def _road(ground: Ground) -> Tensor:
    cover = _country(ground)
    for width in (0.05, 0.025):  # a highway, and a lane that meets it somewhere
        along, across = ground.turned()
        bend = across - ground.uniform(-0.15, 0.15) * along**2
        cover = _over(cover, "concrete", ground.share(bend.abs() - width))
    return cover


def _town(ground: Ground) -> Tensor:
    """Streets in a grid, and in each block of gardens a house of its own size and roof."""
    along, across = ground.turned()
    pitch = ground.uniform(0.2, 0.34)
    column, row = (along / pitch).floor().long(), (across / pitch).floor().long()
    u, v = (along / pitch - column - 0.5) * pitch, (across / pitch - row - 0.5) * pitch  # from the block's middle
    block = ((column % 32) * 32 + row % 32).flatten(1)

    def of_block(low: float, high: float) -> Tensor:
        table = low + (high - low) * torch.rand(ground.count, 32 * 32, generator=ground.generator)
        return table.gather(1, block).reshape(u.shape)

    cover = _over(ground.all_of("meadow"), "forest", (of_block(0, 1) < 0.25).float())
    house = torch.maximum(u.abs() - pitch * of_block(0.15, 0.36), v.abs() - pitch * of_block(0.15, 0.36))
    share = ground.share(house) * (of_block(0, 1) < 0.85)
    tiled = (of_block(0, 1) < 0.6).float()
    cover = _over(_over(cover, "roof", share * tiled), "concrete", share * (1 - tiled))
    street = torch.maximum(u.abs(), v.abs()) - pitch / 2 + 0.025
    return _over(cover, "concrete", ground.share(-street))


def _coast(ground: Ground) -> Tensor:
    shore = ground.turned()[0] + 0.12 * ground.hills() + ground.uniform(-0.2, 0.2)
    cover = _over(_country(ground), "sand", ground.share(-shore - ground.uniform(0.02, 0.12)))
    return _over(cover, "water", ground.share(-shore))


LAYOUTS = dict(zip(CLASSES, (_fields, _forest, _river, _road, _town, _coast), strict=True))
