"""A small autoencoder for images: what latent diffusion works in (Rombach et al. 2022, section 3.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lab.errors import PieceError
from diffusion_lab.networks.blocks import from_patches, group_norm, to_patches, zero_init


class Block(nn.Module):
    """Two convolutions around which x passes unchanged, without a time: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels), group_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


def _convolutions(inputs: int, outputs: int, width: int, depth: int) -> nn.Sequential:
    """Convolutions whose last one starts at zero: what they add to a linear map is nothing at first."""
    blocks = [Block(width) for _ in range(depth)]
    last = zero_init(nn.Conv2d(width, outputs, 3, padding=1))
    return nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), *blocks, group_norm(width), nn.SiLU(), last)


class Autoencoder(nn.Module):
    """Images (B, C, H, W) to latents (B, channels, H / patch, W / patch) of unit variance, and back.

    A linear map makes `channels` numbers of each patch, and convolutions over the neighbouring patches add what they
    have learned; the way back is the same. `start_from_pca` sets the linear maps to the best there are.

    Args:
        shape: (C, H, W) of one image; H and W divisible by `patch`.
        channels: numbers of a latent pixel, at most those of a patch.
        patch: pixels along the side of a patch.
        width: channels of the convolutions, a multiple of 16.
        depth: blocks of the encoder; the decoder has twice as many.
        seed: decides the weights of the convolutions.

    Raises:
        PieceError: for sizes that do not fit.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: int = 4,
        patch: int = 4,
        width: int = 48,
        depth: int = 1,
        seed: int = 0,
    ):
        super().__init__()
        bands, height, breadth = shape
        pixels = bands * patch**2
        fits = patch >= 1 and not (height % patch or breadth % patch)
        if not fits or not 1 <= channels <= pixels or width < 16 or width % 16:
            raise PieceError(
                f"an autoencoder for images {tuple(shape)} with patches of {patch}, {channels} channels and a width of "
                f"{width} is not possible: the patch must be at least 1 and divide height and width, there can be 1 to "
                f"{pixels} channels, and the width must be a multiple of 16, 16 or more"
            )
        self.shape, self.patch = tuple(shape), (patch, patch)
        self.latent_shape = (channels, height // patch, breadth // patch)
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.squeeze = nn.Conv2d(pixels, channels, 1)
            self.expand = nn.Conv2d(channels, pixels, 1)
            self.encoder = _convolutions(pixels, channels, width, depth)
            self.decoder = _convolutions(channels, pixels, width, 2 * depth)
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))
        self.to(memory_format=torch.channels_last)

    def start_from_pca(self, images: Tensor) -> Autoencoder:
        """Set the linear maps to the principal components of the patches of images (N, C, H, W); returns self.

        With the convolutions still at zero, no linear autoencoder of patches has a smaller mean square error.
        """
        patches = to_patches(images, self.patch).transpose(0, 1).flatten(1).double()  # (pixels of a patch, N H W / p^2)
        mean = patches.mean(dim=1)
        variances, axes = torch.linalg.eigh(torch.cov(patches, correction=0))
        count = self.latent_shape[0]
        scale = variances[-count:].clamp(min=1e-12).sqrt()
        axes = axes[:, -count:]  # (pixels of a patch, channels)
        with torch.no_grad():
            self.squeeze.weight.copy_((axes / scale).T[..., None, None])
            self.squeeze.bias.copy_(-(mean @ axes) / scale)
            self.expand.weight.copy_((axes * scale)[..., None, None])
            self.expand.bias.copy_(mean)
        return self

    def raw(self, images: Tensor) -> Tensor:
        """Latents (B, channels, H / patch, W / patch) as they are trained, before they are scaled."""
        if tuple(images.shape[1:]) != self.shape:
            raise PieceError(f"this autoencoder was built for images (B, {self.shape}), not {tuple(images.shape)}")
        patches = to_patches(images, self.patch).contiguous(memory_format=torch.channels_last)
        return self.squeeze(patches) + self.encoder(patches)

    def from_raw(self, latents: Tensor) -> Tensor:
        """Images (B, C, H, W) from latents before they are scaled."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        patches = self.expand(latents) + self.decoder(latents)
        return from_patches(patches, self.patch).contiguous()

    @torch.no_grad()
    def scale_to(self, images: Tensor) -> Autoencoder:
        """Have `encode` give every channel mean 0 and variance 1 on these images (N, C, H, W); returns self.

        A schedule counts noise in units of the data's standard deviation (Rombach et al. 2022, appendix G).
        """
        latents = torch.cat([self.raw(part) for part in images.split(250)])
        std, mean = torch.std_mean(latents, dim=(0, 2, 3), keepdim=True)
        self.mean.copy_(mean[0])
        self.std.copy_(std[0].clamp(min=1e-6))
        return self

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> latents (N, channels, H / patch, W / patch), a few at a time."""
        return torch.cat([(self.raw(part) - self.mean) / self.std for part in images.split(250)]).contiguous()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> images (N, C, H, W), a few at a time."""
        return torch.cat([self.from_raw(part * self.std + self.mean) for part in latents.split(250)])

    @property
    def ratio(self) -> float:
        """How many numbers of an image come to one of its latent."""
        return math.prod(self.shape) / math.prod(self.latent_shape)
