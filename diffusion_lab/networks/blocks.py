"""Parts that several networks share: checked inputs, residual convolutions, attention, patches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lab.errors import PieceError

HEAD_SIZE = 32
"""Numbers for each head of attention; the width of what attends is a multiple of it."""


class Network(nn.Module):
    """Base of the networks: what data they take, and the checks that they share.

    Attributes:
        shape: the shape of one sample, without the batch.
        self_condition: whether the network also reads `last`, its previous estimate of the clean data.
    """

    def __init__(self, shape: tuple[int, ...], self_condition: bool = False):
        super().__init__()
        self.shape = tuple(shape)
        self.self_condition = self_condition

    @property
    def title(self) -> str:
        """What tables and messages call this network."""
        return type(self).__name__

    def check(self, x: Tensor, t: Tensor, mask: Tensor | None = None, last: Tensor | None = None) -> None:
        """Raise a PieceError that names the input which this network was not built for."""
        self.check_shape(x)
        if t.shape != x.shape[:1]:
            raise PieceError(f"t must have shape ({len(x)},), one time for each sample, not {tuple(t.shape)}")
        if mask is not None:
            self.check_mask(x, mask)
        if last is not None and not self.self_condition:
            raise PieceError(f"last was given to a {self.title} built without self_condition=True")
        if last is not None and last.shape != x.shape:
            raise PieceError(f"last must have the shape of x, {tuple(x.shape)}, not {tuple(last.shape)}")

    def check_shape(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape or x.ndim == 0:
            wanted = "(" + ", ".join(["B", *map(str, self.shape)]) + ")"
            raise PieceError(f"this {self.title} was built for x of shape {wanted}, not {tuple(x.shape)}")

    def check_mask(self, x: Tensor, mask: Tensor) -> None:
        raise PieceError(f"a {self.title} takes no mask; only a Transformer and a SetTransformer do")

    def with_last(self, x: Tensor, last: Tensor | None, dim: int) -> Tensor:
        """x and the previous estimate side by side along `dim`; zeros stand for "no estimate yet".

        Self-conditioning (Chen et al. 2022, "Analog Bits", section 3.2).
        """
        if not self.self_condition:
            return x
        return torch.cat([x, torch.zeros_like(x) if last is None else last], dim=dim)


def zero_init(layer: nn.Module) -> nn.Module:
    """Set the weights of a layer to zero, so that what it ends starts as the constant zero, or the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def positions_of(tokens: int, width: int) -> nn.Parameter:
    """A learned vector for each place, (L, W), small at the start (Dosovitskiy et al. 2021, section 3.1).

    Keep it under the name `positions`, by which `Muon` knows that it is a table and not a matrix.
    """
    return nn.Parameter(0.02 * torch.randn(tokens, width))


def to_patches(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """Space to channels: (B, C, H, W) -> (B, C ph pw, H / ph, W / pw). Nothing is lost."""
    batch, channels, height, width = x.shape
    ph, pw = patch
    x = x.reshape(batch, channels, height // ph, ph, width // pw, pw)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * ph * pw, height // ph, width // pw)


def from_patches(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """The inverse of `to_patches`: (B, C ph pw, H / ph, W / pw) -> (B, C, H, W)."""
    batch, channels, height, width = x.shape
    ph, pw = patch
    x = x.reshape(batch, channels // (ph * pw), ph, pw, height, width)
    return x.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // (ph * pw), height * ph, width * pw)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with groups of about 16 channels, as many as divide `channels` evenly."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 16)), channels)


def modulate(x: Tensor, film: Tensor) -> Tensor:
    """FiLM: scale and shift every channel of x (B, C, ...) by the two halves of film (B, 2 C).

    Perez et al. 2018, "FiLM: Visual Reasoning with a General Conditioning Layer", equation 2.
    """
    film = film.reshape(film.shape + (1,) * (x.ndim - 2)).to(x.dtype)  # (B, 2 C) -> (B, 2 C, 1, ...)
    scale, shift = film.chunk(2, dim=1)
    return torch.addcmul(shift, x, 1 + scale)


class ResidualBlock(nn.Module):
    """Two convolutions around which x passes unchanged: (B, inputs, H, W) -> (B, outputs, H, W).

    The time enters as FiLM after the second normalisation (Dhariwal and Nichol 2021, section 3). The last
    convolution starts at zero, so that a new block is the identity.
    """

    def __init__(self, inputs: int, outputs: int, conditioning: int, kernel: tuple[int, int]):
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.norm1 = group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, padding=padding)
        self.norm2 = group_norm(outputs)
        self.film = nn.Linear(conditioning, 2 * outputs)
        self.conv2 = zero_init(nn.Conv2d(outputs, outputs, kernel, padding=padding))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(modulate(self.norm2(h), self.film(conditioning))))
        return self.skip(x) + h


def attend(qkv: Tensor, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention (Vaswani et al. 2017, equation 1) on projected tokens: (B, L, 3 D) -> (B, L, D).

    There are D / HEAD_SIZE heads. `mask` (B, L) is True at the tokens that may be attended to.
    """
    batch, length, width = qkv.shape
    qkv = qkv.reshape(batch, length, 3, -1, HEAD_SIZE).permute(2, 0, 3, 1, 4)  # (3, B, heads, L, HEAD_SIZE)
    query, key, value = qkv.unbind(0)
    keep = None if mask is None else mask[:, None, None, :]  # (B, L) -> (B, 1, 1, L)
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and keep is None:
        # The fused kernel was 5 times slower than these two lines here (49 tokens, forward and backward).
        weights = (query @ key.transpose(-1, -2) / math.sqrt(HEAD_SIZE)).softmax(dim=-1)
        mixed = weights @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keep)
    return mixed.transpose(1, 2).reshape(batch, length, width // 3)


class SpatialAttention(nn.Module):
    """Every pixel looks at every other, with a residual connection: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H W, C)
        mixed = self.out(attend(self.qkv(tokens)))
        return x + mixed.transpose(1, 2).reshape(x.shape)
