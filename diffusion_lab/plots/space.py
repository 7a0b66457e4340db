"""Figures of points in more than two dimensions, (N, D): covariances, their spectrum, and two principal axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.plots import plane
from diffusion_lab.plots.figure import LabFigure, new_figure
from diffusion_lab.plots.inputs import finite_rows
from diffusion_lab.plots.style import DATA, SAMPLES, SIGNED, log_scale

PRINCIPAL = ("principal axis 1", "principal axis 2")


def _covariance(x: Tensor) -> Tensor:
    x = finite_rows(x).double()
    if len(x) < 2:
        return x.new_zeros(x.shape[1], x.shape[1])
    return x.T.cov()


def principal_axes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of x (N, D) and its two directions of largest variance, (D, 2)."""
    rows = finite_rows(x)
    mean = rows.mean(dim=0) if len(rows) else x.new_zeros(x.shape[1])
    axes = torch.linalg.eigh(_covariance(x)).eigenvectors.flip(1)[:, :2].float()
    # An eigenvector is known up to its sign: make the largest entry positive, so that two pictures can be compared.
    return mean, axes * torch.sign(axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)))


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """Both covariance matrices, both spectra, and both clouds on the principal axes of the data."""
    figure = new_figure(9.5, 8.8)
    panels = figure.subplots(2, 2)
    colours, names = (DATA, SAMPLES), ("data", "samples")
    matrices = [_covariance(x) for x in (data, samples)]
    top = max(matrices[0].abs().max().item(), 1e-12)
    dim = data.shape[1]
    for ax, matrix, colour, name in zip(panels[0], matrices, colours, names, strict=True):
        picture = ax.imshow(matrix.numpy(), cmap=SIGNED, vmin=-top, vmax=top)
        ax.set_title(f"covariance of the {name}", color=colour)
        ax.grid(False)
        ticks = range(0, dim, max(1, dim // 8))
        ax.set(xticks=ticks, yticks=ticks, xlabel="dimension")
    panels[0, 0].set_ylabel("dimension")
    figure.colorbar(picture, ax=panels[0], label="covariance", shrink=0.9)

    spectra = [torch.linalg.eigvalsh(matrix).flip(0) for matrix in matrices]
    for values, colour, name, marker in zip(spectra, colours, names, "os", strict=True):
        panels[1, 0].plot(range(1, dim + 1), values, marker=marker, color=colour, label=name, alpha=0.8)
    if all((values > 0).all() for values in spectra):
        log_scale(panels[1, 0])
    panels[1, 0].set(xlabel="rank of the eigenvalue", ylabel="eigenvalue (variance)", title="spectrum")
    panels[1, 0].set_xticks(range(1, dim + 1, max(1, dim // 8)))
    panels[1, 0].legend()

    mean, axes = principal_axes(data)
    clouds = [(x - mean) @ axes for x in (data, samples)]
    for cloud, colour, name in zip(clouds, colours, names, strict=True):
        plane.dots(panels[1, 1], cloud, colour, label=name)
    plane.frame(panels[1, 1], plane.square(*clouds), PRINCIPAL)
    panels[1, 1].set_title("on the principal axes of the data")
    panels[1, 1].legend(markerscale=2.5)
    error = torch.linalg.matrix_norm(matrices[0] - matrices[1]) / max(torch.linalg.matrix_norm(matrices[0]), 1e-12)
    return figure, (
        f"Covariances, eigenvalues and two principal axes of {len(data)} data points and {len(samples)} samples in "
        f"{dim} dimensions; the largest eigenvalue is {spectra[0][0]:.3g} for data, {spectra[1][0]:.3g} for samples; "
        f"the covariances differ by {100 * error:.3g} % (Frobenius)"
    )


def trajectory(states: Tensor, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """The figure of the plane, on the two principal axes of the last states."""
    mean, axes = principal_axes(states[-1])
    figure, alt = plane.trajectory((states - mean) @ axes, times, info, PRINCIPAL)
    return figure, f"On two principal axes of {states.shape[-1]} dimensions: {alt}"


def denoising(
    columns: Mapping[str, Tensor],
    rows: Sequence[str],
    info: Mapping[str, Any],
) -> tuple[LabFigure, str]:
    """The figure of the plane, on the two principal axes of the clean points."""
    mean, axes = principal_axes(columns["clean"].flatten(0, 1))
    flat = {name: (values - mean) @ axes for name, values in columns.items()}
    figure, alt = plane.denoising(flat, rows, info, PRINCIPAL)
    return figure, f"On two principal axes of {len(mean)} dimensions: {alt}"
