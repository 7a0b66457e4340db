"""DiT, the diffusion transformer: a transformer whose tokens are patches."""

from __future__ import annotations

from torch import Tensor

from diffusion_lab.networks.patches import PatchNetwork
from diffusion_lab.networks.transformer import Transformer


class DiT(PatchNetwork):
    """A diffusion transformer (Peebles and Xie 2023): patches in a row, through a `Transformer`, and back.

    The time and the class scale, shift and gate every block, and all gates start at zero (adaLN-Zero, section 3.2). Two
    small things differ from the paper: the positions are learned, and the last normalisation does not see the time.

    Args:
        shape: (C, H, W) of one image, or (C, L) of one signal.
        width: numbers for each token inside. A multiple of 32, the size of one head of attention.
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
        row = (self.tokens, self.numbers)
        self.inner = Transformer(row, width, depth, classes=classes, self_condition=self_condition)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        self.check(x, t, mask, last)
        return self.join(self.inner(self.cut(x), t, labels, last=None if last is None else self.cut(last)))
