"""A residual multi-layer perceptron for points."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lab.networks.blocks import Network, zero_init
from diffusion_lab.networks.embeddings import TimeEmbedding, fourier_features

CONDITIONING = 32
"""Size of the embedding of the time. Each sample has its own time, so a large one would cost as much as the layers."""


class PerceptronBlock(nn.Module):
    """One hidden layer around which h passes unchanged: (B, width) -> (B, width).

    The time scales what the layer adds. On two-dimensional data this reached a lower loss in the same seconds than
    a scale and a shift before the nonlinearity, and than a shift alone.
    """

    def __init__(self, width: int, conditioning: int):
        super().__init__()
        self.gate = nn.Linear(conditioning, width)
        self.linear = nn.Linear(width, width)

    def forward(self, h: Tensor, conditioning: Tensor) -> Tensor:
        return torch.addcmul(h, F.silu(self.linear(h)), self.gate(conditioning))


class MLP(Network):
    """A network for points of D numbers. Data of any other shape it takes as one long row, and knows no neighbours.

    Args:
        shape: (D,), or any other, whose numbers are then the D.
        width: units of each hidden layer.
        depth: number of residual blocks.
        classes: number of classes; 0 builds a network that takes no labels.
        self_condition: also read `last`, the previous estimate of the clean points.
        frequencies: sines and cosines of x at this many octaves are added to the input; 0 for none. They help
            with fine detail in few dimensions.

    Raises:
        PieceError: in `forward`, for a shape or a condition that it was not built for.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 128,
        depth: int = 4,
        classes: int = 0,
        self_condition: bool = False,
        frequencies: int = 0,
    ):
        super().__init__(shape, self_condition)
        dim = math.prod(self.shape)
        self.frequencies = frequencies
        self.embedding = TimeEmbedding(CONDITIONING, classes, frequencies=CONDITIONING, scale=100.0)
        self.stem = nn.Linear(dim * (2 if self_condition else 1) * (1 + 2 * frequencies), width)
        self.blocks = nn.ModuleList(PerceptronBlock(width, CONDITIONING) for _ in range(depth))
        self.head = zero_init(nn.Linear(width, dim))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        self.check(x, t, mask, last)
        conditioning = self.embedding(t, labels)
        rows = self.with_last(x.flatten(1), None if last is None else last.flatten(1), dim=1)  # (B, D) or (B, 2 D)
        h = self.stem(fourier_features(rows, self.frequencies))
        for block in self.blocks:
            h = block(h, conditioning)
        return self.head(F.silu(h)).reshape(x.shape)
