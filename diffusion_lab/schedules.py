"""Schedules: how much data and how much noise there is at each time of the path.

A schedule is a function t -> (alpha, sigma) on [0, 1] with alpha(0) = 1 and sigma(0) = 0, together with the part
[t_min, t_max] of it that a network is trained on. The clean end t = 0 belongs to every path: samplers finish there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffusion_lab import betas as discrete
from diffusion_lab import times as placing
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, expand

Path = Callable[[Tensor], tuple[Tensor, Tensor]]
"""t (any shape, float64, in [0, 1]) -> alpha and sigma of the same shape; log-SNR must fall as t grows.

It may have a method `time_at`, log-SNR -> t: `Schedule.time_at` then need not search.
"""


@dataclass(frozen=True)
class Schedule:
    """A path, the part of it that is trained, and how training and sampling times are placed on it."""

    name: str
    path: Path
    t_min: float = 1e-3
    t_max: float = 1.0
    spacing: placing.Spacing = placing.uniform_spacing
    density: placing.Density = placing.uniform_density

    def at(self, t: Tensor, like: Tensor | None = None) -> Level:
        """The level at times `t` of shape (B,) or (); computed in float64, then given the dtype and device of `like`.

        With `like` of shape (B, *S), a (B,) time gives fields of shape (B, 1, ..., 1).
        """
        # Each output depends on its own t alone, so the gradient of the sum holds the rate at every t, for any path.
        with torch.inference_mode(False), torch.enable_grad():
            t = t.detach().to("cpu", torch.float64)
            variable = t.clone().requires_grad_()
            alpha, sigma = self.path(variable)
            dalpha, dsigma = (_rate(output, variable) for output in (alpha, sigma))
        level = Level(t, alpha.detach(), sigma.detach(), dalpha, dsigma)
        if like is None:
            return level
        return Level(*(expand(field.to(like.device, like.dtype), like) for field in level))

    def times(self, steps: int) -> Tensor:
        """The (steps + 1,) decreasing times that a sampler of `steps` steps visits, from t_max to the clean end 0."""
        if steps < 1:
            raise PieceError(f"a sampler needs at least 1 step, got {steps}")
        return torch.cat([self.spacing(steps, self), torch.zeros(1, dtype=torch.float64)])

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha^2 / sigma^2) at `t`, in nats, float64."""
        alpha, sigma = self.path(torch.as_tensor(t, dtype=torch.float64))
        return 2 * (torch.log(alpha) - torch.log(sigma))

    def log_snr_range(self) -> tuple[float, float]:
        """The lowest (at t_max) and highest (at t_min) log-SNR that is trained; a zero SNR at the end counts as -30."""
        return max(float(self.log_snr(self.t_max)), -30.0), float(self.log_snr(self.t_min))

    def left_at_end(self) -> float:
        """The share of the variance at the noisiest level that is still data, for data of variance 1; in [0, 1].

        On a variance-preserving path it is the last alpha_bar. Samples start from noise alone, as if it were 0.
        """
        level = self.at(torch.tensor(self.t_max))
        return float(level.alpha**2 / (level.alpha**2 + level.sigma**2))

    def time_at(self, log_snr: Tensor) -> Tensor:
        """The time in [t_min, t_max] whose log-SNR is `log_snr`, clipped to the ends.

        By the path's own `time_at` where it has one, else by bisection.
        """
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        found = getattr(self.path, "time_at", self._bisect)(log_snr)
        # The ends exactly: a grid that should start at t_max must not start a rounding error before it.
        start, end = self.log_snr(self.t_max), self.log_snr(self.t_min)
        found = torch.where(log_snr <= start + 1e-12 * abs(start), self.t_max, found)
        return torch.where(log_snr >= end - 1e-12 * abs(end), self.t_min, found)

    def _bisect(self, log_snr: Tensor) -> Tensor:
        low = torch.full_like(log_snr, self.t_min)
        high = torch.full_like(log_snr, self.t_max)
        for _ in range(60):
            middle = (low + high) / 2
            cleaner = self.log_snr(middle) > log_snr
            low, high = torch.where(cleaner, middle, low), torch.where(cleaner, high, middle)
        return (low + high) / 2

    def limit_log_snr(self, low: float, high: float) -> Schedule:
        """Train and sample only where log-SNR is between `low` and `high`.

        A floor matters: with a cosine schedule and an eps target, x0 = (x - sigma eps) / alpha divides by alpha -> 0.
        """
        if not low < high:
            raise PieceError(f"a log-SNR range needs low < high, got {low:g} and {high:g}")
        whole = replace(self, t_min=1e-12, t_max=1.0)
        t_max, t_min = (float(whole.time_at(torch.tensor(value))) for value in (low, high))
        return replace(self, t_min=t_min, t_max=t_max)


