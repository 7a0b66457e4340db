"""A second loss on the estimate of x0 that the network's output stands for."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diffusion_lab.levels import Level
from diffusion_lab.targets import Target


def with_penalty(
    loss: Callable[..., Tensor],
    target: Target,
    penalty: Callable[[Tensor, Tensor, dict], Tensor],
    amount: float,
) -> Callable[..., Tensor]:
    """`loss` plus `amount` alpha_bar times a penalty of the same network output, read as an estimate of x0.

    The factor alpha_bar counts a level by how much data is left in x: what can be said of pure noise teaches nothing.

    Args:
        loss: (network, x0, eps, level, cond) -> (B,).
        target: what the network was asked for.
        penalty: (estimated x0 (B, *S), true x0 (B, *S), cond) -> (B,).
    """

    def total(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        outputs: list[Tensor] = []

        def remembering(*inputs: Tensor, **conditions: Tensor) -> Tensor:
            outputs.append(network(*inputs, **conditions))
            return outputs[-1]

        base = loss(remembering, x0, eps, level, cond)
        estimate = target.solve(outputs[-1], level.noisy(x0, eps), level).x0
        return base + amount * level.alpha_bar.flatten() * penalty(estimate, x0, cond)

    return total
