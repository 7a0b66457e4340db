"""Where on the path to train and where to sample.

A *density* turns uniform random numbers into training times: a quantile function, so that randomness is passed in.
A *spacing* places the times that a sampler visits.
Both are functions of a schedule, and any of them works with any schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError


class Timeline(Protocol):
    """What a density or a spacing uses of a `Schedule`."""

    @property
    def t_min(self) -> float: ...
    @property
    def t_max(self) -> float: ...
    def time_at(self, log_snr: Tensor) -> Tensor: ...
    def log_snr_range(self) -> tuple[float, float]: ...


Density = Callable[[Tensor, Timeline], Tensor]
"""(uniforms (B,) in [0, 1), schedule) -> training times (B,) in [t_min, t_max]."""

Spacing = Callable[[int, Timeline], Tensor]
"""(n, schedule) -> n decreasing times from t_max; the clean end t = 0 is appended by `Schedule.times`."""


def uniform_density(uniforms: Tensor, schedule: Timeline) -> Tensor:
    """Times uniform between t_min and t_max."""
    return schedule.t_min + (schedule.t_max - schedule.t_min) * uniforms


def discrete_density(steps: int) -> Density:
    """One of the `steps` discrete times 1/T, 2/T, ..., 1, all equally likely; the last one included.

    Raises:
        PieceError: for fewer steps than 1.
    """
    _require_steps(steps)

    def density(uniforms: Tensor, schedule: Timeline) -> Tensor:
        return (torch.floor(uniforms * steps) + 1).clamp(max=steps) / steps

    return density


def logit_normal_density(mean: float = 0.0, std: float = 1.0) -> Density:
    """sigmoid of a normal variable: most of the effort in the middle (Esser et al. 2024, "SD3", equation 19)."""

    def density(uniforms: Tensor, schedule: Timeline) -> Tensor:
        t = torch.sigmoid(mean + std * _normal_quantile(uniforms))
        return t.clamp(schedule.t_min, schedule.t_max)

    return density


def log_normal_density(mean: float = -1.2, std: float = 1.2) -> Density:
    """log(sigma / alpha) normal with this mean and standard deviation (Karras et al. 2022, "EDM", table 1)."""

    def density(uniforms: Tensor, schedule: Timeline) -> Tensor:
        return schedule.time_at(-2 * (mean + std * _normal_quantile(uniforms)))

    return density


def log_snr_density(uniforms: Tensor, schedule: Timeline) -> Tensor:
    """Uniform in log-SNR; for a variance-exploding path uniform in log sigma (Song & Ermon 2019, section 4)."""
    low, high = schedule.log_snr_range()
    return schedule.time_at(low + (high - low) * uniforms)


def mixed_density(first: Density, second: Density, share: float = 0.5) -> Density:
    """This share of the times by the first density, and the others by the second.

    Raises:
        PieceError: for a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise PieceError(f"the share of the first density must be above 0 and below 1, got {share:g}")

    def density(uniforms: Tensor, schedule: Timeline) -> Tensor:
        # Both parts of [0, 1) are stretched to all of it, so uniforms that are spread evenly stay so in each.
        ours = uniforms < share
        within = torch.where(ours, uniforms / share, (uniforms - share) / (1 - share))
        return torch.where(ours, first(within, schedule), second(within, schedule))

    return density


def on_steps(density: Density, steps: int) -> Density:
    """Each of the density's times moved up to the next of the `steps` discrete times 1/T, 2/T, ..., 1.

    A table of betas or alpha_bar is a schedule at these times, and a loss written for it has been told of no other.

    Raises:
        PieceError: for fewer steps than 1.
    """
    _require_steps(steps)

    def moved(uniforms: Tensor, schedule: Timeline) -> Tensor:
        # A time that is one of them already may have come out a rounding error later.
        return torch.ceil(density(uniforms, schedule) * steps - 1e-9).clamp(1, steps) / steps

    return moved


def _require_steps(steps: int) -> None:
    if steps < 1:
        raise PieceError(f"discrete times need at least 1 step, got {steps}")


def _normal_quantile(uniforms: Tensor) -> Tensor:
    # A uniform of exactly 0 would be -inf; one in 2^-53 of the mass is clipped.
    return torch.special.ndtri(uniforms.double().clamp(1e-16, 1 - 1e-16))


def uniform_spacing(n: int, schedule: Timeline) -> Tensor:
    """Equal steps from t_max to 0. The last time is not below t_min, where the network was never trained.

    This is the "trailing" spacing, which includes the noisiest level (Lin et al. 2024, section 3.3).
    """
    return torch.linspace(schedule.t_max, max(schedule.t_min, schedule.t_max / n), n, dtype=torch.float64)


def log_snr_spacing(n: int, schedule: Timeline) -> Tensor:
    """Equal steps in log-SNR (Lu et al. 2022, "DPM-Solver", section 3.4); geometric for a variance-exploding path."""
    low, high = schedule.log_snr_range()
    return schedule.time_at(torch.linspace(low, high, n, dtype=torch.float64))


def karras_spacing(rho: float = 7.0) -> Spacing:
    """Equal steps in (sigma / alpha)^(1/rho) (Karras et al. 2022, equation 5)."""

    def spacing(n: int, schedule: Timeline) -> Tensor:
        low, high = schedule.log_snr_range()
        noisiest, cleanest = (torch.tensor(-log_snr / 2 / rho, dtype=torch.float64).exp() for log_snr in (low, high))
        root = noisiest + torch.linspace(0, 1, n, dtype=torch.float64) * (cleanest - noisiest)
        return schedule.time_at(-2 * rho * root.log())

    return spacing


def shifted_spacing(shift: float) -> Spacing:
    """Equal steps pushed towards noise by t -> shift t / (1 + (shift - 1) t) (Esser et al. 2024, equation 23).

    The shift is at least 1, where the steps stay equal.
    """
    if shift < 1:
        raise PieceError(f"a shift towards noise must be at least 1, got {shift:g}")

    def spacing(n: int, schedule: Timeline) -> Tensor:
        # Relative to t_max, so that the first time stays there and no two times fall together.
        t = uniform_spacing(n, schedule) / schedule.t_max
        return schedule.t_max * (shift * t / (1 + (shift - 1) * t))

    return spacing


SPACINGS: dict[str, Spacing] = {
    "uniform": uniform_spacing,
    "log_snr": log_snr_spacing,
    "karras": karras_spacing(),
}
"""The spacings that need no argument, by name."""
