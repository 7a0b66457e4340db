"""What is examined: functions and tables by name, each of them optional."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level
from diffusion_lab.targets import TARGETS

PREDICTIONS = ("eps", "x0", "v")


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Your diffusion, as far as you hand it over. Data have the shape (B, *S), times t are (B,) int64 in 0..T-1.

    The arguments of a function may be in any order and go by the names that people use (`calling.NAMES`): a table that
    your function asks for (`alpha_bar`, `betas`) is handed in, and so are the network, the noise and the time.
    """

    betas: Any = None
    """(T,), the variance that each step adds."""
    alpha_bar: Any = None
    """(T,), what is left of the data's variance after each step; or a function that makes it of betas."""
    sigmas: Any = None
    """(T,), rising noise levels of x = x0 + sigma eps, in the place of the two above."""
    sampling_betas: Any = None
    sampling_alpha_bar: Any = None
    """The tables of the sampler, where it has its own."""
    q_sample: Callable | None = None
    """(x0, t, noise) -> x_t; it may draw its own noise."""
    loss: Callable | None = None
    """(network, x0, t, noise) -> a number, or one a sample; it may draw its own times and noise."""
    network: Callable | None = None
    """(x, t) or (x, t, labels) -> a tensor shaped like x. An untrained one is enough."""
    ddpm_step: Callable | None = None
    """(x, t, eps, noise) or (network, x, t) -> x at the step before; it may draw its own noise."""
    ddim_step: Callable | None = None
    """(x, alpha_bar_t, alpha_bar_s, eps, eta, noise) -> x at the level s."""
    sample: Callable | None = None
    """(network, x) or (network, shape) -> samples, the whole loop."""
    solver_step: Callable | None = None
    """(denoise, x, sigma, sigma_next) -> x, on the path x0 + sigma eps, where denoise(x, sigma) is the guess of x0."""
    flow_step: Callable | None = None
    """(network, x, t, t_next) -> x, on the path (1 - t) x0 + t eps, where network(x, t) is dx/dt."""
    multistep: Callable | None = None
    """(x0_now, x0_last, x, levels) -> x; levels (3, 2) are alpha and sigma before, now and next."""
    convert: Callable | None = None
    """(prediction, x, alpha_bar_t, source, target) -> the prediction as another kind: "eps", "x0" or "v"."""
    predict_start_from_noise: Callable | None = None
    predict_noise_from_start: Callable | None = None
    predict_v: Callable | None = None
    predict_start_from_v: Callable | None = None
    """(x_t, t, noise or x0 or v) -> x0, noise or x0; `predict_v` is (x0, t, noise) -> v."""
    ema_update: Callable | None = None
    """(average, online, decay): it changes `average`, or returns its new state dictionary."""
    guided_eps: Callable | None = None
    """(eps_cond, eps_uncond, scale) -> guided."""
    drop_labels: Callable | None = None
    """(labels, p, null) -> labels (B,) int64, each replaced by `null` with probability p."""
    data: Any = None
    """(N, *S), a batch as the loss gets it."""
    scheduler: Any = None
    """A scheduler of diffusers. It is both the noising and the sampler."""
    prediction: str | None = None
    """What the network says: "eps", "x0" or "v". By default what the loss trains it for, or "eps"."""
    told: tuple[float, float] | str | None = None
    """What the network is told at the first and at the last level, such as (0, 999) or (0.001, 1); or "sigma", where it
    is told sigma / alpha. By default what the loss tells it, or the number of the step."""
    order: int | None = None
    """The order that the solver should have. By default from its name: heun and multistep 2, euler and ddim 1."""
    shape: tuple[int, ...] | None = None
    """The shape S of one sample. By default that of `data`, or (8,)."""
    holder: Any = None
    """An object whose methods these functions are, and whose attribute `model` is their network."""

    def __post_init__(self) -> None:
        if self.prediction is not None and self.prediction not in PREDICTIONS:
            raise PieceError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {self.prediction!r}")
        if self.order is not None and not (isinstance(self.order, int) and self.order >= 1):
            raise PieceError(f"order must be a whole number from 1 on, got {self.order!r}")
        if self.shape is not None:
            whole = isinstance(self.shape, (tuple, list)) and all(isinstance(n, int) and n > 0 for n in self.shape)
            if not whole or not self.shape:
                raise PieceError(f"shape must be the sizes of one sample, such as (3, 32, 32), got {self.shape!r}")
        if (
            self.told is not None
            and self.told != "sigma"
            and (isinstance(self.told, str) or len(tuple(self.told)) != 2 or self.told[0] == self.told[1])
        ):
            raise PieceError(
                f"told must be two different numbers, those of the first and last level, or 'sigma'; got {self.told!r}"
            )
        for name in ("betas", "sigmas", "sampling_betas", "sampling_alpha_bar", "alpha_bar", "data"):
            value = getattr(self, name)
            if value is not None and not (name == "alpha_bar" and callable(value)):
                object.__setattr__(self, name, _tensor(name, value))
        for name in FUNCTIONS:
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise PieceError(f"{name} must be a function, got {type(value).__name__}")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """S."""
        if self.shape is not None:
            return tuple(self.shape)
        return tuple(self.data.shape[1:]) if self.data is not None and self.data.ndim > 1 else (8,)

    @property
    def named(self) -> dict[str, Any]:
        """All that was handed over."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


FUNCTIONS = (
    "q_sample",
    "loss",
    "network",
    "ddpm_step",
    "ddim_step",
    "sample",
    "solver_step",
    "flow_step",
    "multistep",
    "convert",
    "predict_start_from_noise",
    "predict_noise_from_start",
    "predict_v",
    "predict_start_from_v",
    "ema_update",
    "guided_eps",
    "drop_labels",
)


def _tensor(name: str, value: Any) -> Tensor:
    try:
        found = value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(_plain(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise PieceError(f"{name} must be numbers: a tensor, an array or a list; got {type(value).__name__}") from error
    if name == "data":
        return found
    if found.ndim != 1 or len(found) < 2:
        raise PieceError(f"{name} must have shape (T,) with at least two entries, got {tuple(found.shape)}")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def said(prediction: str, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a network with this prediction says of x = alpha x0 + sigma eps; alpha and sigma broadcast with x0."""
    nothing = torch.zeros_like(alpha)
    return TARGETS[prediction].of(x0, eps, Level(nothing, alpha, sigma, nothing, nothing))
