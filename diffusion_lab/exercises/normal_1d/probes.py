"""Networks with known answers, and drivers, for the exercises of this chapter. Nothing but PyTorch is imported here."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.probes import Described


class Known(Described):
    """Returns the tensor that it was made with, plus an offset that can be trained, whatever it is asked."""

    def __init__(self, answer: Tensor, offset: float):
        super().__init__()
        self.register_buffer("answer", answer)
        self.offset = nn.Parameter(torch.tensor(offset, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), shaped like the answer, and t (B,) to (B, *S)."""
        if x.shape != self.answer.shape:
            raise ValueError(f"the network expects x {tuple(self.answer.shape)}, and got {tuple(x.shape)}")
        return self.answer.to(x) + self.offset.to(x)


class Counting(Described):
    """A smooth function of x and t that also depends on how often it has been called: one call too many shows.

    output = gain sin(x + shift) + speed cos(3 t) + calls / 8, shaped like x.
    """

    def __init__(self, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weights = 0.5 + torch.rand(3, generator=generator, dtype=torch.float64)
        self.gain, self.shift, self.speed = (nn.Parameter(w) for w in weights)
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), t (B,) to (B, *S)."""
        if not isinstance(t, Tensor) or t.shape != x.shape[:1]:
            got = tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__
            raise ValueError(f"the network takes one time for each sample, shape ({x.shape[0]},), and it got {got}")
        self.calls += 1
        wave = torch.cos(3 * t.to(x)).reshape(-1, *[1] * (x.ndim - 1))
        return self.gain.to(x) * torch.sin(x + self.shift.to(x)) + self.speed.to(x) * wave + self.calls / 8


def train_bench(
    train_step: Callable, network: nn.Module, x0: Tensor, eps: Tensor, t: Tensor, alpha_bar: Tensor, decay: float
) -> dict[str, Tensor]:
    """Take training steps on copies of a network, and say what is there after each.

    The optimizer is gradient descent with momentum, in which a gradient that was not reset is felt for long.

    Args:
        train_step: the function under test, (network, average, optimizer, x0, eps, t, alpha_bar, decay) -> number.
        x0, eps: (N, B, D), one batch for each of N steps.
        t: (N, B) int64.
        alpha_bar: (T,).

    Returns:
        Losses (N,), weights and averaged weights (N, number of weights), and what else is left, as (N,) bool.
    """
    online, average = copy.deepcopy(network), copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.SGD(online.parameters(), lr=0.05, momentum=0.5)
    found: dict[str, list] = {}
    for batch in zip(x0, eps, t, strict=True):
        loss = train_step(online, average, optimizer, *batch, alpha_bar, decay)
        if not isinstance(loss, (int, float)) and not (isinstance(loss, Tensor) and loss.numel() == 1):
            raise TypeError(f"train_step must return the loss, one number, and it returned {type(loss).__name__}")
        left = {
            "average on a graph": any(w.requires_grad for w in average.parameters()),
            "average weights": torch.cat([w.detach().double().reshape(-1) for w in average.parameters()]),
            "loss on a graph": isinstance(loss, Tensor) and loss.requires_grad,
            "loss": float(loss),
            "training mode": online.training,
            "weights": torch.cat([w.detach().double().reshape(-1) for w in online.parameters()]),
        }
        for name, value in left.items():
            found.setdefault(name, []).append(torch.as_tensor(value, dtype=_kept(value)))
    return {name: torch.stack(values) for name, values in found.items()}


def _kept(value: Tensor | float | bool) -> torch.dtype:
    return torch.bool if isinstance(value, bool) else torch.float64


class NormalGuess(Described):
    """The exact guess of the noise for normal data: E[eps | x] = sigma (x - alpha m) / (alpha^2 s^2 + sigma^2).

    Args:
        mean, std: of the data; a std of 0 is a single point.
        alpha_bar: (T,); it is called with the times (t + 1) / T.
    """

    def __init__(self, mean: float, std: float, alpha_bar: Tensor):
        super().__init__()
        self.mean, self.std = mean, std
        self.register_buffer("alpha_bar", alpha_bar)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), t (B,) to (B, *S)."""
        place = (t.double() * len(self.alpha_bar)).round().long() - 1
        kept = self.alpha_bar[place].to(x).reshape(-1, *[1] * (x.ndim - 1))
        return (1 - kept).sqrt() * (x - kept.sqrt() * self.mean) / (kept * self.std**2 + 1 - kept)


def network_bench(
    build: Callable,
    size: int,
    width: int,
    x: Tensor,
    time: Tensor,
    target: Tensor | None = None,
    asked: Tensor | None = None,
    when: Tensor | None = None,
) -> dict[str, Tensor]:
    """Build a network and say what it is like, or, given targets, train it and ask it for more.

    Args:
        build: the function under test, (size, width) -> network.
        x, time: (B, D) and (B,).
        target: (B, D); with it the network is trained, and its answers at `asked` (A, D), `when` (A,) come back.
    """
    network = build(size, width)
    if not isinstance(network, nn.Module):
        raise TypeError(f"it must return a network, an nn.Module, and it returned {type(network).__name__}")
    network = network.to(x.dtype).train()
    if target is None:
        return _traits(network, x, time)
    before = network(asked, when).detach()
    if sum(w.numel() for w in network.parameters()) > MOST_WEIGHTS:
        raise ValueError(f"a small network is asked for, of at most {MOST_WEIGHTS:,} weights")
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(400):
        loss = (network(x, time) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"before": before, "after": network(asked, when).detach()}


MOST_WEIGHTS = 200_000


def _traits(network: nn.Module, x: Tensor, time: Tensor) -> dict[str, Tensor]:
    """What is true of a network, as numbers: shapes, and whether answers are those that they should be."""
    answer = network(x, time)
    if not isinstance(answer, Tensor):
        raise TypeError(f"the network must answer with a tensor, and answered with {type(answer).__name__}")
    traits: dict[str, bool | list[int]] = {
        "shape": list(answer.shape),
        "same answer twice": _near(answer, network(x, time)),
    }
    moved, later = x.clone(), time.clone()
    moved[-1] += 0.5
    later[-1] = later[-1] / 2
    traits["depends on x"] = not _near(network(moved, time)[-1], answer[-1])
    traits["depends on the times"] = not _near(network(x, time / 2), answer)
    traits["depends on the time of each point"] = not _near(network(x, later)[-1], answer[-1])
    traits["depends on no other point"] = _near(network(moved, later)[:-1], answer[:-1])
    # A straight line through two points meets the answer in the middle, whatever the points are.
    middle = (network(x - 3, time) + network(x + 3, time)) / 2
    traits["bent"] = not _near(middle, answer)
    signs = (bool((network(k * x, time) < 0).any()) for k in (-20, -5, 1, 5, 20))
    traits["answers below 0 too"] = not traits["depends on x"] or any(signs)
    weights = list(network.parameters())
    found = weights and answer.requires_grad
    slopes = torch.autograd.grad(answer.square().sum(), weights, allow_unused=True) if found else []
    traits["a gradient for every weight"] = all(s is not None and bool(s.abs().max() > 0) for s in slopes)
    traits["weights to train"] = len(slopes) > 0 and sum(w.numel() for w in weights) > 2 * x.shape[1] * (x.shape[1] + 1)
    return {name: torch.as_tensor(value) for name, value in traits.items()}


def _near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=1e-4, atol=1e-6))
