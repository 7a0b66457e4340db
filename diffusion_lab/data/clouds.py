"""Clouds of points: the bundled ones, drawn from surfaces, and how clouds are brought to one size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.surfaces import FAMILIES, draw_surface
from diffusion_lab.errors import DataError

POINTS = 128
TRAIN, TEST = 2_000, 400
NORMALISATIONS = ("all", "class", "shape")


def load_surfaces(seed: int = 0) -> Dataset:
    """2,000 + 400 clouds (N, 128, 3) of points on tori, ellipsoids, knots and chairs, in units of their spread.

    `info["train_surfaces"]` and `info["test_surfaces"]` are the surfaces themselves, in units in which a chair is about
    1.5 high; `to_units` leads back there. `info["test_again"]` has other points of the surfaces held out.
    """
    rng = np.random.default_rng(seed)
    labels = torch.arange(TRAIN + TEST) % len(FAMILIES)
    surfaces = [draw_surface(int(label), rng) for label in labels]
    clouds = _sampled(surfaces, rng)
    again = _sampled(surfaces[TRAIN:], rng)
    parts = normalise(clouds[:TRAIN], clouds[TRAIN:], again, labels[:TRAIN], labels[TRAIN:])
    return Dataset(
        name="surfaces drawn by formula",
        source="bundled",
        kind="cloud",
        train=parts.pop("train"),
        test=parts.pop("test"),
        train_labels=labels[:TRAIN],
        test_labels=labels[TRAIN:],
        classes=tuple(family.__name__.lower() for family in FAMILIES),
        info={**parts, "train_surfaces": tuple(surfaces[:TRAIN]), "test_surfaces": tuple(surfaces[TRAIN:])},
    )


def _sampled(surfaces: list, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.stack([surface.sample(POINTS, rng) for surface in surfaces]))


def normalise(
    train: Tensor, test: Tensor, again: Tensor, train_labels: Tensor, test_labels: Tensor, how: str = "all"
) -> dict[str, Any]:
    """Clouds (N, P, 3) with their centre at 0 and a spread of 1 along each axis on average.

    Args:
        train, test, again: `again` has other points of the shapes of `test`, and goes with these.
        train_labels, test_labels: (N,) the class of each.
        how: what has one centre and one spread of its own.

            - "all": the training set, one for all. Relative sizes stay: a stool is smaller than a sofa, and whether a
              model knows that can be asked. What is lost: where sizes differ much or files come in different units, the
              large ones take all the room, and small ones are seen and learned with little detail.
            - "class": each class, from its training set. Sizes can be compared within a class; that a bed is longer
              than a lamp is gone, and so is every score over several classes together in which size plays a part.
            - "shape": each cloud by itself, as in much of the literature. Units no longer matter, nor does size: no
              sample can be too large or too small any more. A distance between clouds is then in another unit for each,
              so numbers do not compare with those of "all", and generated clouds have to be judged after the same step.

    Returns:
        "train", "test" and "test_again" in float32; "normalisation", and "train_centre", "train_scale", "test_centre",
        "test_scale" (N, 1, 3) and (N, 1, 1), with which `to_units` leads back.

    Raises:
        DataError: for another `how`, or for a cloud or class whose points all lie in one place.
    """
    if how not in NORMALISATIONS:
        raise DataError(f"no normalisation is called {how!r}; accepted are {', '.join(NORMALISATIONS)}")
    result: dict[str, Any] = {"normalisation": how}
    if how == "shape":
        frames = {"train": _own_frames(train), "test": _own_frames(test)}
    else:
        one = torch.zeros_like(train_labels), torch.zeros_like(test_labels)
        of_train, of_test = one if how == "all" else (train_labels, test_labels)
        centres, scales = zip(*[_frame(train[of_train == group]) for group in of_train.unique()], strict=True)
        centre, scale = torch.stack(centres)[:, None], torch.stack(scales)[:, None, None]
        frames = {"train": (centre[of_train], scale[of_train]), "test": (centre[of_test], scale[of_test])}
    for name, (centre, scale) in frames.items():
        if not bool((scale > 0).all()):
            raise DataError(f"{int((scale == 0).sum())} of the clouds to {name} have all their points in one place")
        result[f"{name}_centre"], result[f"{name}_scale"] = centre, scale
    for name, clouds in (("train", train), ("test", test), ("test_again", again)):
        centre, scale = frames["train" if name == "train" else "test"]
        result[name] = ((clouds - centre) / scale).float()
    return result


def to_units(clouds: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Clouds (N, P, 3) back in the units that they had before `normalise`, in float64."""
    return clouds.double() * scale + centre


def _frame(clouds: Tensor) -> tuple[Tensor, Tensor]:
    """The mean point (3,) and the spread () of all points together."""
    points = clouds.reshape(-1, 3)
    centre = points.mean(dim=0)
    return centre, (points - centre).square().mean().sqrt()


def _own_frames(clouds: Tensor) -> tuple[Tensor, Tensor]:
    centre = clouds.mean(dim=1, keepdim=True)
    return centre, (clouds - centre).square().mean(dim=(1, 2), keepdim=True).sqrt()
