"""U-Nets for images and sounds (Ronneberger et al. 2015), designed so that a CPU can train them.

Three choices make the speed. The data are cut into patches first, so that no convolution runs at full resolution: a
step of training without them takes 2.8 times as long. Weights and activations are kept in channels-last order, the one
that the fast kernels want, which is worth a tenth. And a sound is treated as an image one pixel high: a 2-D convolution
with a (1, 3) kernel does the same arithmetic as a 1-D one, and has a channels-last kernel, which the 1-D one has not.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lab.errors import PieceError
from diffusion_lab.networks.blocks import (
    Network,
    ResidualBlock,
    SpatialAttention,
    from_patches,
    group_norm,
    to_patches,
    zero_init,
)
from diffusion_lab.networks.embeddings import TimeEmbedding, fourier_features


class Trunk(nn.Module):
    """The U: down through the resolutions, attention at the lowest, and up again with skip connections.

    (B, inputs, H, W) and conditioning (B, E) -> (B, outputs, H, W), in channels-last order.

    Args:
        channels: one entry for each resolution, the highest first; each is half the one before.
        depth: residual blocks at each resolution on the way down, and again on the way up.
        kernel: (3, 3) for images, (1, 3) for sounds.
        halving: how much smaller each resolution is: (2, 2) for images, (1, 2) for sounds.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: tuple[int, ...],
        depth: int,
        conditioning: int,
        kernel: tuple[int, int],
        halving: tuple[int, int],
    ):
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)

        def block(a: int, b: int) -> ResidualBlock:
            return ResidualBlock(a, b, conditioning, kernel)

        self.stem = nn.Conv2d(inputs, channels[0], kernel, padding=padding)
        self.down = nn.ModuleList(nn.ModuleList(block(c, c) for _ in range(depth)) for c in channels)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, halving, stride=halving) for a, b in pairwise(channels))
        self.attention = SpatialAttention(channels[-1])
        self.middle = block(channels[-1], channels[-1])
        self.up = nn.ModuleList(nn.ModuleList(block(2 * c if i == 0 else c, c) for i in range(depth)) for c in channels)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, halving, stride=halving) for a, b in pairwise(channels))
        self.norm = group_norm(channels[0])
        self.head = zero_init(nn.Conv2d(channels[0], outputs, kernel, padding=padding))

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        h = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, blocks in enumerate(self.down):
            if level:
                h = self.shrink[level - 1](h)
            for block in blocks:
                h = block(h, conditioning)
            skips.append(h)
        h = self.middle(self.attention(h), conditioning)
        for level in reversed(range(len(self.up))):
            h = torch.cat([h, skips.pop()], dim=1)
            for block in self.up[level]:
                h = block(h, conditioning)
            if level:
                h = self.grow[level - 1](h)
        return self.head(F.silu(self.norm(h)))


def _check_sizes(sides: dict[str, int], patch: int, levels: int, width: int) -> None:
    divisor = patch * 2 ** (levels - 1)
    for name, side in sides.items():
        if side % divisor:
            raise PieceError(
                f"the {name} {side} cannot be cut into patches of {patch} and halved {levels - 1} times; it must be "
                f"divisible by {divisor}, or take another patch or number of levels"
            )
    if width % 16:
        raise PieceError(f"the width of a U-Net must be a multiple of 16, not {width}")


class UNet2d(Network):
    """A U-Net for images.

    Args:
        shape: (C, H, W) of one image; H and W divisible by patch * 2^(levels - 1).
        width: channels at the highest resolution; the lower ones have twice as many. A multiple of 16.
        depth: residual blocks for each resolution, on the way down and again on the way up.
        levels: number of resolutions.
        patch: side of the square patches that the image is cut into first.
        classes: number of classes; 0 builds a network that takes no labels.
        self_condition: also read `last`, the previous estimate of the clean image.

    Raises:
        PieceError: for a shape or a size that does not fit, and in `forward` for a condition it was not built for.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: int = 48,
        depth: int = 1,
        levels: int = 2,
        patch: int = 2,
        classes: int = 0,
        self_condition: bool = False,
    ):
        super().__init__(shape, self_condition)
        channels, height, breadth = self.shape
        _check_sizes({"image height": height, "image width": breadth}, patch, levels, width)
        self.patch = (patch, patch)
        self.embedding = TimeEmbedding(2 * width, classes)
        self.trunk = Trunk(
            inputs=channels * patch**2 * (2 if self_condition else 1),
            outputs=channels * patch**2,
            channels=(width,) + (2 * width,) * (levels - 1),
            depth=depth,
            conditioning=2 * width,
            kernel=(3, 3),
            halving=(2, 2),
        ).to(memory_format=torch.channels_last)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        self.check(x, t, mask, last)
        patches = to_patches(self.with_last(x, last, dim=1), self.patch)
        y = from_patches(self.trunk(patches, self.embedding(t, labels)), self.patch)
        keep = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return y.contiguous(memory_format=torch.channels_last if keep else torch.contiguous_format)


class UNet1d(Network):
    """A U-Net for sounds: `UNet2d` with (1, 3) kernels, on patches of consecutive samples.

    Args:
        shape: (C, L) of one sound; L divisible by patch * 2^(levels - 1).
        width: channels at the highest resolution; the lower ones have twice as many. A multiple of 16.
        depth: residual blocks for each resolution, on the way down and again on the way up.
        levels: number of resolutions.
        patch: number of consecutive samples that become the channels of one position.
        classes: number of classes; 0 builds a network that takes no labels.
        self_condition: also read `last`, the previous estimate of the clean sound.
        places: octaves of sines and cosines that tell each position where it lies (Liu et al. 2018, "CoordConv"); 0
            tells nothing, and a convolution then treats every place alike. For signals that have something in their
            middle.

    Raises:
        PieceError: for a shape or a size that does not fit, and in `forward` for a condition it was not built for.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        width: int = 48,
        depth: int = 1,
        levels: int = 4,
        patch: int = 16,
        classes: int = 0,
        self_condition: bool = False,
        places: int = 0,
    ):
        super().__init__(shape, self_condition)
        channels, length = self.shape
        _check_sizes({"sound length (for a row of vectors, kind='transformer')": length}, patch, levels, width)
        self.patch = (1, patch)
        self.embedding = TimeEmbedding(2 * width, classes)
        position = torch.linspace(-math.pi / 2, math.pi / 2, length // patch)[:, None]
        where = fourier_features(position, places) if places else position[:, :0]  # (L / patch, 1 + 2 places)
        self.register_buffer("where", where.T[None, :, None].contiguous(), persistent=False)
        self.trunk = Trunk(
            inputs=channels * patch * (2 if self_condition else 1) + where.shape[1],
            outputs=channels * patch,
            channels=(width,) + (2 * width,) * (levels - 1),
            depth=depth,
            conditioning=2 * width,
            kernel=(1, 3),
            halving=(1, 2),
        ).to(memory_format=torch.channels_last)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        self.check(x, t, mask, last)
        image = self.with_last(x, last, dim=1).unsqueeze(2)  # (B, C, L) -> (B, C, 1, L)
        patches = to_patches(image, self.patch)
        if self.where.shape[1]:
            patches = torch.cat([patches, self.where.to(patches.dtype).expand(len(patches), -1, -1, -1)], dim=1)
        return from_patches(self.trunk(patches, self.embedding(t, labels)), self.patch).squeeze(2)
