"""Networks that say little. Nothing but PyTorch is imported here: these run beside the student's code."""

from __future__ import annotations

from torch import Tensor

from diffusion_lab.exercises.probes import Described


class Silent(Described):
    """A network that has learned nothing yet: its output is `value` everywhere, shaped like x."""

    def __init__(self, value: float = 0.0):
        super().__init__()
        self.value = value

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), t (B,) to (B, *S)."""
        return x.new_full(x.shape, self.value)
