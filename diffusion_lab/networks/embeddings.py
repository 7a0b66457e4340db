"""What a network is told besides x: the time, and the class if there is one, as one vector per sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffusion_lab.errors import PieceError


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of t at frequencies from 1 down to 1 / max_period, in a geometric sequence.

    The positional encoding of Vaswani et al. 2017, section 3.5, in the form of DDPM (Ho et al. 2020, appendix B):
    all sines first, then all cosines, and both ends of the range of frequencies are used.

    Args:
        t: (B,) positions, integers or floats. Discrete steps as they are; times in [0, 1] want a factor of 1000.
        dim: size of the embedding, even and at least 4.
        max_period: the longest wave is 2 pi * max_period long.

    Returns:
        (B, dim), float64 if t is, else float32.

    Raises:
        PieceError: if t is not (B,), or dim is odd or less than 4.
    """
    if t.ndim != 1:
        raise PieceError(f"timestep_embedding needs t of shape (B,), not {tuple(t.shape)}")
    if dim < 4 or dim % 2:
        raise PieceError(f"timestep_embedding needs an even dim of at least 4, not {dim}")
    # In half precision neighbouring times would share one embedding.
    t = t if t.dtype == torch.float64 else t.float()
    exponents = torch.linspace(0, 1, dim // 2, dtype=t.dtype, device=t.device)
    frequencies = torch.exp(-math.log(max_period) * exponents)
    angles = t[:, None] * frequencies  # (B, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def fourier_features(x: Tensor, frequencies: int) -> Tensor:
    """x itself with the sine and cosine of 2^k x for k = 0, ..., frequencies - 1: (B, D) -> (B, D (1 + 2 frequencies)).

    A network of smooth units learns fine detail of a low-dimensional input much sooner from these
    (Tancik et al. 2020, "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains").
    """
    if frequencies == 0:
        return x
    octaves = 2.0 ** torch.arange(frequencies, dtype=x.dtype, device=x.device)
    angles = (x[:, :, None] * octaves).flatten(1)  # (B, D, F) -> (B, D F)
    return torch.cat([x, angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """Time, and the class where there is one, as a vector of `dim` numbers for each sample.

    Sinusoids of scale * t go through a small MLP; a learned vector for the class is added. The table of classes has
    one row more than there are classes: index == `classes` means "no label", which a network needs to be trained
    for classifier-free guidance (Ho and Salimans 2022). No labels at all mean "no label" for every sample.

    Args:
        dim: size of the embedding.
        classes: number of classes; 0 for none.
        frequencies: number of sinusoids.
        scale: 1000 spreads times in [0, 1] over the steps for which the frequencies were chosen; a smaller one makes
            the network smoother in t.

    Raises:
        PieceError: if labels come to a network without classes, or have a wrong shape, dtype or value.
    """

    def __init__(self, dim: int, classes: int = 0, frequencies: int = 64, scale: float = 1000.0):
        super().__init__()
        self.scale = scale
        self.frequencies = frequencies
        self.classes = classes
        self.time = nn.Sequential(nn.Linear(frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(classes + 1, dim) if classes else None

    def forward(self, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B,) -> (B, dim): the time and the class in one vector."""
        return nn.functional.silu(sum(self.apart(t, labels)))

    def apart(self, t: Tensor, labels: Tensor | None = None) -> list[Tensor]:
        """(B,) -> the vector of the time (B, dim) and, in a network with classes, that of the class (B, dim)."""
        embedding = self.time(timestep_embedding(self.scale * t, self.frequencies).to(self.time[0].weight.dtype))
        if self.label is None:
            if labels is not None:
                raise PieceError("labels were given to a network without classes; build it with classes=N")
            return [embedding]
        if labels is None:
            labels = torch.full(t.shape, self.classes, dtype=torch.int64, device=t.device)
        self._check(labels, t)
        return [embedding, self.label(labels)]

    def _check(self, labels: Tensor, t: Tensor) -> None:
        if labels.shape != t.shape or labels.dtype != torch.int64:
            raise PieceError(
                f"labels must be int64 of shape {tuple(t.shape)}, not {labels.dtype} of shape {tuple(labels.shape)}"
            )
        # Only on the CPU: elsewhere reading a value makes the processor wait for the device.
        if labels.device.type == "cpu" and labels.numel() and not 0 <= labels.min() <= labels.max() <= self.classes:
            raise PieceError(
                f"labels must lie in 0..{self.classes - 1}, or be {self.classes} for no label; "
                f"got {int(labels.min())}..{int(labels.max())}"
            )
