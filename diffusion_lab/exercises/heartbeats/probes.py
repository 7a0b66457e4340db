"""A known function in the place of a network that sees more than one moment."""

from torch import Tensor

from diffusion_lab.exercises.probes import Probe


class Neighbours(Probe):
    """A probe that adds to each sample what stands before it, as a convolution would: a gap shows beside itself."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, C, L) and t (B,) or one number, to (B, C, L)."""
        return super().forward(x + 0.5 * x.roll(1, dims=-1), t)
