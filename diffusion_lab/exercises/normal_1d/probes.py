"""Networks with known answers, and drivers, for the exercises of this chapter. Nothing but PyTorch is imported here."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.networks.probes import as_tensors, built, trained, traits
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
    online.register_forward_pre_hook(_time_in_float32)
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


def _time_in_float32(network: nn.Module, inputs: tuple) -> tuple:
    """(t + 1) / T is float32 where t is whole, and float64 where somebody casts t to the dtype of the data: both are
    right, and the network sees the same number."""
    return tuple(v.float() if i == 1 and isinstance(v, Tensor) else v for i, v in enumerate(inputs))


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
    network = built(build, size, width).to(x.dtype)
    if target is not None:
        return trained(network, x, time, target, asked, when, steps=400)
    found = traits(network, x, time)
    enough = sum(w.numel() for w in network.parameters()) > 2 * size * (size + 1)
    found["weights to train"] = bool(found["weights to train"]) and enough
    return as_tensors(found)
