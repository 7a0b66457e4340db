"""Networks in the place of yours, which say what is known and write down what they were asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab.doctor.calling import Raised
from diffusion_lab.levels import Level


@dataclass(frozen=True)
class Asked:
    """One call of the network."""

    x: Tensor
    """(B, *S)"""
    told: Tensor
    """(B,), the time that it was told, float64."""
    labels: Tensor | None
    answer: Tensor


class Listener(nn.Module):
    """Answers by a known function of x and of how often it was asked, and keeps what it was asked.

    Args:
        answer: (x (B, *S), told (B,) float64, number of the call) -> (B, *S).
    """

    def __init__(self, answer: Callable[[Tensor, Tensor, int], Tensor]):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.reply = answer
        self.asked: list[Asked] = []

    def forward(self, x: Tensor, t: Any = None, *others: Any, **named: Any) -> Tensor | tuple[Tensor]:
        times = [t, *(v for k, v in named.items() if k in ("timestep", "time", "sigma", "timesteps"))]
        told = next((v for v in times if v is not None), None)
        if told is None:
            raise Raised("the network was called without a time: it was given x alone")
        told = torch.as_tensor(told).detach().double().reshape(-1).expand(len(x)) if _one_each(told, x) else None
        if told is None:
            raise Raised(f"the network was told times of shape {tuple(t.shape)} for x of shape {tuple(x.shape)}")
        labels = next(
            (
                v
                for v in (*others, *named.values())
                if isinstance(v, Tensor) and not v.is_floating_point() and v.shape == x.shape[:1]
            ),
            None,
        )
        answer = self.reply(x, told, len(self.asked))
        self.asked.append(Asked(x.detach().clone(), told.clone(), labels, answer))
        told_back = answer + self.weight.to(x) * 0
        if named.get("return_dict") is False:
            return (told_back,)
        told_back.sample = told_back  # networks of diffusers answer with an object that has this
        return told_back


def _one_each(told: Any, x: Tensor) -> bool:
    return torch.as_tensor(told).numel() in (1, len(x))


@dataclass(frozen=True)
class Path:
    """The levels that a table stands for, and what a network is told at each."""

    alpha: Tensor
    sigma: Tensor
    """(T,) each, float64."""
    told: tuple[float, float] | str
    """At the first and at the last level; or "sigma", for a network that is told sigma / alpha itself."""

    def __len__(self) -> int:
        return len(self.alpha)

    @property
    def alpha_bar(self) -> Tensor:
        """The share of the variance that is data, (T,)."""
        return self.alpha**2 / (self.alpha**2 + self.sigma**2)

    def index_of(self, told: Tensor) -> Tensor:
        """The level at which a network is told this, as a real number, clipped to the table."""
        if self.told == "sigma":
            ratio = (self.sigma / self.alpha.clamp(min=1e-30)).log()
            high = torch.searchsorted(ratio, told.clamp(min=1e-30).log()).clamp(1, len(self) - 1)
            part = (told.clamp(min=1e-30).log() - ratio[high - 1]) / (ratio[high] - ratio[high - 1])
            return (high - 1 + part).clamp(0, len(self) - 1)
        first, last = self.told
        return ((told - first) / (last - first) * (len(self) - 1)).clamp(0, len(self) - 1)

    @property
    def ends(self) -> tuple[float, float]:
        """What the network is told at the first and at the last level."""
        if self.told == "sigma":
            return float(self.sigma[0] / self.alpha[0]), float(self.sigma[-1] / self.alpha[-1])
        return self.told

    def told_at(self, index: Tensor) -> Tensor:
        """What the network is told at these levels."""
        if self.told == "sigma":
            return (self.sigma / self.alpha)[index]
        first, last = self.told
        return first + (last - first) * index.double() / (len(self) - 1)

    def between(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at real indices, on the straight line between the logarithms of their ratios."""
        low = index.floor().long().clamp(0, len(self) - 1)
        high = (low + 1).clamp(max=len(self) - 1)
        part = index - low
        ratio = (self.sigma / self.alpha.clamp(min=1e-30)).log()
        ratio = ((1 - part) * ratio[low] + part * ratio[high]).exp()
        size = (1 - part) * self._size[low] + part * self._size[high]
        alpha = size / (1 + ratio**2).sqrt()
        return alpha, alpha * ratio

    @property
    def _size(self) -> Tensor:
        return (self.alpha**2 + self.sigma**2).sqrt()

    def level(self, index: int) -> Level:
        """One level of the table; -1 is the data."""
        alpha, sigma = (1.0, 0.0) if index < 0 else (float(self.alpha[index]), float(self.sigma[index]))
        zero = torch.zeros((), dtype=torch.float64)
        return Level(zero, torch.tensor(alpha).double(), torch.tensor(sigma).double(), zero, zero)


def column(values: Tensor, like: Tensor) -> Tensor:
    """(B,) to (B, 1, ..., 1), of the dtype of `like`."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
