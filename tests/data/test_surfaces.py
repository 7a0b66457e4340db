"""Surfaces drawn by formula against numerical projection and integration, and how clouds are normalised."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from scipy.optimize import minimize
from scipy.stats import kstest

from diffusion_lab.data import load
from diffusion_lab.data.clouds import normalise, to_units
from diffusion_lab.data.surfaces import FAMILIES, Chair, Ellipsoid, Knot, Surface, Torus, draw_surface, trefoil
from diffusion_lab.errors import DataError

TURN = 2 * math.pi


def position(surface: Surface, a: float, b: float) -> np.ndarray:
    """The point of a torus, ellipsoid or knot at two angles, by the textbook's parametrisation and not by a frame."""
    first, second = surface.sizes[:2]
    if isinstance(surface, Torus):
        ring = first + second * math.cos(b)
        point = [ring * math.cos(a), second * math.sin(b), first + second + ring * math.sin(a)]
    elif isinstance(surface, Ellipsoid):
        x, y, z = surface.sizes
        point = [x * math.cos(a) * math.sin(b), y * math.sin(a) * math.sin(b), z + z * math.cos(b)]
    else:
        curve, along, _ = (first * values for values in trefoil(np.array(a)))
        along = along / np.linalg.norm(along)
        side = np.cross(along, [0.0, 0.0, 1.0])
        side = side / np.linalg.norm(side)
        ring = math.cos(b) * side + math.sin(b) * np.cross(along, side)
        point = curve + second * ring + [0.0, 0.0, first / 3 + second]
    c, s = math.cos(surface.turn), math.sin(surface.turn)
    return np.array([c * point[0] - s * point[1], s * point[0] + c * point[1], point[2]])


def near(surface: Surface, count: int, seed: int = 0) -> np.ndarray:
    """Points inside and outside, some near the surface and some far from it."""
    rng = np.random.default_rng(seed)
    return surface.sample(count, rng) + rng.normal(0, 1, (count, 3)) * np.geomspace(0.02, 1, count)[:, None]


@pytest.mark.parametrize("family", [Torus, Ellipsoid, Knot])
def test_the_distance_is_what_an_independent_search_finds(family):
    surface = draw_surface(FAMILIES.index(family), np.random.default_rng(1))
    points = near(surface, 8)
    grid = [(a, b) for a in np.linspace(0, TURN, 48, endpoint=False) for b in np.linspace(0, TURN, 12, endpoint=False)]
    places = np.stack([position(surface, *angles) for angles in grid])
    for point, said in zip(points, surface.distance(points), strict=True):
        best = np.argsort(np.linalg.norm(places - point, axis=1))[:2]
        found = min(
            math.sqrt(
                minimize(
                    lambda angles, point=point: ((position(surface, *angles) - point) ** 2).sum(), grid[i], tol=1e-14
                ).fun
            )
            for i in best
        )
        assert said == pytest.approx(found, abs=1e-5)


def test_the_distance_to_a_chair_is_that_to_its_own_outside():
    """Against the boxes: outside, the nearest box; inside, the nearest of many points of the outside."""
    chair = Chair(np.array([0.9, 0.8, 0.7, 0.8, 0.12]))
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.7, -0.7, -0.3], [0.7, 0.7, 1.9], (300, 3))
    boxes = chair.boxes()
    beyond = np.maximum(np.maximum(boxes[:, 0] - points[:, None], points[:, None] - boxes[:, 1]), 0)
    to_boxes = np.linalg.norm(beyond, axis=2).min(axis=1)
    outside = to_boxes > 0
    assert np.abs(chair.distance(points) - to_boxes)[outside].max() < 1e-12
    inside = rng.uniform(boxes[:, 0] + 0.01, boxes[:, 1] - 0.01, (20, 6, 3)).reshape(-1, 3)
    cloud = chair.sample(20_000, rng)
    gap = np.linalg.norm(cloud[None] - inside[:, None], axis=2).min(axis=1) - chair.distance(inside)
    assert gap.min() > -1e-12 and gap.max() < 0.03
    # The whole outside of what touches: a leg's top and the seat above it are one body.
    area = sum(2 * (a * b + b * c + c * a) for a, b, c in boxes[:, 1] - boxes[:, 0])
    low, high = chair.rectangles()
    sides = high - low
    hidden = 2 * (4 * 0.12**2 + 0.9 * 0.12)
    assert np.where(sides == 0, 1, sides).prod(axis=1).sum() == pytest.approx(area - hidden)


