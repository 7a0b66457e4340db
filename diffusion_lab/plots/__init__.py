"""Figures of the course. The only package here that imports matplotlib, and never its pyplot.

Every function returns a `LabFigure`, which a notebook shows by itself, `save` writes to a PNG, and whose `alt`
describes it in words and numbers for those who cannot see it.
"""

from __future__ import annotations

from diffusion_lab.plots.beside import Curves, Items, Table, View, beside
from diffusion_lab.plots.fields import score_field_2d
from diffusion_lab.plots.figure import LabFigure, save
from diffusion_lab.plots.figures import data_against_samples, denoising, trajectory
from diffusion_lab.plots.losses import loss_by_time, loss_curve
from diffusion_lab.plots.slider import Slider

__all__ = [
    "Curves",
    "Items",
    "LabFigure",
    "Slider",
    "Table",
    "View",
    "beside",
    "data_against_samples",
    "denoising",
    "loss_by_time",
    "loss_curve",
    "save",
    "score_field_2d",
    "trajectory",
]
