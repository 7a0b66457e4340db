"""Networks whose answer is known beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.exercises.probes import Described, Probe


class Says(Described):
    """Answers row t of `output` (T, *S) to each sample at t (B,), whatever it is given."""

    def __init__(self, output: Tensor):
        super().__init__()
        self.register_buffer("output", output.double())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.output.to(x)[torch.as_tensor(t).long().expand(len(x))]


class SeesLast(Probe):
    """A `Probe` to which an estimate of zeros says something else than none: it adds memory cos(1 + last)."""

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None, last: Tensor | None = None) -> Tensor:
        """x and last (B, *S), t (B,) to (B, *S)."""
        output = super().forward(x, t, labels, last)
        return output if last is None else output + self.memory.to(x) * torch.cos(1 + last)