@pytest.mark.parametrize("family", [Torus, Ellipsoid, Knot])
def test_points_are_uniform_over_the_area(family):
    """The share of area up to each angle, integrated numerically from the parametrisation, against the points'."""
    surface = family(np.array(family.LOW) * 0.7 + np.array(family.HIGH) * 0.3 + (0, 0.1, 0.3)[: len(family.LOW)])
    if family is Knot:
        surface = Knot(np.array([0.8, 0.14]))
    points = surface.sample(4000, np.random.default_rng(0))
    assert surface.distance(points).max() < 1e-9

    def element(b: float, a: float) -> float:
        step = 1e-5
        along = (position(surface, a + step, b) - position(surface, a - step, b)) / (2 * step)
        around = (position(surface, a, b + step) - position(surface, a, b - step)) / (2 * step)
        return float(np.linalg.norm(np.cross(along, around)))

    top = math.pi if family is Ellipsoid else TURN
    angles = np.linspace(0, TURN, 61)
    rows = [(a, b) for a in (angles[1:] + angles[:-1]) / 2 for b in (np.arange(60) + 0.5) * top / 60]
    areas = np.array([element(b, a) for a, b in rows])
    places = np.stack([position(surface, *row) for row in rows])
    order = np.argsort(places[:, 2])
    heights, share = places[order, 2], areas[order].cumsum() / areas.sum()
    # Along a slanting axis too, in which nothing is symmetric.
    slant = np.array([0.6, 0.64, 0.48])
    other = np.argsort(places @ slant)
    for values, at, below in (
        (points[:, 2], heights, share),
        (points @ slant, (places @ slant)[other], areas[other].cumsum() / areas.sum()),
    ):
        assert kstest(values, lambda x, at=at, below=below: np.interp(x, at, below)).pvalue > 1e-3
    if family is Torus:
        total = dblquad(element, 0, TURN, 0, TURN, epsabs=1e-3)[0]
        assert total == pytest.approx(4 * math.pi**2 * surface.sizes.prod(), rel=1e-4)


def test_no_tube_touches_itself():
    t = np.linspace(0, TURN, 1500, endpoint=False)
    curve, first, second = trefoil(t)
    curvature = np.linalg.norm(np.cross(first, second), axis=1) / np.linalg.norm(first, axis=1) ** 3
    apart = np.abs(np.arange(1500)[:, None] - np.arange(1500))
    far = np.minimum(apart, 1500 - apart) > 200
    strands = np.linalg.norm(curve[:, None] - curve, axis=2)[far].min()
    thickest = Knot.HIGH[1] / Knot.LOW[0]  # for a radius of 1
    assert thickest < strands / 2 and thickest < 1 / curvature.max()


def test_every_surface_stands_on_the_floor_and_is_known():
    data = load("points", source="bundled", seed=3)
    assert data.classes == ("torus", "ellipsoid", "knot", "chair")
    for part, again in (("train", None), ("test", data.info["test_again"])):
        clouds = data.train if part == "train" else data.test
        for x in (clouds,) if again is None else (clouds, again):
            units = to_units(x, data.info[f"{part}_centre"], data.info[f"{part}_scale"])
            off = [
                s.distance(cloud) for s, cloud in zip(data.info[f"{part}_surfaces"][:40], units.numpy(), strict=False)
            ]
            assert np.max(off) < 1e-6 and units[..., 2].min() > -1e-6
    assert data.train.square().mean() == pytest.approx(1, abs=1e-3)
    assert not torch.equal(data.test, data.info["test_again"])
    assert torch.equal(load("points", source="bundled", seed=3).train, data.train)


def test_each_normalisation_loses_what_it_says():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    sizes = torch.rand(40, 1, 1, generator=generator) * torch.tensor([1.0, 10.0])[labels][:, None, None] + 0.5
    clouds = sizes * torch.randn(40, 30, 3, generator=generator) + 5

    def spread(x):
        return x.double().sub(x.double().mean(1, keepdim=True)).square().mean((1, 2)).sqrt()

    before = spread(clouds)
    for how in ("all", "class", "shape"):
        parts = normalise(clouds, clouds, clouds, labels, labels, how)
        ratio = spread(parts["train"]) / before
        alike = {"all": [ratio], "class": [ratio[labels == 0], ratio[labels == 1]], "shape": [spread(parts["train"])]}
        assert all((group / group[0] - 1).abs().max() < 1e-5 for group in alike[how])
        assert torch.equal(parts["train"], parts["test_again"])
        back = to_units(parts["test"], parts["test_centre"], parts["test_scale"])
        assert (back - clouds).abs().max() < 1e-4
        if how != "shape":
            held = normalise(clouds, 3 * clouds, clouds, labels, labels, how)  # the statistics are the training set's
            assert torch.equal(held["test_scale"], parts["test_scale"])
    with pytest.raises(DataError, match="'shapes'; accepted are all, class, shape"):
        normalise(clouds, clouds, clouds, labels, labels, "shapes")
    with pytest.raises(DataError, match="1 of the clouds to train have all their points in one place"):
        normalise(torch.cat([clouds[:39], torch.ones(1, 30, 3)]), clouds, clouds, labels, labels, "shape")
