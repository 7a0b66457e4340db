"""A mixer: perceptrons across the patches and within them, and no attention."""

from __future__ import annotations

from torch import Tensor, nn

from diffusion_lab.networks.blocks import positions_of, zero_init
from diffusion_lab.networks.embeddings import TimeEmbedding
from diffusion_lab.networks.patches import PatchNetwork


def perceptron(size: int, hidden: int) -> nn.Sequential:
    """One hidden layer on the last axis: (..., size) -> (..., size)."""
    return nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, size))


class MixerBlock(nn.Module):
    """A perceptron across the tokens, then one within each: (B, L, W) -> (B, L, W).

    Tolstikhin et al. 2021, equation 1, with the gates of a `TransformerBlock`: the time scales and shifts each
    normalised input and gates each result, and all of these start at zero.
    """

    def __init__(self, tokens: int, width: int, conditioning: int):
        super().__init__()
        self.modulation = zero_init(nn.Linear(conditioning, 6 * width))
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.across = perceptron(tokens, 2 * tokens)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.within = perceptron(width, 4 * width)

    def forward(self, h: Tensor, conditioning: Tensor) -> Tensor:
        modulation = self.modulation(conditioning)[:, None]  # (B, 6 W) -> (B, 1, 6 W)
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation.chunk(6, dim=-1)
        h = h + gate1 * self.across((self.norm1(h) * (1 + scale1) + shift1).mT).mT
        return h + gate2 * self.within(self.norm2(h) * (1 + scale2) + shift2)


class Mixer(PatchNetwork):
    """An MLP-Mixer (Tolstikhin et al. 2021) that hears the time.

    Args:
        shape: (C, H, W) of one image, or (C, L) of one signal.
        width: numbers for each token inside.
        depth: number of blocks.
        patch: side of a patch; None for the smallest that leaves at most 64 tokens.
        classes: number of classes; 0 builds a network that takes no labels.
        self_condition: also read `last`, the previous estimate of the clean data.

    Raises:
        PieceError: for sizes that do not fit, and in `forward` for a shape or a condition it was not built for.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 96,
        depth: int = 4,
        patch: int | None = None,
        classes: int = 0,
        self_condition: bool = False,
    ):
        super().__init__(shape, patch, self_condition)
        self.stem = nn.Linear(self.numbers * (2 if self_condition else 1), width)
        self.positions = positions_of(self.tokens, width)
        self.embedding = TimeEmbedding(width, classes)
        self.blocks = nn.ModuleList(MixerBlock(self.tokens, width, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = zero_init(nn.Linear(width, self.numbers))

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
        h = self.stem(self.cut(self.with_last(x, last, dim=1))) + self.positions  # (B, L, W)
        for block in self.blocks:
            h = block(h, conditioning)
        return self.join(self.head(self.norm(h)))
