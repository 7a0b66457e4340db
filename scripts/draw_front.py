"""Draw the README's picture: digits from the shipped network, and a learned score beside the exact one.

    python scripts/draw_front.py [--out book/assets/front.png]

Draws with the networks that ship with the package: it takes some seconds, and needs no data.
"""

from __future__ import annotations

import argparse
import io
import math
from pathlib import Path

import diffusion_lab  # before torch, whose threads it keeps from spinning long

# isort: split
import torch
from PIL import Image

from diffusion_lab.plots.figure import LabFigure, new_figure, styled, to_png
from diffusion_lab.plots.image import tile
from diffusion_lab.plots.style import DATA, EXACT, SAMPLES, bare

ROOT = Path(__file__).resolve().parents[1]
SIGMA = 0.5
"""The noise level at which the two scores are compared."""
HALF = 3.4
"""Half the side of the window around the mixture."""


@styled
def picture() -> LabFigure:
    """Fifty digits, a column for each class; beside them samples of a mixture and its score, learned and exact."""
    digits = diffusion_lab.open_checkpoint(name="mnist")
    drawn = digits.draw(50, labels=torch.arange(10).repeat(5))

    mixture = diffusion_lab.open_checkpoint(name="mixture")
    points = mixture.draw(600)
    side = torch.linspace(-HALF, HALF, 13)
    grid = torch.cartesian_prod(side, side)
    schedule = mixture.pieces.schedule
    level = schedule.at(schedule.time_at(torch.tensor(-2 * math.log(SIGMA))), like=grid)  # alpha is 1 on its path
    with torch.no_grad():
        learned = mixture.denoiser()(grid, level).eps
        exact = mixture.exact.denoise(grid, level).eps

    figure = new_figure(10, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1.05))
    left.imshow(tile(drawn, 10).numpy(), vmin=0, vmax=1)
    left.set_title("digits, asked for class by class")
    right.scatter(*points.T, s=3, color=DATA, alpha=0.35, linewidth=0)
    for eps, colour, width in ((learned, SAMPLES, 0.016), (exact, EXACT, 0.005)):
        arrows = -eps / eps.norm(dim=1, keepdim=True).clamp(min=1e-9).sqrt()
        right.quiver(
            *grid.T,
            *arrows.T,
            color=colour,
            angles="xy",
            scale_units="xy",
            scale=3,
            width=width,
            headwidth=3,
            headlength=3.5,
            headaxislength=3.5,
        )
    right.set(xlim=(-HALF, HALF), ylim=(-HALF, HALF), aspect="equal")
    right.set_title("score: learned (wide), exact (thin)")
    for ax in (left, right):
        bare(ax)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "assets" / "front.png")
    options = parser.parse_args()
    drawn = Image.open(io.BytesIO(to_png(picture()))).convert("RGB")
    drawn.quantize(64, dither=Image.Dither.NONE).save(options.out, optimize=True)  # a third of the weight
    print(options.out)


if __name__ == "__main__":
    main()
