"""Two vector fields in the plane beside each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import LabFigure, caption, finish, new_figure, styled
from diffusion_lab.plots.plane import AXES, frame
from diffusion_lab.plots.style import EXACT, SAMPLES

SIDE = 18


def _field(name: str, field: Callable[[Tensor], Tensor] | Tensor, grid: Tensor) -> Tensor:
    """The vectors (G, 2) at the points of grid (G, 2)."""
    vectors = torch.as_tensor(field(grid) if callable(field) else field).detach().cpu().float()
    if vectors.shape[-1:] != (2,) or vectors.numel() != grid.numel():
        raise PieceError(f"{name} must give one vector (2,) for each of {len(grid)} points, not {tuple(vectors.shape)}")
    return vectors.reshape(-1, 2)


@styled
def score_field_2d(
    learned: Callable[[Tensor], Tensor] | Tensor,
    exact: Callable[[Tensor], Tensor] | Tensor,
    extent: tuple[float, float, float, float],
    *,
    dataset: str,
) -> LabFigure:
    """The learned and the exact score as arrows of one scale, with their relative difference.

    Args:
        learned: (G, 2) -> (G, 2), or its values (H, H, 2) on a regular grid: rows go up x2, columns along x1.
        exact: the same for the exact score.
        extent: the lowest and highest x1, then the lowest and highest x2.
        dataset: what the data really is.

    Raises:
        PieceError: for an extent that is empty or fields of a wrong shape.
    """
    low1, high1, low2, high2 = extent
    if not (low1 < high1 and low2 < high2):
        raise PieceError(f"extent must be (low x1, high x1, low x2, high x2) with low < high, not {tuple(extent)}")
    given = next((f for f in (learned, exact) if not callable(f)), None)
    if given is not None and (given.ndim != 3 or given.shape[-1] != 2):
        raise PieceError(f"a field given as a grid has shape (H, W, 2), not {tuple(given.shape)}")
    high, wide = (SIDE, SIDE) if given is None else given.shape[:2]
    up, across = torch.linspace(low2, high2, high), torch.linspace(low1, high1, wide)
    grid = torch.cartesian_prod(up, across).flip(1)  # (G, 2), x1 first
    fields = [_field("learned", learned, grid), _field("exact", exact, grid)]
    notes = []
    good = torch.isfinite(torch.cat(fields, dim=1)).all(dim=1)
    if not good.all():
        notes.append(f"{int((~good).sum())} of {len(good)} points have a score that is not finite and no arrow")
    error = ((fields[0] - fields[1])[good].norm() / fields[1][good].norm().clamp(min=1e-12)).item()
    longest = max([field[good].norm(dim=1).max().item() for field in fields] if good.any() else [0.0]) or 1.0
    pitch = min((high1 - low1) / max(wide - 1, 1), (high2 - low2) / max(high - 1, 1))
    figure = new_figure(9.5, 6)
    panels = figure.subplots(1, 2)
    for ax, field, colour, name in zip(panels, fields, (SAMPLES, EXACT), ("learned", "exact"), strict=True):
        arrows = field[good]
        # The square root of the length keeps the short arrows, where the data is, visible beside the long ones.
        arrows = arrows / arrows.norm(dim=1, keepdim=True).clamp(min=1e-12).sqrt()
        ax.quiver(
            *grid[good].T, *arrows.T, color=colour, angles="xy", scale_units="xy",
            scale=longest**0.5 / (1.4 * pitch), width=0.0045,
        )  # fmt: skip
        ax.set_title(f"{name} score", color=colour)
        frame(ax, ((low1 - pitch, high1 + pitch), (low2 - pitch, high2 + pitch)), AXES, left=ax is panels[0])
    caption(figure, "arrow length: square root of the length of the score, one scale for both")
    alt = (
        f"Arrows of the learned and the exact score at {int(good.sum())} points, arrow length the square root of the "
        f"score's; root mean square difference {100 * error:.3g} % of the exact score, longest score {longest:.3g}"
    )
    title = f"Learned and exact score, {100 * error:.3g} % apart: {dataset}"
    return finish(figure, title, f"{dataset}. {alt}.", notes)
