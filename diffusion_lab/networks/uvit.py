"""U-ViT: a transformer with the long skips of a U-Net, in which everything is a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lab.errors import PieceError
from diffusion_lab.networks.blocks import HEAD_SIZE, attend, positions_of, zero_init
from diffusion_lab.networks.embeddings import TimeEmbedding
from diffusion_lab.networks.patches import PatchNetwork


class PlainBlock(nn.Module):
    """Attention and a perceptron, each after a normalisation: (B, L, W) -> (B, L, W). Nothing here hears the time.

    With `skip`, the tokens of an earlier block come in beside h, and a layer makes W numbers of 2 W (Bao et al. 2023,
    section 3.1: of the ways to let them in, the best).
    """

    def __init__(self, width: int, skip: bool = False):
        super().__init__()
        self.skip = nn.Linear(2 * width, width) if skip else None
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, h: Tensor, earlier: Tensor | None = None) -> Tensor:
        if self.skip is not None:
            h = self.skip(torch.cat([h, earlier], dim=-1))
        h = h + self.out(attend(self.qkv(self.norm1(h))))
        return h + self.contract(F.gelu(self.expand(self.norm2(h))))


class UViT(PatchNetwork):
    """U-ViT (Bao et al. 2023): time, class and every patch are tokens, and long skips join early blocks to late ones.

    Of the paper's network the last 3 x 3 convolution is left out.

    Args:
        shape: (C, H, W) of one image, or (C, L) of one signal.
        width: numbers for each token inside. A multiple of 32, the size of one head of attention.
        depth: number of blocks, odd: one in the middle, and each before it has a skip to one after it.
        patch: side of a patch; None for the smallest that leaves at most 64 tokens.
        classes: number of classes; 0 builds a network that takes no labels.
        self_condition: also read `last`, the previous estimate of the clean data.
        positions: False for tokens that have no order. The network then does not know where a patch lies, and patches
            in another order come out in that order.

    Raises:
        PieceError: for sizes that do not fit, and in `forward` for a shape or a condition it was not built for.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 96,
        depth: int = 5,
        patch: int | None = None,
        classes: int = 0,
        self_condition: bool = False,
        positions: bool = True,
    ):
        super().__init__(shape, patch, self_condition)
        if width % HEAD_SIZE:
            raise PieceError(f"the width of a UViT must be a multiple of {HEAD_SIZE}, not {width}")
        if depth % 2 == 0:
            raise PieceError(
                f"the depth of a UViT must be odd, one block in the middle and pairs around it, not {depth}"
            )
        self.stem = nn.Linear(self.numbers * (2 if self_condition else 1), width)
        self.embedding = TimeEmbedding(width, classes)
        self.told = 2 if classes else 1
        self.positions = positions_of(self.told + (self.tokens if positions else 0), width)
        self.down = nn.ModuleList(PlainBlock(width) for _ in range(depth // 2))
        self.middle = PlainBlock(width)
        self.up = nn.ModuleList(PlainBlock(width, skip=True) for _ in range(depth // 2))
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
        patches = self.stem(self.cut(self.with_last(x, last, dim=1)))  # (B, L, W)
        told = torch.stack(self.embedding.apart(t, labels), dim=1)  # (B, 1 or 2, W)
        h = torch.cat([told.to(patches.dtype), patches], dim=1)
        h = h + F.pad(self.positions, (0, 0, 0, h.shape[1] - len(self.positions)))  # nothing is said beyond the last
        skips = []
        for block in self.down:
            h = block(h)
            skips.append(h)
        h = self.middle(h)
        for block in self.up:
            h = block(h, skips.pop())
        return self.join(self.head(self.norm(h[:, self.told :])))
