"""How well points in space follow a known curve."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_rows, same_width

CHUNK = 2**16
"""The most pairs of a point and a segment held at once: few, so that they stay in a processor's cache."""


class CurveDistance(NamedTuple):
    """How far points lie from a curve, in the unit of the data."""

    mean: float
    median: float
    p95: float
    """95 of 100 points lie nearer than this."""
    each: Tensor
    """(N,), the distance of each point, in float64."""


def distance_to_curve(points: Tensor, curve: Tensor) -> CurveDistance:
    """The distance of points (N, D) to the polyline through the vertices `curve` (M, D), M >= 2.

    The distance is to the nearest point of any segment, not to the nearest vertex, so a coarse polyline does not add
    its own spacing. Points that follow the curve in one short piece also score well: see `coverage_along_curve`.
    """
    each, _ = project_on_curve(points, curve)
    median, p95 = each.quantile(torch.tensor([0.5, 0.95], dtype=each.dtype)).tolist()
    return CurveDistance(mean=float(each.mean()), median=median, p95=p95, each=each)


def coverage_along_curve(points: Tensor, curve: Tensor, *, pieces: int, within: float) -> float:
    """The fraction of `pieces` equal lengths of the curve (M, D) that have a point of (N, D) beside them.

    A piece is covered when some point lies within the distance `within` of the curve and its nearest place on the curve
    is in that piece; points of plain noise that happen to lie far off do not count. In [0, 1], better higher.
    """
    if pieces < 1 or not within > 0:
        raise ValueError(f"pieces is {pieces} and within is {within}; both must be positive")
    distance, place = project_on_curve(points, curve)
    piece = (place[distance <= within] * pieces).long().clamp(max=pieces - 1)  # the curve's end is in the last piece
    return len(piece.unique()) / pieces


def project_on_curve(points: Tensor, curve: Tensor) -> tuple[Tensor, Tensor]:
    """For points (N, D): the distance (N,) to the polyline (M, D), and the place (N,) of the nearest point on it.

    The place is the length along the curve as a fraction of the whole, in [0, 1]. Both are float64.
    """
    points, curve = as_rows(points, "points"), as_rows(curve, "curve", at_least=2)
    same_width(points, curve, "the points and the curve")
    start, along = curve[:-1], curve.diff(dim=0)  # (M-1, D) each
    length = along.norm(dim=1)
    if length.sum() == 0:
        raise DataError("all vertices of the curve are one point")
    before = length.cumsum(0) - length
    # A vertex given twice makes a segment of length 0, on which every fraction is the same point.
    squared = length.square().clamp(min=torch.finfo(length.dtype).tiny)
    # Which segment is nearest is found by products of matrices, with |x|^2 left out, which all segments share; the
    # distance is then taken from the one difference, so that a point on the curve is at 0.
    centre = curve.mean(0)
    begin = start - centre
    begin_square, begin_along = begin.square().sum(1), (begin * along).sum(1)
    distances, places = [], []
    for part in points.split(max(1, CHUNK // len(start))):
        moved = part - centre
        across = moved @ along.T - begin_along  # (n, M-1), the offset from each start times the segment
        fraction = (across / squared).clamp(0, 1)
        square = begin_square - 2 * (moved @ begin.T) + fraction * (fraction * squared - 2 * across)
        nearest = square.argmin(dim=1)
        on = fraction.gather(1, nearest[:, None])  # (n, 1)
        distances.append((part - start[nearest] - on * along[nearest]).norm(dim=1))
        places.append((before[nearest] + on[:, 0] * length[nearest]) / length.sum())
    return torch.cat(distances), torch.cat(places).clamp(max=1)
