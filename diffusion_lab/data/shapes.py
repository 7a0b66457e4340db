"""Generated images: ten coloured shapes on a soft ground, drawn from signed distances and so free of jagged edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset

SIDE = 32
TRAIN, TEST = 8_000, 2_000
CHUNK = 500  # images drawn at once: 500 x 32 x 32 floats stay in the processor's cache


def _box(x: Tensor, y: Tensor, width: float, height: float) -> Tensor:
    dx, dy = x.abs() - width, y.abs() - height
    return torch.hypot(dx.clamp(min=0), dy.clamp(min=0)) + torch.maximum(dx, dy).clamp(max=0)


def _polygon(x: Tensor, y: Tensor, corners: list[tuple[float, float]]) -> Tensor:
    """Signed distance to a simple polygon: to the nearest edge, negative where a ray crosses an odd number."""
    distance = torch.full_like(x, math.inf)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = bx - ax, by - ay
        along = (((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        distance = torch.minimum(distance, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        crosses = (y < ay) != (y < by)
        inside ^= crosses & ((x - ax) * ey * math.copysign(1, ey) < (y - ay) * ex * math.copysign(1, ey))
    return torch.where(inside, -1.0, 1.0) * distance.sqrt()


def _around(radii: list[float]) -> list[tuple[float, float]]:
    """Corners at equal angles from the top, with these radii in turn."""
    turn = 2 * math.pi / len(radii)
    return [(radius * math.sin(turn * k), radius * math.cos(turn * k)) for k, radius in enumerate(radii)]


def _disc(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.9


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(torch.hypot(x, y) - 1, 0.8 - torch.hypot(x - 0.5, y))


def _heart(x: Tensor, y: Tensor) -> Tensor:
    """Two discs on the upper sides of a square that stands on its corner."""
    u, v = (x + y + 0.35) / math.sqrt(2), (y - x + 0.35) / math.sqrt(2)
    lobes = torch.minimum(torch.hypot(u - 0.55, v), torch.hypot(u, v - 0.55)) - 0.55
    return torch.minimum(lobes, _box(u, v, 0.55, 0.55))


# Signed distance (negative inside) of each class in the frame where the shape has a radius of about 1 and y points up.
SHAPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "disc": _disc,
    "ring": lambda x, y: (torch.hypot(x, y) - 0.72).abs() - 0.24,
    "square": lambda x, y: _box(x, y, 0.78, 0.78),
    "bar": lambda x, y: _box(x, y, 1.05, 0.22) - 0.08,
    "triangle": lambda x, y: _polygon(x, y + 0.2, _around([1.15] * 3)),
    "cross": lambda x, y: torch.minimum(_box(x, y, 1, 0.32), _box(x, y, 0.32, 1)),
    "star": lambda x, y: _polygon(x, y, _around([1.15, 0.46] * 5)),
    "heart": _heart,
    "crescent": _crescent,
    "arrow": lambda x, y: torch.minimum(
        _polygon(x, y, [(1.1, 0), (0.1, 0.85), (0.1, -0.85)]), _box(x + 0.5, y, 0.62, 0.28)
    ),
}


def load_shapes(seed: int = 0) -> Dataset:
    """8,000 + 2,000 images (N, 3, 32, 32) in [-1, 1], every class equally often; the seed decides every pixel."""
    generator = torch.Generator().manual_seed(seed)
    names = tuple(SHAPES)
    images = torch.empty(TRAIN + TEST, 3, SIDE, SIDE)
    per_class = (TRAIN + TEST) // len(names)
    for label, distance in enumerate(SHAPES.values()):
        for start in range(label * per_class, (label + 1) * per_class, CHUNK):
            images[start : start + CHUNK] = _draw(distance, min(CHUNK, per_class), generator)
    labels = torch.arange(len(names)).repeat_interleave(per_class)
    # The first TRAIN / classes of each class train, the rest test; then the order is mixed.
    train = (torch.arange(TRAIN + TEST) % per_class) < TRAIN // len(names)
    order = torch.randperm(TRAIN, generator=generator)
    return Dataset(
        name="generated shapes",
        source="bundled",
        kind="image",
        train=images[train][order],
        test=images[~train],
        train_labels=labels[train][order],
        test_labels=labels[~train],
        classes=names,
    )


def _draw(distance: Callable[[Tensor, Tensor], Tensor], count: int, generator: torch.Generator) -> Tensor:
    """`count` images (count, 3, 32, 32) of one shape: place, size, angle, colours and light are random."""

    def uniform(low: float, high: float) -> Tensor:  # (count, 1, 1), ready to broadcast over pixels
        return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    pixel_y, pixel_x = torch.meshgrid(-axis, axis, indexing="ij")
    size = uniform(0.38, 0.62)
    x, y = pixel_x - uniform(-0.3, 0.3), pixel_y - uniform(-0.3, 0.3)  # (count, 32, 32)
    angle = uniform(-0.5, 0.5)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    x, y = cos * x + sin * y, cos * y - sin * x
    # One pixel is 2 / 32 wide: coverage falls from 1 to 0 over one pixel around the outline.
    coverage = (0.5 - distance(x, y) * size * SIDE / 2).clamp(0, 1)
    shadow = (0.5 - distance(x - 0.14, y + 0.2) * size * SIDE / 8).clamp(0, 1) * 0.35

    # A deep shape on a light ground or a bright one on a dark ground, so that it always stands out.
    light_ground = uniform(0, 1) < 0.5
    fill_value = torch.where(light_ground, uniform(0.35, 0.75), uniform(0.85, 1.0))
    ground_value = torch.where(light_ground, uniform(0.85, 1.0), uniform(0.12, 0.38))
    ground_saturation = torch.where(light_ground, uniform(0.05, 0.3), uniform(0.3, 0.8))
    direction = uniform(0, 2 * math.pi)
    slope = torch.cos(direction) * pixel_x + torch.sin(direction) * pixel_y  # (count, 32, 32), about -1.4..1.4
    ground = _rgb(uniform(0, 1) + 0.05 * slope, ground_saturation, ground_value * (1 + 0.14 * slope))
    fill = _rgb(uniform(0, 1), uniform(0.6, 1.0), fill_value * (1 + 0.12 * (y - x).clamp(-1, 1)))
    ground = ground * (1 - shadow[:, None])
    images = ground + coverage[:, None] * (fill - ground)  # (count, 3, 32, 32)
    return images.clamp(0, 1) * 2 - 1


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Hue (in turns), saturation and value, broadcast to (count, 32, 32), as colours (count, 3, 32, 32)."""
    hue, saturation, value = torch.broadcast_tensors(hue, saturation, value)
    sector = torch.stack([(hue * 6 + offset) % 6 for offset in (5, 3, 1)], dim=1)
    ramp = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * ramp)
