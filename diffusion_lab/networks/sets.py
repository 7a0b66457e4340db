"""Sets: a transformer that does not see their order, and the networks for signals that do."""

from __future__ import annotations

from torch import Tensor, nn

from diffusion_lab.errors import PieceError
from diffusion_lab.networks.blocks import HEAD_SIZE, Network, zero_init
from diffusion_lab.networks.embeddings import TimeEmbedding, fourier_features
from diffusion_lab.networks.transformer import Transformer, TransformerBlock


class SetTransformer(Network):
    """A transformer without positions: (B, N, D) to the same shape, and rows in another order come out in that order.

    Every layer treats all rows alike, and attention sums over them, so that the whole is equivariant under permutations
    (Lee et al. 2019, "Set Transformer", section 3; Zaheer et al. 2017, "Deep Sets", lemma 3). N may be another one at
    each call: `shape` says only which it is usually.

    Args:
        shape: (N, D) of one set.
        width: numbers for each row inside. A multiple of 32, the size of one head of attention.
        depth: number of blocks.
        classes: number of classes; 0 builds a network that takes no labels.
        frequencies: octaves of sines and cosines of each coordinate that the network reads besides the coordinate.
        self_condition: also read `last`, the previous estimate of the clean set.

    Raises:
        PieceError: for sizes that do not fit, and in `forward` for a shape or condition it was not built for.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        width: int = 64,
        depth: int = 4,
        classes: int = 0,
        frequencies: int = 3,
        self_condition: bool = False,
    ):
        super().__init__(shape, self_condition)
        if len(self.shape) != 2:
            raise PieceError(f"a SetTransformer takes the shape (N, D), not {self.shape}")
        if width % HEAD_SIZE:
            raise PieceError(f"the width of a SetTransformer must be a multiple of {HEAD_SIZE}, not {width}")
        self.frequencies = frequencies
        inputs = self.shape[1] * (2 if self_condition else 1)
        self.stem = nn.Linear(inputs * (1 + 2 * frequencies), width)
        self.embedding = TimeEmbedding(width, classes)
        self.blocks = nn.ModuleList(TransformerBlock(width, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = zero_init(nn.Linear(width, self.shape[1]))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        """Map the sets x (B, N, D) at times t (B,) to a prediction (B, N, D).

        Args:
            labels: (B,) int64 classes; index == number of classes means "no label".
            mask: (B, N) bool, True at real points, for sets of different sizes in one batch. What is not real is never
                attended to, and its own output means nothing.
            last: the previous estimate, shaped like x.
        """
        self.check(x, t, mask, last)
        read = self.with_last(x, last, dim=-1)
        features = fourier_features(read.flatten(0, 1), self.frequencies).unflatten(0, x.shape[:2])
        h = self.stem(features)  # (B, N, W)
        conditioning = self.embedding(t, labels)
        for block in self.blocks:
            h = block(h, conditioning, mask)
        return self.head(self.norm(h))

    def check_shape(self, x: Tensor) -> None:
        if x.ndim != 3 or x.shape[2] != self.shape[1] or not x.shape[1]:
            raise PieceError(
                f"this SetTransformer was built for x of shape (B, N, {self.shape[1]}) with any N from 1 on, "
                f"not {tuple(x.shape)}"
            )

    check_mask = Transformer.check_mask


class Rows(Network):
    """A network for signals that reads a set: (B, N, D) goes in as D channels of N values, in the order it comes in.

    Nothing here takes the order away. Unless `reader` treats all places alike, the same set in another order gets
    another answer.

    Args:
        reader: a network for the shape (D, N).

    Raises:
        PieceError: in `forward`, for a shape or a condition that `reader` was not built for.
    """

    def __init__(self, reader: Network):
        super().__init__(reader.shape[::-1], reader.self_condition)
        self.reader = reader

    @property
    def title(self) -> str:
        return f"{self.reader.title} of rows"

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        self.check(x, t, mask, last)
        return self.reader(x.mT, t, labels, last=None if last is None else last.mT).mT
