"""Denoisers: anything that turns (x, level) into a `Prediction`, and ways to combine them.

A trained network, an exact posterior mean and a guided pair of them are all denoisers: a sampler runs on any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffusion_lab.levels import Level, Prediction
from diffusion_lab.targets import Target

Denoiser = Callable[[Tensor, Level], Prediction]
"""(x (B, *S), level) -> Prediction(x0, eps), each (B, *S)."""

Guide = Callable[[Tensor, Tensor, float], Tensor]
"""(conditional, unconditional, scale) -> guided, each (B, *S)."""
EVERYWHERE = (0.0, 1.0)
"""The guidance interval that is the whole path, from data to noise."""

LEAST_ALPHA = 1e-3
"""From this share of data on, x0 can be found from x and eps: an error of eps counts sigma / alpha times in x0."""


def modules_of(network) -> list[nn.Module]:
    """The network and every module in it; none if it is a plain function."""
    return list(network.modules()) if isinstance(network, nn.Module) else []


@contextmanager
def evaluating(modules: list[nn.Module]) -> Iterator[None]:
    """Run modules in evaluation mode without gradients, and leave each of them in the mode in which it was."""
    # A frozen part of a network in training is in evaluation mode; network.train() would wake it.
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def from_network(network: Callable[..., Tensor], target: Target, cond: dict | None = None) -> Denoiser:
    """The denoiser that a network trained for `target` stands for; `cond` goes to every call."""
    modules = modules_of(network)  # found once: the search costs as much as a step of DDIM

    def denoise(x: Tensor, level: Level) -> Prediction:
        with evaluating(modules):
            return target.solve(target.evaluate(network, x, level, cond), x, level)

    return denoise


def self_conditioned(network: Callable[..., Tensor], target: Target, cond: dict | None = None) -> Denoiser:
    """A network that also sees its own last estimate of x0 (Chen et al. 2023, "Analog Bits", section 2.3).

    The estimate is carried from call to call, so make a new denoiser for every sampling run.
    """
    seen = dict(cond or {})
    plain = from_network(network, target, seen)

    def denoise(x: Tensor, level: Level) -> Prediction:
        if "last" not in seen or seen["last"].shape != x.shape:
            seen["last"] = torch.zeros_like(x)
        prediction = plain(x, level)
        seen["last"] = prediction.x0
        return prediction

    return denoise


def guided(
    conditional: Denoiser,
    unconditional: Denoiser,
    scale: float,
    rule: Guide | None = None,
    interval: tuple[float, float] = EVERYWHERE,
) -> Denoiser:
    """Classifier-free guidance: unconditional + scale (conditional - unconditional) (Ho & Salimans 2022, equation 6).

    Their weight w is scale - 1: scale 0 ignores the condition, 1 is the conditional model, more sharpens it.

    Args:
        rule: another way to combine the two guesses of eps; x0 is then the one that agrees with x and the new eps.
        interval: the first and the last time of guidance (Kynkäänniemi et al. 2024, who give it in noise levels). Where
            all of a batch lies outside, only the conditional model is asked.
    """

    def combined(x: Tensor, level: Level, with_condition: Prediction) -> Prediction:
        without = unconditional(x, level)
        if rule is None:
            return Prediction(*(u + scale * (c - u) for c, u in zip(with_condition, without, strict=True)))
        eps = rule(with_condition.eps, without.eps, scale)
        if bool((level.alpha > LEAST_ALPHA).all()):
            return Prediction((x - level.sigma * eps) / level.alpha, eps)
        # In pure noise both guesses of eps are x itself, and only those of x0 differ.
        return Prediction(rule(with_condition.x0, without.x0, scale), eps)

    def denoise(x: Tensor, level: Level) -> Prediction:
        with_condition = conditional(x, level)
        inside = (interval[0] <= level.t) & (level.t <= interval[1])
        if not bool(inside.any()):
            return with_condition
        both = combined(x, level, with_condition)
        if bool(inside.all()):
            return both
        return Prediction(*(torch.where(inside, g, c) for g, c in zip(both, with_condition, strict=True)))

    return denoise


def with_x0(denoiser: Denoiser, change: Callable[[Tensor], Tensor]) -> Denoiser:
    """Apply `change` to the estimate of x0, and recompute eps so that both still agree with x."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        x0 = change(denoiser(x, level).x0)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    return denoise


def dynamic_threshold(x0: Tensor, percentile: float = 0.995) -> Tensor:
    """Clip each sample to its own percentile s >= 1 of |x0| and divide by s (Saharia et al. 2022, section 2.3).

    Shape (B, *S) to (B, *S); each sample has its own s.
    """
    size = torch.quantile(x0.flatten(1).abs(), percentile, dim=1).clamp(min=1)
    size = size.reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    return torch.minimum(torch.maximum(x0, -size), size) / size


def clip(x0: Tensor) -> Tensor:
    """Clip to [-1, 1], the range of images and sounds (Ho et al. 2020, in their released sampler)."""
    return x0.clamp(-1, 1)


def nearest_rows(vectors: Tensor) -> Callable[[Tensor], Tensor]:
    """Replace embeddings (..., D) by the nearest rows of `vectors` (V, D): the clamping trick (Li et al. 2022, 4.3)."""

    def change(x0: Tensor) -> Tensor:
        rows = vectors.to(x0)
        return rows[torch.cdist(x0.flatten(0, -2), rows).argmin(dim=1)].reshape(x0.shape)

    return change


def blend(first: Tensor, second: Tensor, amount: Tensor) -> Tensor:
    """Spherical interpolation of noises, (B, *S) each, by `amount` in [0, 1], shape (B,) or () (Shoemake 1985).

    A straight line between two independent normal samples passes through points that are too small by up to sqrt(2).
    """
    flat_first, flat_second = first.flatten(1), second.flatten(1)
    cosine = torch.cosine_similarity(flat_first, flat_second, dim=1).clamp(-1 + 1e-7, 1 - 1e-7)
    angle = torch.arccos(cosine).reshape(-1, *[1] * (first.ndim - 1))
    amount = amount.to(first).reshape(-1, *[1] * (first.ndim - 1))
    return (torch.sin((1 - amount) * angle) * first + torch.sin(amount * angle) * second) / torch.sin(angle)