def _rate(output: Tensor, t: Tensor) -> Tensor:
    if not output.requires_grad:  # a constant
        return torch.zeros_like(t)
    (rate,) = torch.autograd.grad(output.sum(), t, retain_graph=True, allow_unused=True)
    return torch.zeros_like(t) if rate is None else rate


def from_alpha_bar(alpha_bar: Tensor, name: str = "alpha_bar") -> Schedule:
    """A schedule through discrete values: alpha_bar[i] is reached at t = (i + 1) / T; alpha is linear in between.

    Args:
        alpha_bar: shape (T,), strictly decreasing, inside [0, 1).

    Raises:
        PieceError: where the values do not decrease or leave the interval.
    """
    alpha_bar = torch.as_tensor(alpha_bar).detach().to("cpu", torch.float64)
    if alpha_bar.ndim != 1 or len(alpha_bar) < 1:
        raise PieceError(f"alpha_bar must have shape (T,), got {tuple(alpha_bar.shape)}")
    if not (alpha_bar.isfinite().all() and alpha_bar[0] < 1 and alpha_bar[-1] >= 0 and (alpha_bar.diff() < 0).all()):
        raise PieceError(
            "alpha_bar must decrease strictly inside [0, 1): it is a cumulative product of 1 - beta; "
            f"got {len(alpha_bar)} values from {alpha_bar[0]:.4g} to {alpha_bar[-1]:.4g}"
        )
    T = len(alpha_bar)
    with torch.inference_mode(False):  # a tensor made in inference mode could not be differentiated through later
        alphas = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar.sqrt()])  # (T + 1,)
    return Schedule(name, _Table(alphas), t_min=1 / T, density=placing.discrete_density(T))


@dataclass(frozen=True)
class _Table:
    """alpha by straight lines between T + 1 discrete values, the first of them 1: a `Path`, and its inverse."""

    alphas: Tensor

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        T = len(self.alphas) - 1
        position = t * T
        left = position.detach().floor().long().clamp(0, T - 1)
        weight = position - left
        alpha = (1 - weight) * self.alphas[left] + weight * self.alphas[left + 1]
        return alpha, torch.sqrt((1 - alpha) * (1 + alpha))

    def time_at(self, log_snr: Tensor) -> Tensor:
        alpha = torch.sigmoid(log_snr).sqrt()
        T = len(self.alphas) - 1
        left = (torch.searchsorted(-self.alphas, -alpha) - 1).clamp(0, T - 1)
        above, below = self.alphas[left], self.alphas[left + 1]
        return (left + (above - alpha) / (above - below)) / T


def from_betas(betas: Tensor, name: str = "betas") -> Schedule:
    """A schedule through discrete betas of shape (T,), each in (0, 1) (the last one may be 1)."""
    betas = torch.as_tensor(betas)
    if betas.ndim != 1 or not ((betas > 0) & (betas <= 1)).all():
        raise PieceError(f"betas must have shape (T,) with every value in (0, 1], got shape {tuple(betas.shape)}")
    return from_alpha_bar(discrete.alpha_bar_from_betas(betas), name)


def linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """The linear betas of DDPM (Ho et al. 2020, section 4)."""
    return from_betas(discrete.linear_betas(T, beta_start, beta_end), "linear")


def zero_terminal_linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """Linear betas whose last level holds no data at all (Lin et al. 2024, algorithm 1). Not for an eps target."""
    alpha_bar = discrete.alpha_bar_from_betas(discrete.linear_betas(T, beta_start, beta_end))
    return from_alpha_bar(discrete.rescale_zero_terminal_snr(alpha_bar), "zero_terminal_linear")


def square_root(T: int = 1000, s: float = 1e-4) -> Schedule:
    """The square-root schedule for text (Li et al. 2022, appendix A)."""
    return from_alpha_bar(discrete.sqrt_alpha_bar(T, s), "square_root")


