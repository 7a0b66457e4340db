"""A network that knows the one image there is."""

from torch import Tensor

from diffusion_lab.exercises.probes import Described


class OneImage(Described):
    """The exact v of data that are one image: x0 is known, so eps and v follow from x.

    Args:
        image: (*S).
        alpha_bar: (T,).
    """

    def __init__(self, image: Tensor, alpha_bar: Tensor):
        super().__init__()
        self.register_buffer("image", image.double())
        self.register_buffer("alpha_bar", alpha_bar.double())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S) and t (B,) int64 to v (B, *S)."""
        if not isinstance(t, Tensor) or t.shape != x.shape[:1]:
            raise ValueError(f"the network takes one step for each sample, a tensor of shape ({len(x)},), not {t!r}")
        kept = self.alpha_bar.to(x)[t].reshape(-1, *[1] * (x.ndim - 1))
        image = self.image.to(x)
        eps = (x - kept.sqrt() * image) / (1 - kept).sqrt()
        return kept.sqrt() * eps - (1 - kept).sqrt() * image
