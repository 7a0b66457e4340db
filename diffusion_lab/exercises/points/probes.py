"""A known function in the place of a network that sees a whole cloud."""

import torch
from torch import Tensor

from diffusion_lab.exercises.probes import Probe


class Crowd(Probe):
    """A probe that also moves every point by what the other points of its cloud are, whatever their order.

    `mask` (B, P) is True at points that are there; others are not looked at, and what comes out at them means nothing.
    """

    def forward(self, x: Tensor, t: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, P, D), t (B,) or one number, mask (B, P) bool, to (B, P, D)."""
        if mask is not None and mask.dtype != torch.bool:
            raise ValueError(f"the network takes a mask of True and False, and got one of {mask.dtype}")
        there = torch.ones_like(x[..., :1]) if mask is None else mask.unsqueeze(-1).to(x)
        others = (torch.cos(x) * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp(min=1)
        # What the time adds must differ from point to point, or it would vanish with the centre of the cloud.
        turned = 0.5 * torch.sin(2 * x) * torch.cos(self._column(t, x))
        return super().forward(x, t) + turned + others + 0.3 * others.square()
