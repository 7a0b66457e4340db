"""Surfaces drawn by formula: tori, ellipsoids, trefoil knots and chairs, with points by area and the exact distance.

Every surface stands on the floor z = 0 and is turned about the upright axis by an angle of its own. Points are drawn so
that equal areas get equally many on average, and `distance` is the distance to the surface, inside it too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Surface:
    """One surface of a family: its sizes, and the angle in radians that it is turned by about the z axis."""

    sizes: np.ndarray
    """(K,) lengths, as named by `NAMES` of the family and drawn between `LOW` and `HIGH`."""
    turn: float = 0.0

    NAMES: ClassVar[tuple[str, ...]] = ()
    LOW: ClassVar[tuple[float, ...]] = ()
    HIGH: ClassVar[tuple[float, ...]] = ()

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` points (count, 3), independent and uniform over the area."""
        return self._points(count, rng) @ self._rotation().T

    def distance(self, points: np.ndarray) -> np.ndarray:
        """The distance (P,) of each point (P, 3) to the nearest point of the surface, never negative."""
        return self._distance(np.asarray(points, dtype=np.float64) @ self._rotation())

    def _rotation(self) -> np.ndarray:
        c, s = math.cos(self.turn), math.sin(self.turn)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def _points(self, count: int, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def _distance(self, points: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def _accepted(
    count: int, rng: np.random.Generator, draw: Callable[[int], np.ndarray], share: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """`count` rows of `draw(n)` (n, K), each kept with the probability `share(rows)` (n,): rejection sampling."""
    kept = np.empty((0, draw(1).shape[1]))
    while len(kept) < count:
        rows = draw(2 * count)
        kept = np.concatenate([kept, rows[rng.random(len(rows)) < share(rows)]])
    return kept[:count]


class Torus(Surface):
    """A ring that stands upright: its tube's middle is a circle in the x-z plane."""

    NAMES, LOW, HIGH = ("ring", "tube"), (0.45, 0.12), (0.75, 0.28)

    def _points(self, count: int, rng: np.random.Generator) -> np.ndarray:
        ring, tube = self.sizes
        # The outer side of the ring has more area than the inner one, in the ratio of the circles' lengths.
        angles = _accepted(
            count,
            rng,
            lambda n: rng.uniform(0, 2 * math.pi, (n, 2)),
            lambda rows: (ring + tube * np.cos(rows[:, 1])) / (ring + tube),
        )
        along, around = angles.T
        from_axis = ring + tube * np.cos(around)
        height = ring + tube + from_axis * np.sin(along)
        return np.stack([from_axis * np.cos(along), tube * np.sin(around), height], axis=1)

    def _distance(self, points: np.ndarray) -> np.ndarray:
        ring, tube = self.sizes
        from_axis = np.hypot(points[:, 0], points[:, 2] - ring - tube)
        return np.abs(np.hypot(from_axis - ring, points[:, 1]) - tube)


class Ellipsoid(Surface):
    """An ellipsoid by its three half-axes; a sphere where they are equal."""

    NAMES, LOW, HIGH = ("x", "y", "z"), (0.4, 0.4, 0.4), (0.9, 0.9, 0.9)

    def _points(self, count: int, rng: np.random.Generator) -> np.ndarray:
        # Stretching a sphere stretches the area at the direction u by |u / axes| times their product.
        def directions(n: int) -> np.ndarray:
            normal = rng.standard_normal((n, 3))
            return normal / np.linalg.norm(normal, axis=1, keepdims=True)

        largest = 1 / self.sizes.min()
        chosen = _accepted(count, rng, directions, lambda u: np.linalg.norm(u / self.sizes, axis=1) / largest)
        return chosen * self.sizes + np.array([0.0, 0.0, self.sizes[2]])

    def _distance(self, points: np.ndarray) -> np.ndarray:
        """By the one equation for the nearest point that is left (Eberly 2013), solved by halving and then by Newton.

        The nearest point is x_i = a_i^2 y_i / (t + a_i^2), and t the largest root of sum (a_i y_i / (t + a_i^2))^2 = 1.
        Both work on a log scale. Halving leaves a hundredth, of which three steps of Newton leave a rounding error.
        """
        axes = self.sizes
        # A coordinate of 0 has two nearest points, one on either side; either will do.
        y = np.maximum(np.abs(points - np.array([0.0, 0.0, axes[2]])), 1e-12)
        beyond = axes**2 - axes.min() ** 2
        low = np.log((axes * y)[:, axes.argmin()])  # of s = t + the smallest a^2
        high = np.log(np.linalg.norm(axes * y, axis=1))
        for _ in range(12):
            middle = (low + high) / 2
            above = ((axes * y / (np.exp(middle)[:, None] + beyond)) ** 2).sum(axis=1) > 1
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        found = (low + high) / 2
        for _ in range(3):
            s = np.exp(found)
            terms = (axes * y / (s[:, None] + beyond)) ** 2
            total = terms.sum(axis=1)
            slope = (terms / (s[:, None] + beyond)).sum(axis=1) * s / total  # of -log(total) / 2
            found = np.clip(found + np.log(total) / (2 * slope), low, high)
        nearest = axes**2 * y / (np.exp(found)[:, None] + beyond)
        return np.linalg.norm(nearest - y, axis=1)


KNOTS = np.linspace(0, 2 * math.pi, 256, endpoint=False)
"""Places on the trefoil where the search for the nearest begins."""


def trefoil(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The curve (sin t + 2 sin 2t, cos t - 2 cos 2t, -sin 3t) / 3 (..., 3), its first and its second derivative."""
    sin, sin2, sin3 = (np.sin(n * t) for n in (1, 2, 3))
    cos, cos2, cos3 = (np.cos(n * t) for n in (1, 2, 3))
    curve = [sin + 2 * sin2, cos - 2 * cos2, -sin3]
    first = [cos + 4 * cos2, -sin + 4 * sin2, -3 * cos3]
    second = [-sin - 8 * sin2, -cos + 8 * cos2, 9 * sin3]
    return tuple(np.stack(rows, axis=-1) / 3 for rows in (curve, first, second))  # type: ignore[return-value]


MIDDLE = trefoil(KNOTS)[0]
"""The trefoil at these places (256, 3)."""


class Knot(Surface):
    """A tube about the trefoil knot, thinner than what would make it touch itself."""

    NAMES, LOW, HIGH = ("radius", "tube"), (0.7, 0.08), (1.0, 0.14)

    def _points(self, count: int, rng: np.random.Generator) -> np.ndarray:
        radius, tube = self.sizes
        bound = radius * np.linalg.norm(trefoil(KNOTS)[1], axis=1).max() * 1.01

        def share(rows: np.ndarray) -> np.ndarray:
            # The area element of a tube is |c'| (1 - curvature tube cos angle): smaller on the inner side of a bend.
            _, speed, bend, _, _ = self._frame(rows[:, 0])
            return speed * (1 - bend * tube * np.cos(rows[:, 1])) / (2 * bound)

        rows = _accepted(count, rng, lambda n: rng.uniform(0, 2 * math.pi, (n, 2)), share)
        middle, _, _, normal, binormal = self._frame(rows[:, 0])
        return middle + tube * (np.cos(rows[:, 1:]) * normal + np.sin(rows[:, 1:]) * binormal)

    def _frame(self, t: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of the curve at t (n,): the point (n, 3), |c'| (n,), curvature (n,), normal and binormal (n, 3)."""
        radius, tube = self.sizes
        curve, first, second = (radius * values for values in trefoil(t))
        speed = np.linalg.norm(first, axis=1)
        cross = np.cross(first, second)
        size = np.linalg.norm(cross, axis=1, keepdims=True)
        binormal = cross / size
        normal = np.cross(binormal, first / speed[:, None])
        return curve + np.array([0.0, 0.0, radius / 3 + tube]), speed, size[:, 0] / speed**3, normal, binormal

    def _distance(self, points: np.ndarray) -> np.ndarray:
        radius, tube = self.sizes
        places = (points - np.array([0.0, 0.0, radius / 3 + tube])) / radius
        squared = (places**2).sum(axis=1)[:, None] - 2 * places @ MIDDLE.T + (MIDDLE**2).sum(axis=1)  # (P, 256)
        valley = (squared <= np.roll(squared, 1, axis=1)) & (squared <= np.roll(squared, -1, axis=1))
        # Of up to three valleys near a point, the grid alone cannot say which one is deepest.
        start = KNOTS[np.argpartition(np.where(valley, squared, np.inf), 2, axis=1)[:, :3]]  # (P, 3)
        t, reach = start, KNOTS[1]
        for _ in range(6):
            curve, first, second = trefoil(t)
            off = curve - places[:, None]
            slope, rise = (off * first).sum(-1), (first**2).sum(-1) + (off * second).sum(-1)
            step = np.where(rise > 0, slope / np.where(rise > 0, rise, 1), 0)
            t = np.clip(t - step, start - reach, start + reach)
        nearest = np.linalg.norm(trefoil(t)[0] - places[:, None], axis=2).min(axis=1)
        return np.abs(radius * nearest - tube)


@functools.lru_cache
def _walls(filled: bytes, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What lies between a filled cell and an empty one: the cuts at its lowest and its highest corner (R, 3).

    Chairs have the same cells filled, nearly all of them.
    """
    cells = np.frombuffer(filled, dtype=bool).reshape(shape)
    low, high = [], []
    for axis in range(3):
        around = np.pad(cells, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        low.append(np.argwhere(np.diff(around.astype(int), axis=axis) != 0))
        high.append(low[-1] + (np.arange(3) != axis))
    return np.concatenate(low), np.concatenate(high)


class Chair(Surface):
    """A seat, a back and four legs, boxes of one thickness. They are one body: where two touch there is no surface."""

    NAMES = ("width", "depth", "seat", "back", "thickness")
    LOW, HIGH = (0.7, 0.7, 0.55, 0.6, 0.08), (1.1, 1.1, 0.85, 1.0, 0.16)

    def boxes(self) -> np.ndarray:
        """The six boxes (6, 2, 3) by their lowest and highest corners, the front towards -y as in most catalogues."""
        width, depth, seat, back, thick = self.sizes
        x, y, top = width / 2, depth / 2, seat + thick
        legs = [[[a, b, 0], [a + thick, b + thick, seat]] for a in (-x, x - thick) for b in (-y, y - thick)]
        return np.array([*legs, [[-x, -y, seat], [x, y, top]], [[-x, y - thick, top], [x, y, top + back]]])

    def rectangles(self) -> tuple[np.ndarray, np.ndarray]:
        """The outside as rectangles: lowest and highest corners (R, 3), equal along the axis that each is square to.

        All faces of the boxes cut space into cells, and the outside lies between a cell that is filled and one that is
        not.
        """
        boxes = self.boxes()
        cuts = [np.unique(boxes[:, :, axis].round(12)) for axis in range(3)]
        middles = np.stack(np.meshgrid(*[(c[1:] + c[:-1]) / 2 for c in cuts], indexing="ij"), axis=-1)[..., None, :]
        filled = ((boxes[:, 0] < middles) & (middles < boxes[:, 1])).all(axis=-1).any(axis=-1)  # (X, Y, Z)
        low, high = _walls(filled.tobytes(), filled.shape)
        return tuple(np.stack([cuts[a][ends[:, a]] for a in range(3)], axis=1) for ends in (low, high))

    def _points(self, count: int, rng: np.random.Generator) -> np.ndarray:
        low, high = self.rectangles()
        sides = high - low
        areas = np.where(sides == 0, 1, sides).prod(axis=1)
        rows = rng.choice(len(low), count, p=areas / areas.sum())
        return low[rows] + rng.random((count, 3)) * sides[rows]

    def _distance(self, points: np.ndarray) -> np.ndarray:
        low, high = self.rectangles()
        outside = np.maximum(np.maximum(low - points[:, None], points[:, None] - high), 0)  # (P, R, 3)
        return np.sqrt((outside**2).sum(axis=2).min(axis=1))


FAMILIES: tuple[type[Surface], ...] = (Torus, Ellipsoid, Knot, Chair)
"""In the order of the classes."""


def draw_surface(label: int, rng: np.random.Generator) -> Surface:
    """A surface of the family number `label`, its sizes uniform between their bounds and its angle on the circle."""
    family = FAMILIES[label]
    return family(rng.uniform(family.LOW, family.HIGH), float(rng.uniform(0, 2 * math.pi)))