def cosine(log_snr_min: float = -10.0, log_snr_max: float = 12.0) -> Schedule:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2) (Nichol & Dhariwal 2021, without the offset; Salimans & Ho 2022)."""

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    return Schedule("cosine", path).limit_log_snr(log_snr_min, log_snr_max)


def sigmoid(start: float = -3.0, end: float = 3.0, temperature: float = 1.0) -> Schedule:
    """alpha_bar falls along a logistic curve from 1 to 0 (Jabri et al. 2022, section 3; Chen 2023, algorithm 1)."""
    width = (end - start) / (2 * temperature)

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        # sigmoid(b) - sigmoid(a) = sinh((b - a) / 2) / (2 cosh(a / 2) cosh(b / 2)), which is exactly 0 at t = 0.
        rise = torch.sinh(t * width) / torch.cosh(t * width + start / (2 * temperature))
        noise = rise / (math.sinh(width) / math.cosh(end / (2 * temperature)))
        return torch.sqrt((1 - noise).clamp(min=0)), torch.sqrt(noise.clamp(min=0))

    return Schedule("sigmoid", path).limit_log_snr(-10.0, 12.0)


def flow(shift: float = 1.0) -> Schedule:
    """The straight path alpha = 1 - t, sigma = t (Lipman et al. 2023; Liu et al. 2023), pushed to noise by `shift`.

    A shift of s moves log-SNR by -2 log s (Esser et al. 2024, section 5.3.2).
    """

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        t = shift * t / (1 + (shift - 1) * t)
        return 1 - t, t

    return Schedule("flow", path)


def masking() -> Schedule:
    """alpha_bar = 1 - t: at time t a share t of the tokens is disturbed (Austin et al. 2021; Sahoo et al. 2024)."""

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sqrt(1 - t), torch.sqrt(t)

    # At t = 1 exactly, d alpha / dt is infinite; the last millionth of the path holds nothing.
    return Schedule("masking", path, t_max=1 - 1e-6)


def karras(sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Schedule:
    """alpha = 1 and sigma = sigma_max t, so that steps in t are steps in sigma; Karras spacing (EDM, table 1)."""
    return _variance_exploding(
        "karras", sigma_min, sigma_max, placing.karras_spacing(rho), placing.log_normal_density()
    )


def geometric(sigma_min: float = 0.01, sigma_max: float = 10.0) -> Schedule:
    """alpha = 1, with sigmas trained and sampled on a geometric scale (Song & Ermon 2019, section 4.3)."""
    return _variance_exploding("geometric", sigma_min, sigma_max, placing.log_snr_spacing, placing.log_snr_density)


@dataclass(frozen=True)
class _Exploding:
    """alpha = 1 and sigma = sigma_max t: a `Path` that knows its inverse, which each batch of training asks for."""

    sigma_max: float

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_max * t

    def time_at(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-log_snr / 2) / self.sigma_max


def _variance_exploding(name, sigma_min, sigma_max, spacing, density) -> Schedule:
    if not 0 < sigma_min < sigma_max:
        raise PieceError(f"{name} needs 0 < sigma_min < sigma_max, got {sigma_min:g} and {sigma_max:g}")
    return Schedule(name, _Exploding(sigma_max), t_min=sigma_min / sigma_max, spacing=spacing, density=density)


def shift_log_snr(schedule: Schedule, shift: float) -> Schedule:
    """The same schedule with log-SNR moved by `shift` nats, on a variance-preserving path.

    More samples a signal average the noise away, so a longer one needs a lower log-SNR: log(L_ref / L) for a series of
    length L, 2 log(side_ref / side) for an image (Hoogeboom et al. 2023, "simple diffusion", equation 4).
    """

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.path(t)
        # sigmoid(log_snr + shift) written without the logarithm, so that both ends stay finite.
        scale = math.exp(shift)
        total = scale * alpha**2 + sigma**2
        return alpha * torch.sqrt(scale / total), sigma / torch.sqrt(total)

    return replace(schedule, name=f"{schedule.name} shifted by {shift:+.2f}", path=path)


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "linear": linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "flow": flow,
    "karras": karras,
    "geometric": geometric,
    "zero_terminal_linear": zero_terminal_linear,
    "square_root": square_root,
    "masking": masking,
}
