"""A shipped network as a script: its weights, its path and target, and the exact truth beside it, for the browser."""

from __future__ import annotations

import base64
import json
from typing import Any

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch
from torch import Tensor, nn

from diffusion_lab import open_checkpoint
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import FiniteSet, Gaussian, Mixture
from diffusion_lab.networks import MLP, UNet2d
from diffusion_lab.networks.blocks import Network
from diffusion_lab.schedules import Schedule
from diffusion_lab.times import SPACINGS

POINTS = ("normal_1d", "normal_2d", "mixture", "normal_nd", "spiral")
"""The chapters whose data are points, in the book's order."""
DIGITS = "mnist"
"""The chapter whose network paints the digits."""
THINNED = 4
"""Every fourth point of the spiral's exact set still lies within two noise widths of its neighbours."""


def script(name: str) -> str:
    """The text of the file that hands the shipped network of one chapter to `book/assets/playground/networks.js`.

    Raises:
        PieceError: for a network or a truth that the page has no code for.
    """
    return f"lab.arrived({json.dumps(record(name), separators=(',', ':'))});\n"


def record(name: str) -> dict[str, Any]:
    """What the page knows about a network: plain numbers and texts, and the weights as one base64 text."""
    experiment = open_checkpoint(name=name, device="cpu")
    network, pieces = experiment.network, experiment.pieces
    plain = isinstance(network, MLP) and not network.frequencies
    if not (plain or is_simple_unet(network)) or network.self_condition:
        raise PieceError(f"the page has no code for this network: {network}")
    precision, weights = packed(list(network.state_dict().values()))
    return {
        "name": name,
        "title": experiment.chapter.title,
        "shape": list(network.shape),
        "kind": type(network).__name__,
        "frequencies": network.embedding.frequencies,
        "time_scale": network.embedding.scale,
        "target": pieces.target.name,
        "schedule": settings_of(pieces.schedule),
        "truth": parts_of(experiment.exact) if name in POINTS else None,
        "patch": network.patch[0] if isinstance(network, UNet2d) else None,
        "layers": {layer: list(tensor.shape) for layer, tensor in network.state_dict().items()},
        "precision": precision,
        "weights": weights,
    }


def is_simple_unet(network: Network) -> bool:
    """Whether it is a U-Net for square images of one channel with group norms of 16 channels, as unet.js has them."""
    if not isinstance(network, UNet2d) or network.shape[0] != 1 or network.shape[1] != network.shape[2]:
        return False
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    return all(norm.num_channels == 16 * norm.num_groups for norm in norms)


def packed(tensors: list[Tensor]) -> tuple[str, str]:
    """The format and the base64 text of all numbers in a row, little-endian.

    Half precision only where it loses nothing: rounding the spiral's network to it moves answers by 0.007, and they
    have to agree with PyTorch's to 1e-4.
    """
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    half = flat.half()
    exact = bool((half.float() == flat).all())
    values = half.numpy().astype("<f2") if exact else flat.float().numpy().astype("<f4")
    return "float16" if exact else "float32", base64.b64encode(values.tobytes()).decode()


def settings_of(schedule: Schedule) -> dict[str, Any]:
    """The schedule by name, with the numbers that its formula needs, and the spacing that it samples with."""
    times = schedule.times(9)
    own = next((name for name, spacing in SPACINGS.items() if torch.equal(times[:-1], spacing(9, schedule))), None)
    if own is None:
        raise PieceError(f"the page has no code for the spacing of schedule '{schedule.name}'")
    return {
        "name": schedule.name,
        "t_min": schedule.t_min,
        "t_max": schedule.t_max,
        "sigma_max": float(schedule.at(torch.tensor(schedule.t_max)).sigma),
        "spacing": own,
    }


def parts_of(exact: Gaussian | Mixture | FiniteSet) -> list[dict[str, Any]]:
    """The exact distribution as a mixture of normals: weight, mean, axes (a row each), variances along them."""
    if isinstance(exact, Gaussian):
        return [_part(1.0, exact)]
    if isinstance(exact, Mixture):
        return [_part(weight, part) for weight, part in zip(exact.weights.tolist(), exact.parts, strict=True)]
    if isinstance(exact, FiniteSet) and exact.points.ndim == 2 and exact.std:
        points = exact.points[THINNED // 2 :: THINNED]
        cov = exact.std**2 * torch.eye(points.shape[1])
        return [_part(1 / len(points), Gaussian(point, cov)) for point in points]
    raise PieceError(f"the page has no code for this truth: {type(exact).__name__}")


def _part(weight: float, normal: Gaussian) -> dict[str, Any]:
    def short(values: Tensor) -> list:
        return json.loads(json.dumps(values.double().tolist()), parse_float=lambda text: round(float(text), 8))

    return {
        "weight": round(weight, 8),
        "mean": short(normal.mean),
        "axes": short(normal.axes.T),
        "variances": short(normal.variances),
    }
