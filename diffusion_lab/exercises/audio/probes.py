"""A network that knows the truth about sounds whose frequencies are independent normal variables."""

import torch
from torch import Tensor

from diffusion_lab.exercises.probes import Described


class NormalSound(Described):
    """The exact eps of normal sounds with a given power at each frequency.

    Args:
        psd: (L // 2 + 1,), the power of the clean sounds by the unitary FFT, in which white noise has the power 1.
        alpha_bar: (T,).
    """

    def __init__(self, psd: Tensor, alpha_bar: Tensor):
        super().__init__()
        self.register_buffer("psd", psd.double())
        self.register_buffer("alpha_bar", alpha_bar.double())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, 1, L) and t (B,) int64 to eps (B, 1, L)."""
        kept = self.alpha_bar.to(x)[torch.as_tensor(t).expand(len(x))].reshape(-1, 1, 1)
        share = (1 - kept).sqrt() / (kept * self.psd.to(x) + 1 - kept)
        return torch.fft.irfft(torch.fft.rfft(x) * share, n=x.shape[-1])
