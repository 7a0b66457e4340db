"""How tokens become noise: to a uniform token, or to a mask (Austin et al. 2021, "D3PM").

The level is the same as for numbers, and alpha_bar = alpha^2 is the probability that a token was left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, expand


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens by inverse transform: (..., S) probabilities and (...) uniforms in [0, 1) give (...) int64."""
    cumulative = probabilities.cumsum(dim=-1)
    # Rounding can leave the last sum below 1; relative to it, no uniform falls outside.
    return (
        (cumulative <= uniforms.unsqueeze(-1) * cumulative[..., -1:]).sum(dim=-1).clamp(max=probabilities.shape[-1] - 1)
    )


@dataclass(frozen=True)
class DiscreteProcess:
    """A forward process on tokens 0..categories-1.

    kind "uniform": a disturbed token becomes any token with equal probability (D3PM, appendix A.2.1).
    kind "absorbing": it becomes the extra token `categories`, the mask, and stays so (appendix A.2.2).
    """

    kind: str
    categories: int

    def __post_init__(self):
        if self.kind not in ("uniform", "absorbing"):
            raise PieceError(f"a discrete process is 'uniform' or 'absorbing', got {self.kind!r}")
        if self.categories < 2:
            raise PieceError(f"a discrete process needs at least 2 categories, got {self.categories}")

    @property
    def states(self) -> int:
        """How many values a noisy token can have: one more than `categories` when there is a mask."""
        return self.categories + (self.kind == "absorbing")

    @property
    def prior(self) -> Tensor:
        """The distribution of a token of pure noise, (states,), float64."""
        if self.kind == "uniform":
            return torch.full((self.states,), 1 / self.states, dtype=torch.float64)
        return functional.one_hot(torch.tensor(self.categories), self.states).double()

    def transition_matrix(self, alpha_bar: Tensor) -> Tensor:
        """Q[..., i, j] = q(x_t = j | x_s = i), where alpha_bar (...) is the ratio of the two levels' alpha_bar.

        alpha_bar I + (1 - alpha_bar) 1 prior^T: rows sum to 1, and the matrices of successive steps multiply.
        """
        keep = alpha_bar[..., None, None]
        return keep * torch.eye(self.states).to(alpha_bar) + (1 - keep) * self.prior.to(alpha_bar)

    def marginal(self, p_x0: Tensor, alpha_bar: Tensor) -> Tensor:
        """sum over x0 of p_x0 q(x_t | x0), (B, cells, states); p_x0 (B, cells, categories) need not sum to 1."""
        padded = functional.pad(p_x0, (0, self.states - self.categories))
        keep = expand(alpha_bar, padded)
        return keep * padded + (1 - keep) * p_x0.sum(dim=-1, keepdim=True) * self.prior.to(padded)

    def noisy(self, x0: Tensor, level: Level, uniforms: Tensor) -> Tensor:
        """x_t given tokens x0 (B, cells), by uniforms (B, cells): the forward process."""
        return draw(self.marginal(functional.one_hot(x0, self.categories).float(), level.alpha_bar), uniforms)

    def likelihood(self, x: Tensor, alpha_bar: Tensor) -> Tensor:
        """q(x_t = x | x_s = i) for every token i, (B, cells, states): the columns of the transition matrix at x."""
        same = functional.one_hot(x, self.states).to(alpha_bar)
        keep = expand(alpha_bar, same)
        return keep * same + (1 - keep) * self.prior.to(alpha_bar)[x].unsqueeze(-1)

    def posterior(self, x: Tensor, p_x0: Tensor, now: Level, after: Level) -> Tensor:
        """p(x_after | x_now), (B, cells, states), for a belief p_x0 (B, cells, categories) about x0.

        sum over x0 of q(x_after | x_now, x0) p_x0, with q(x_after | x_now, x0) from Bayes (D3PM, equation 3). With the
        exact p(x0 | x_now) it is the exact reverse step.
        """
        evidence = self.likelihood(x, now.alpha_bar)[..., : self.categories]  # q(x_now | x0), for every x0
        # A belief in an x0 that cannot have led to x has no weight.
        weight = torch.where(evidence > 0, p_x0 / evidence.clamp(min=1e-30), 0)
        step = self.likelihood(x, now.alpha_bar / after.alpha_bar)  # q(x_now | x_after), for every x_after
        joint = step * self.marginal(weight, after.alpha_bar)
        return joint / joint.sum(dim=-1, keepdim=True).clamp(min=1e-30)

    def start(self, shape: tuple[int, ...], uniforms: Tensor) -> Tensor:
        """Tokens of pure noise, int64 of that shape, by uniforms of that shape."""
        return draw(self.prior.to(uniforms.device).expand(*shape, -1), uniforms)
