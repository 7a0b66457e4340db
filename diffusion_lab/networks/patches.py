"""Cutting images and signals into patches, each of them one token: what DiT, U-ViT and mixer share."""

from __future__ import annotations

import math

from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.networks.blocks import Network, from_patches, to_patches

MOST_TOKENS = 64
"""Without a `patch` of its own, a network takes the smallest patch that leaves at most so many tokens."""


class PatchNetwork(Network):
    """Base of the networks whose tokens are patches of an image (C, H, W) or stretches of a signal (C, L).

    Args:
        shape: of one image or signal.
        patch: side of the square patches, or length of the stretches; None for the smallest that leaves at most
            `MOST_TOKENS` tokens.
        self_condition: also read `last`, the previous estimate of the clean data.

    Attributes:
        tokens: how many patches there are, L in the shapes below.
        numbers: how many numbers a patch has, P in the shapes below.

    Raises:
        PieceError: for another shape, a patch that does not divide its sides, or sides that no patch fits.
    """

    def __init__(self, shape: tuple[int, ...], patch: int | None, self_condition: bool):
        super().__init__(shape, self_condition)
        name, sides = type(self).__name__, self.shape[1:]
        if len(sides) not in (1, 2):
            raise PieceError(f"a {name} takes the shape (C, L) or (C, H, W), not {self.shape}")
        size = _fitting(sides) if patch is None else patch
        if size is None:
            raise PieceError(
                f"no patch cuts {self.shape} into 2 to {MOST_TOKENS} tokens for a {name}: give another size of data, "
                "or a `patch`"
            )
        if any(side % size for side in sides):
            raise PieceError(f"the data of shape {self.shape} cannot be cut into patches of {size} for a {name}")
        self.patch = (size, size) if len(sides) == 2 else (1, size)
        self.tokens = math.prod(side // size for side in sides)
        self.numbers = self.shape[0] * math.prod(self.patch)

    def cut(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, C, L) -> (B, L, P): one row for each patch."""
        image = x if x.ndim == 4 else x.unsqueeze(2)
        return to_patches(image, self.patch).flatten(2).mT

    def join(self, rows: Tensor) -> Tensor:
        """The inverse of `cut`."""
        height, width = self.shape[1:] if len(self.shape) == 3 else (1, self.shape[1])
        grid = (height // self.patch[0], width // self.patch[1])
        return from_patches(rows.mT.unflatten(2, grid), self.patch).reshape(-1, *self.shape)


def _fitting(sides: tuple[int, ...]) -> int | None:
    """The smallest patch that leaves at most `MOST_TOKENS` tokens, and two or more; None where there is none."""
    for size in range(1, max(sides) + 1):
        if not any(side % size for side in sides) and math.prod(side // size for side in sides) <= MOST_TOKENS:
            return size if math.prod(side // size for side in sides) > 1 else None
    return None
