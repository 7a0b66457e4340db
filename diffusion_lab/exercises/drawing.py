"""Inputs of exercises, drawn afresh from a seed: the same seed gives the same cases."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def apart(one: float, other: float, digits: int = 5) -> tuple[str, str]:
    """Two numbers in words, with as many digits as it takes to tell them apart: 1 and 1.0000003, not 1 and 1.

    Args:
        digits: the fewest significant digits of each.
    """
    digits = digits_apart(one, other, digits)
    return f"{one:.{digits}g}", f"{other:.{digits}g}"


def digits_apart(one: float, other: float, least: int = 5) -> int:
    """How many significant digits it takes to tell these two numbers apart, `least` or more."""
    if one == other:
        return least
    return next((d for d in range(least, 17) if f"{one:.{d}g}" != f"{other:.{d}g}"), 17)


class Draw:
    """A source of tensors in float64 (the check makes float32 and float64 calls of them) and of plain numbers.

    Sizes are drawn too, so that a shape cannot be learned by heart.
    """

    def __init__(self, seed: int, purpose: str = ""):
        self.generator = torch.Generator().manual_seed((seed * 1_000_003 + zlib.crc32(purpose.encode())) % 2**63)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high)."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64 in low..high-1."""
        return torch.randint(low, high, shape, generator=self.generator)

    def integer(self, low: int, high: int) -> int:
        """One Python int in low..high, both ends included."""
        return int(self.integers(low, high + 1))

    def number(self, low: float, high: float) -> float:
        """One Python float with four digits."""
        return round(float(self.uniform(low=low, high=high)), 4)

    def choice(self, options: Sequence[T]) -> T:
        """One of these."""
        return options[self.integer(0, len(options) - 1)]

    def permutation(self, n: int) -> Tensor:
        """0..n-1 in random order."""
        return torch.randperm(n, generator=self.generator)

    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes (B, *S) of data: points, one sample, a sound, an image, and squares in which every size is equal.

        In the squares a (B,) factor multiplies the wrong axis without an error.
        """
        b, d, n = self.integer(3, 6), self.integer(7, 9), self.integer(2, 4)
        return [(b, d), (1, d), (b, 1, d + 3), (b, 3, d, d + 1), (n, n), (n, n, n, n)]

    def times(self, batch: int, steps: int) -> Tensor:
        """t (batch,) in 0..steps-1; with two samples or more the first is 0 and the last steps - 1."""
        t = self.integers(0, steps, batch)
        if batch > 1:
            t[0], t[-1] = 0, steps - 1
        return t

    def betas(self, steps: int) -> Tensor:
        """(steps,), growing, a little irregular, so that neighbours can be told apart."""
        line = torch.linspace(0.01, 0.25, steps, dtype=torch.float64)
        return line * self.uniform(steps, low=0.7, high=1.3)

    def alpha_bar(self, steps: int) -> Tensor:
        """(steps,), falling from near 1, of betas drawn like `betas`."""
        return torch.cumprod(1 - self.betas(steps), dim=0)

    def covariance(self, dimensions: int, strength: float = 0.8) -> Tensor:
        """(D, D), symmetric and positive definite, with strong correlations."""
        mixing = self.normal(dimensions, dimensions) + strength * self.normal(dimensions, 1)
        return mixing @ mixing.T / dimensions + 0.1 * torch.eye(dimensions, dtype=torch.float64)
