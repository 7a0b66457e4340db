"""What a network that a learner has built is like, told in numbers. Nothing but PyTorch is imported here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MOST_WEIGHTS = 200_000


def built(build: Callable, *arguments: int) -> nn.Module:
    """The network that a learner's function builds, in training mode.

    Raises:
        TypeError: it builds something else.
    """
    network = build(*arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(f"it must return a network, an nn.Module, and it returned {type(network).__name__}")
    return network.train()


def trained(
    network: nn.Module, x: Tensor, time: Tensor, target: Tensor, asked: Tensor, when: Tensor, steps: int
) -> dict[str, Tensor]:
    """Train a network on one batch by Adam, with the mean square error, and ask it for other answers.

    Args:
        x, time, target: (B, *S), (B,) and (B, *S).
        asked, when: (A, *S) and (A,).

    Returns:
        Its answers (A, *S) before and after the training.

    Raises:
        ValueError: it has more than `MOST_WEIGHTS` weights.
    """
    if sum(w.numel() for w in network.parameters()) > MOST_WEIGHTS:
        raise ValueError(f"a small network is asked for, of at most {MOST_WEIGHTS:,} weights")
    before = network(asked, when).detach()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        loss = (network(x, time) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"before": before, "after": network(asked, when).detach()}


def traits(network: nn.Module, x: Tensor, time: Tensor) -> dict[str, bool | list[int]]:
    """What any network that is told the time should be like: the shape of its answer, and what this depends on.

    Args:
        x, time: (B, *S) and (B,).
    """

    def ask(x: Tensor, time: Tensor) -> Tensor:
        return network(x.clone(), time.clone())

    weights = list(network.parameters())
    draw = torch.Generator().manual_seed(0)
    _move(weights, draw, 0.02, 1)  # a last layer that starts at 0 says nothing yet
    given = x.clone()
    answer = network(given, time.clone())
    if not isinstance(answer, Tensor):
        raise TypeError(f"the network must answer with a tensor, and answered with {type(answer).__name__}")
    found: dict[str, bool | list[int]] = {
        "shape": list(answer.shape),
        "leaves its input as it is": torch.equal(given, x),
        "same answer twice": near(answer, ask(x, time)),
    }
    moved, later = x.clone(), time.clone()
    moved[-1] = 2 * x[-1] + 3
    later[-1] = later[-1] / 2
    found["depends on x"] = not near(ask(moved, time)[-1], answer[-1])
    found["depends on the times"] = not near(ask(x, time / 2), answer)
    found["depends on the time of each sample"] = not near(ask(x, later)[-1], answer[-1])
    found["depends on no other sample"] = near(ask(moved, later)[:-1], answer[:-1])
    # A straight line through two points meets the answer in the middle, whatever the points are.
    middle = (ask(x - 3, time) + ask(x + 3, time)) / 2
    found["bent"] = not near(middle, answer)
    slopes = []
    if weights and answer.requires_grad:
        slopes = torch.autograd.grad(answer.square().sum(), weights, allow_unused=True)
    found["a gradient for every weight"] = all(s is not None and bool(s.abs().max() > 0) for s in slopes)
    found["weights to train"] = len(slopes) > 0
    found["answers below 0 too"] = not (weights and found["depends on x"]) or _below_0(ask, weights, draw, x, time)
    return found


@torch.no_grad()
def _below_0(ask: Callable, weights: list[Tensor], draw: torch.Generator, x: Tensor, time: Tensor) -> bool:
    """Whether some answer is negative, for small and large x, and for other weights: a last layer has either sign."""
    before = [weight.clone() for weight in weights]
    negative = False
    for _ in range(8):
        negative = any(bool((ask(k * x, time) < 0).any()) for k in (-20, 1, 20))
        if negative:
            break
        _move(weights, draw, 0.3, 0)
    for weight, old in zip(weights, before, strict=True):
        weight.copy_(old)
    return negative


@torch.no_grad()
def _move(weights: list[Tensor], draw: torch.Generator, size: float, kept: float) -> None:
    """Multiply each weight by `kept`, and add noise of this size."""
    for weight in weights:
        weight.mul_(kept).add_(size * torch.randn(weight.shape, generator=draw, dtype=torch.float64).to(weight))


def as_tensors(found: dict[str, bool | list[int]]) -> dict[str, Tensor]:
    """Traits as a driver gives them back."""
    return {name: torch.as_tensor(value) for name, value in found.items()}


def near(one: Tensor, other: Tensor) -> bool:
    """Whether two answers are the same up to rounding."""
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=2e-5, atol=2e-6))
