"""Targets: what the network is asked to say about a noisy x.

Every target is one row of a 2 x 2 system: y = c x0 + d eps. Together with x = alpha x0 + sigma eps, solving it turns
any network output into the pair (x0, eps) that samplers use. The determinant alpha d - sigma c says where a target is
unstable: where it vanishes, the output says nothing that x does not say already.

    target    c        d         determinant      source
    eps       0        1         alpha            Ho et al. 2020, equation 14
    x0        1        0         -sigma           Ho et al. 2020, section 3.2
    v         -sigma   alpha     alpha^2+sigma^2  Salimans & Ho 2022, section 4
    flow      alpha'   sigma'    the path's own   Lipman et al. 2023, equation 14
    score     0        -1        -alpha           Vincent 2011; the output is sigma times the score
    edm       see `edm`                           Karras et al. 2022, equation 7
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, Prediction

Row = Callable[[Level], tuple[Tensor, Tensor]]
"""Level -> (c, d), each with the shape of the level's fields."""


def plain_input(x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """The network sees x itself and the time t."""
    return x, level.t


def scaled_input(sigma_data: float) -> Callable[[Tensor, Level], tuple[Tensor, Tensor]]:
    """The network sees x at unit variance and log(sigma / alpha) / 4 (c_in and c_noise of Karras et al. 2022)."""

    def network_input(x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        std = torch.sqrt((level.alpha * sigma_data) ** 2 + level.sigma**2)
        return x / std, (torch.log(level.sigma / level.alpha) / 4).clamp(-4, 4)

    return network_input


@dataclass(frozen=True)
class Target:
    """A row y = c x0 + d eps, and what the network is given to find it from."""

    name: str
    row: Row
    network_input: Callable[[Tensor, Level], tuple[Tensor, Tensor]] = plain_input

    def of(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """What a perfect network would output if it knew x0 and eps; shape of x0."""
        c, d = self.row(level)
        return c * x0 + d * eps

    def determinant(self, level: Level) -> Tensor:
        """alpha d - sigma c, with the shape of the level's fields."""
        c, d = self.row(level)
        return level.alpha * d - level.sigma * c

    def solve(self, output: Tensor, x: Tensor, level: Level) -> Prediction:
        """The (x0, eps) that agree with both the network's output and x."""
        c, d = self.row(level)
        determinant = level.alpha * d - level.sigma * c
        # The coefficients are divided first: they are one number a sample, and x is many.
        return Prediction(
            x0=d / determinant * x - level.sigma / determinant * output,
            eps=level.alpha / determinant * output - c / determinant * x,
        )

    def error_scale(self, level: Level) -> Tensor:
        """How a squared error of x0 shows in this target: (determinant / sigma)^2.

        Given x, eps = (x - alpha x0) / sigma, so y - y' = -(determinant / sigma) (x0 - x0').
        """
        return (self.determinant(level) / level.sigma) ** 2

    def evaluate(self, network: Callable[..., Tensor], x: Tensor, level: Level, cond: dict | None = None) -> Tensor:
        """The raw output of `network` at x, with the input that this target prescribes."""
        inputs, time = self.network_input(x, level)
        return network(inputs, time.flatten().expand(len(x)), **(cond or {}))


def _zeros(level: Level) -> Tensor:
    return torch.zeros_like(level.alpha)


def _ones(level: Level) -> Tensor:
    return torch.ones_like(level.alpha)


eps = Target("eps", lambda level: (_zeros(level), _ones(level)))
x0 = Target("x0", lambda level: (_ones(level), _zeros(level)))
v = Target("v", lambda level: (-level.sigma, level.alpha))
flow = Target("flow", lambda level: (level.dalpha, level.dsigma))
score = Target("score", lambda level: (_zeros(level), -_ones(level)), scaled_input(1.0))


def edm_preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in and c_noise for alpha = 1, each shaped like `sigma` (Karras et al. 2022, table 1).

    The denoiser is D(x) = c_skip x + c_out F(c_in x, c_noise).
    """
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def edm(sigma_data: float = 1.0) -> Target:
    """The network F of EDM, on any path: x / alpha = x0 + (sigma / alpha) eps is the path that EDM is written for.

    F = (x0 - c_skip x / alpha) / c_out. With sigma_data = 1 on a variance-preserving path this is -v: the
    preconditioning of EDM and the v of progressive distillation are one idea.
    """

    def row(level: Level) -> tuple[Tensor, Tensor]:
        std = torch.sqrt((level.alpha * sigma_data) ** 2 + level.sigma**2)
        return level.sigma / (sigma_data * std), -level.alpha * sigma_data / std

    return Target("edm", row, scaled_input(sigma_data))


TARGETS: dict[str, Target] = {"eps": eps, "x0": x0, "v": v, "flow": flow, "score": score, "edm": edm()}


def convert(prediction: Tensor, x: Tensor, level: Level, source: Target, target: Target) -> Tensor:
    """Turn an output for the target `source` into the output for `target` at the same x and level."""
    solved = source.solve(prediction, x, level)
    return target.of(solved.x0, solved.eps, level)


def require_stable(target: Target, schedule) -> None:
    """Refuse a target that cannot be solved for x0 and eps somewhere on the schedule.

    Raises:
        PieceError: for eps or score on a schedule that ends in pure noise, where x0 = (x - sigma eps) / alpha is 0 / 0.
    """
    t = torch.linspace(schedule.t_min, schedule.t_max, 101, dtype=torch.float64)
    level = schedule.at(t)
    size = (target.determinant(level) / torch.sqrt(level.alpha**2 + level.sigma**2)).abs()
    bad = ~(size.isfinite() & (size > 1e-5))
    if bad.any():
        where = float(t[bad][-1])
        raise PieceError(
            f"target '{target.name}' cannot be used with schedule '{schedule.name}': at t = {where:.3g} "
            "x0 and eps cannot be recovered from the output (log-SNR "
            f"{float(schedule.log_snr(where)):.1f}). Use target 'v', 'x0' or 'flow', or "
            "`schedule.limit_log_snr(-10, 12)`."
        )
