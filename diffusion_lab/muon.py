"""Muon: an optimizer for matrices, with AdamW for everything else.

The gradient of a layer is mostly a few directions, and a step along it changes little else. Muon averages gradients as
momentum does, and then replaces the average U S V^T by U V^T, so that all directions move equally far (Jordan et al.
2024, "Muon: An optimizer for hidden layers in neural networks"). torch has had it since 2.9, for matrices alone; this
one takes kernels of convolutions too, and works with every torch that the package supports.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""a, b and c of a x + b x^3 + c x^5, whose repetition takes every x in (0, 1] near 1 (Jordan et al. 2024)."""
MOMENTUM = 0.95
"""The share of the last average that stays in the next one."""
SIZE = 0.2
"""The root mean square of an update at learning rate 1: about what AdamW's has, so that both can share a learning rate
(Liu et al. 2025, "Muon is scalable for LLM training", section 2.2)."""
STEPS = 5
"""Repetitions of the iteration. The coefficients are made for few (Jordan et al. 2024)."""


def orthogonalise(matrices: Tensor) -> Tensor:
    """U V^T for each matrix U S V^T, roughly: its singular values come out between about 0.7 and 1.2.

    The iteration of Newton and Schulz, x <- (a + b x x^T + c (x x^T)^2) x, with the coefficients of Jordan et al. 2024.
    All its factors are polynomials of the small x x^T, so they are multiplied first and meet the large x once. What is
    below about a thousandth of the whole stays small.

    Args:
        matrices: (B, M, N), of any scale; zeros stay zeros.

    Returns:
        (B, M, N).
    """
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    square = x @ x.mT if wide else x.mT @ x
    factor = product = _polynomial(square)
    for _ in range(STEPS - 1):
        square = factor @ square @ factor
        factor = _polynomial(square)
        product = product @ factor
    return product @ x if wide else x @ product


def _polynomial(square: Tensor) -> Tensor:
    """a + b y + c y^2 of symmetric matrices y (B, M, M)."""
    a, b, c = COEFFICIENTS
    factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor


class Muon(torch.optim.AdamW):
    """Muon for matrices and kernels, AdamW for vectors, tables of vectors, and where a side is shorter than 16.

    A kernel (O, I, H, W) is taken as the matrix (O, I H W). Tables are the weights of every `nn.Embedding`, and learned
    positions: parameters named `positions`. The first and the last layer are moved as matrices where both sides have
    16 or more, unlike in Jordan et al., who leave the last layer to AdamW. Both kinds share one learning rate; see
    `SIZE`.

    Args:
        network: whose parameters are trained.
        lr, betas, weight_decay, fused: as in `torch.optim.AdamW`; the weights of matrices decay too.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        fused: bool | None = None,
    ):
        tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
        tables |= {id(p) for name, p in network.named_parameters() if name.split(".")[-1] == "positions"}
        kinds: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for p in network.parameters():
            kinds[p.ndim >= 2 and id(p) not in tables and min(_shape(p)) >= 16].append(p)
        groups = [{"params": kinds[True], "muon": True}, {"params": kinds[False], "muon": False}]
        super().__init__(groups, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)

    @torch.no_grad()
    def step(self, closure=None):
        """One step; the gradients of matrices are used up by it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                alike = defaultdict(list)
                for p in group["params"]:
                    if p.grad is not None:
                        alike[_shape(p)].append(p)
                for shape, parameters in alike.items():
                    self._move(parameters, shape, group["lr"], group["weight_decay"])
        super().step()  # passes over parameters without a gradient
        return loss

    def _move(self, parameters: list[nn.Parameter], shape: tuple[int, int], lr: float, decay: float) -> None:
        ahead = []
        for p in parameters:
            state = self.state[p]
            if not state:
                state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(p)  # AdamW looks for a step
            state["momentum"].lerp_(p.grad, 1 - MOMENTUM)
            ahead.append(p.grad.lerp(state["momentum"], MOMENTUM).reshape(shape))  # Nesterov's
            p.grad = None
        size = SIZE * max(shape) ** 0.5  # of a matrix with orthonormal rows, root mean square 1 / sqrt(max(shape))
        for p, update in zip(parameters, orthogonalise(torch.stack(ahead)), strict=True):
            p.mul_(1 - lr * decay).add_(update.reshape(p.shape), alpha=-lr * size)


def _shape(p: Tensor) -> tuple[int, int]:
    """The shape of the matrix that a parameter is taken for, which has two dimensions or more."""
    return len(p), p[0].numel()
