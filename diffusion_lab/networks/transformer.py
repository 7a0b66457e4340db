"""A small transformer for sequences of vectors and for boards."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lab.errors import PieceError
from diffusion_lab.networks.blocks import HEAD_SIZE, Network, attend, positions_of, zero_init
from diffusion_lab.networks.embeddings import TimeEmbedding


class TransformerBlock(nn.Module):
    """Attention, then a perceptron, each after a normalisation and around which h passes: (B, L, W) -> (B, L, W).

    The time scales and shifts each normalised input and gates each result. All of these start at zero, so that a
    new block is the identity ("adaLN-Zero", Peebles and Xie 2023, section 3.2).
    """

    def __init__(self, width: int, conditioning: int):
        super().__init__()
        self.modulation = zero_init(nn.Linear(conditioning, 6 * width))
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, h: Tensor, conditioning: Tensor, mask: Tensor | None) -> Tensor:
        modulation = self.modulation(conditioning)[:, None]  # (B, 6 W) -> (B, 1, 6 W)
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation.chunk(6, dim=-1)
        mixed = attend(self.qkv(self.norm1(h) * (1 + scale1) + shift1), mask)
        h = h + gate1 * self.out(mixed)
        return h + gate2 * self.contract(F.gelu(self.expand(self.norm2(h) * (1 + scale2) + shift2)))


class Transformer(Network):
    """A transformer with learned positions, for vectors in a row or for the cells of a board.

    With `vocabulary` = 0 it maps (B, L, D) floats to the same shape. With `vocabulary` = K it maps (B, L) int64
    tokens to (B, L, K) logits of the clean token in each cell; with `mask_token` there is one more token to read,
    number K, which stands for "hidden" and is never predicted (Austin et al. 2021, "D3PM", section 3.1).

    Args:
        shape: (L, D), or (L,) with a vocabulary.
        width: numbers for each token inside. A multiple of 32, the size of one head of attention.
        depth: number of blocks.
        classes: number of classes; 0 builds a network that takes no labels.
        vocabulary: number of different tokens K; 0 for vectors.
        mask_token: also read token K.
        self_condition: also read `last`, the previous estimate of the clean vectors; for vectors only.

    Raises:
        PieceError: for sizes that do not fit, and in `forward` for a shape, dtype or condition it was not built for.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 128,
        depth: int = 4,
        classes: int = 0,
        vocabulary: int = 0,
        mask_token: bool = False,
        self_condition: bool = False,
    ):
        super().__init__(shape, self_condition)
        if len(self.shape) != (1 if vocabulary else 2):
            wanted = "(cells,) with a vocabulary" if vocabulary else "(L, D) without a vocabulary"
            raise PieceError(f"a Transformer takes the shape {wanted}, not {self.shape}")
        if vocabulary and self_condition:
            raise PieceError("self_condition is for vectors; a Transformer of tokens has no previous estimate to read")
        if mask_token and not vocabulary:
            raise PieceError("mask_token needs a vocabulary")
        if width % HEAD_SIZE:
            raise PieceError(f"the width of a Transformer must be a multiple of {HEAD_SIZE}, not {width}")
        self.tokens = vocabulary + mask_token
        if vocabulary:
            self.stem = nn.Embedding(self.tokens, width)
        else:
            self.stem = nn.Linear(self.shape[1] * (2 if self_condition else 1), width)
        self.positions = positions_of(self.shape[0], width)
        self.embedding = TimeEmbedding(width, classes)
        self.blocks = nn.ModuleList(TransformerBlock(width, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = zero_init(nn.Linear(width, vocabulary or self.shape[1]))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        """Map x at time t to a prediction.

        Args:
            x: (B, L, D) floats, or (B, L) int64 tokens.
            t: (B,) times.
            labels: (B,) int64 classes; index == number of classes means "no label".
            mask: (B, L) bool, True at real tokens. Padding is never attended to; its own output means nothing.
            last: the previous estimate, shaped like x.
        """
        self.check(x, t, mask, last)
        if self.tokens:
            self._check_tokens(x)
        conditioning = self.embedding(t, labels)
        h = self.stem(self.with_last(x, last, dim=-1)) + self.positions  # (B, L, W)
        for block in self.blocks:
            h = block(h, conditioning, mask)
        return self.head(self.norm(h))

    def check_mask(self, x: Tensor, mask: Tensor) -> None:
        if mask.shape != x.shape[:2] or mask.dtype != torch.bool:
            raise PieceError(
                f"mask must be bool of shape {tuple(x.shape[:2])}, not {mask.dtype} of shape {tuple(mask.shape)}"
            )

    def _check_tokens(self, x: Tensor) -> None:
        if x.dtype != torch.int64:
            raise PieceError(f"a board must hold int64 tokens, not {x.dtype}")
        # Only on the CPU: elsewhere reading a value makes the processor wait for the device.
        if x.device.type == "cpu" and x.numel() and not 0 <= x.min() <= x.max() < self.tokens:
            raise PieceError(f"tokens must lie in 0..{self.tokens - 1}; got {int(x.min())}..{int(x.max())}")
