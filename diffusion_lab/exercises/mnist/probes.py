"""Networks with known answers for the exercises of this chapter. Nothing but PyTorch is imported here."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.probes import Described


class Silent(Described):
    """A network that answers 0 to everything, with a weight for a loss to be differentiated by."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), t (B,) to zeros (B, *S)."""
        return self.weight.to(x) * x


class NormalPixels(Described):
    """The best guess of v for pixels that are independent and normal: v = alpha E[eps | x] - sigma E[x0 | x].

    Args:
        mean, std: of the pixels, on the scale from -1 to 1.
        alpha_bar: (T,).
    """

    def __init__(self, mean: float, std: float, alpha_bar: Tensor):
        super().__init__()
        self.mean, self.std = mean, std
        self.register_buffer("alpha_bar", alpha_bar)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), t (B,) to v (B, *S)."""
        kept = self.alpha_bar[t].to(x).reshape(-1, *[1] * (x.ndim - 1))
        alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
        away = (x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
        return alpha * sigma * away - sigma * (self.mean + alpha * self.std**2 * away)


class Counted(Described):
    """A small network with all that a state dictionary can hold: weights, running numbers, an integer counter.

    Args:
        seed: each seed gives other weights.
        features: the size of a layer.
        count: where the counter stands.
    """

    def __init__(self, seed: int, features: int, count: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layer = nn.Linear(features, features + 1)
        self.norm = nn.BatchNorm1d(features + 1)
        self.gain = nn.Parameter(torch.ones((), dtype=torch.float64))
        with torch.no_grad():
            for entry in self.state_dict().values():
                if entry.is_floating_point():
                    entry.copy_(0.5 + torch.rand(entry.shape, generator=generator))
            self.norm.num_batches_tracked.fill_(count)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, features) to (B, features + 1)."""
        return self.gain.to(x) * self.norm(self.layer(x))
