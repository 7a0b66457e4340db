"""Scenes of chapter 12, about clouds of points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion_lab.grading.notebook.scenes.stage import (
    Piece,
    Scene,
    data,
    generator,
    opened,
    predicting,
    sampled,
    table,
    trained,
)
from diffusion_lab.plots import Curves, Items, View

CLOUDS, STEPS = 4, 12


def _sigmoid_alpha_bar(piece: Piece) -> Iterator[View]:
    yield Curves(torch.arange(100), {"": piece(100, -3.0, 3.0, 0.6, 1e-9)}, "step t", "alpha_bar")
    yield sampled("sigmoid_alpha_bar", CLOUDS, STEPS)(piece)


def _fan() -> tuple[Tensor, Tensor]:
    """A disc of triangles (V, 3) and (F, 3), broad on one side and very narrow on the other."""
    turn = torch.linspace(0, 1, 25).square() * 2 * torch.pi
    rim = torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], dim=1)
    rows = torch.arange(1, len(rim))
    return torch.cat([torch.zeros(1, 3), rim]), torch.stack([torch.zeros_like(rows), rows, rows + 1], dim=1)


def _area_points(piece: Piece) -> list[View]:
    points = piece(*_fan(), torch.rand(600, 3, generator=generator()))
    return [Items("points", points[:, :2])]


def _centred_step(piece: Piece) -> list[View]:
    """Down from noise to the data, with the centre of noise taken out as well."""
    kept, model = table("points"), predicting("points", "eps", labels=torch.arange(CLOUDS) % 4)
    x = torch.randn(CLOUDS, 128, 3, generator=generator())
    x = x - x.mean(dim=1, keepdim=True)
    levels = [*torch.linspace(0.95 * len(kept), 0, STEPS).long().tolist(), -1]
    for t, s in itertools.pairwise(levels):
        x = piece(model, x, t, s, kept)
    return [Items("cloud", x)]


def _chamfer(piece: Piece) -> list[View]:
    """The distance of a shape to itself moved and to another one moved in the same way."""
    clouds = opened("points").dataset.test[:2]
    shifts = torch.linspace(0, 2, 21)
    moved = clouds[:1] + torch.stack([shifts, 0 * shifts, 0 * shifts], dim=1).unsqueeze(1)
    lines = {
        name: piece(moved, cloud.expand(len(shifts), -1, -1))
        for name, cloud in (("itself", clouds[0]), ("another shape, of half as many points", clouds[1, ::2]))
    }
    return [Curves(shifts, lines, "how far the shape is moved", "Chamfer distance")]


TRUTH = data("points", CLOUDS)
SCENES: dict[str, Scene] = {
    "sigmoid_alpha_bar": Scene(
        "alpha_bar over the steps, and clouds by the shipped network on this path.", _sigmoid_alpha_bar, TRUTH
    ),
    "area_points": Scene("600 points on a disc cut into triangles that are very narrow on one side.", _area_points),
    "padded_loss": Scene(
        "Clouds by the shipped network after 8 more steps of training with each loss, on clouds of one size. What a "
        "loss does with padding is not seen here; its check tells.",
        lambda piece: [trained("padded_loss", CLOUDS, STEPS, steps=8, batch=16, rate=1e-3)(piece)],
        TRUTH,
    ),
    "centred_step": Scene("Four clouds walked down from noise with the function, from the centre 0.", _centred_step),
    "chamfer": Scene("The distance of a shape to itself and to another, as it is moved away.", _chamfer),
}  # fmt: skip
