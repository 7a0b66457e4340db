"""Sampling what fits a measurement, with a denoiser that was trained without one.

The measurement is linear, seen = matrix x0 + noise n: some of the numbers, means of neighbours, a blurred picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.denoisers import Denoiser
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers.loop import Context, Step

DOUBTS = ("isotropic", "jacobian")


def observing(denoiser: Denoiser, matrix: Tensor, seen: Tensor, noise: float, doubt: str = "isotropic") -> Denoiser:
    """The denoiser of x0 given seen = matrix x0 + noise n, made from one of x0 alone.

    It moves x0_hat by sigma^2 / alpha times the gradient in x of log N(seen; matrix x0_hat, matrix C matrix^T + noise^2
    I), where C stands for the covariance of x0 given x. `doubt` says what is taken for it:

    - "isotropic": sigma^2 / (alpha^2 + sigma^2) I, right for independent data of unit variance (PiGDM, Song et al.
      2023).
    - "jacobian": sigma^2 / alpha times the derivative of the denoiser, which is C itself. So it is exact for normal
      data (Boys et al. 2024). It costs one more backward pass for each number seen.

    Args:
        denoiser: (x (B, *S), level) -> prediction. It must let gradients through; `denoisers.from_network` does not.
        matrix: (K, D), where D is how many numbers a sample has.
        seen: (K,), or (B, K) where each sample has its own.
        noise: the standard deviation of the measurement's noise, at least 0.

    Raises:
        PieceError: if a shape or `doubt` does not fit or the noise is negative; when it runs, if the denoiser stops the
            gradient or alpha is 0.
    """
    if doubt not in DOUBTS:
        raise PieceError(f"doubt must be one of {', '.join(DOUBTS)}, got {doubt!r}")
    if noise < 0:
        raise PieceError(f"the noise of a measurement must be at least 0, got {noise:g}")
    _check(matrix, seen)

    def denoise(x: Tensor, level: Level) -> Prediction:
        if (level.alpha == 0).any():
            raise PieceError("where alpha is 0, x says nothing of x0; use `schedule.limit_log_snr(-10, 12)`")
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            guess, told = _guess(denoiser, x, level, matrix)
            scale = level.sigma**2 / level.alpha
            if doubt == "isotropic":
                share = level.sigma**2 / (level.alpha**2 + level.sigma**2)
                spread = share.flatten()[:, None, None] * (matrix @ matrix.T).to(x)
            else:
                rows = [torch.autograd.grad(told[:, k].sum(), x, retain_graph=True)[0] for k in range(len(matrix))]
                # (B, K, D), the product of matrix and C: it is a derivative of what the denoiser tells.
                spread = torch.stack([(scale * row).flatten(1) for row in rows], dim=1) @ matrix.T.to(x)
            spread = spread + noise**2 * torch.eye(len(matrix)).to(x)
            miss = (seen.to(x) - told).detach()
            weighed = torch.linalg.solve(spread.expand(len(x), -1, -1), miss.unsqueeze(-1)).squeeze(-1)  # (B, K)
            (pull,) = torch.autograd.grad((told * weighed).sum(), x)
        x0 = guess.detach() + scale * pull
        return Prediction(x0, (x.detach() - level.alpha * x0) / level.sigma)

    return denoise


def dps(step: Step, matrix: Tensor, seen: Tensor, push: float) -> Step:
    """After each step, go `push` times down the gradient of |seen - matrix x0_hat| (Chung et al. 2023, algorithm 1).

    The paper divides the gradient of the square by the length, so its zeta is half of `push`. All pushes add up: tune
    `push` again when you change the number of steps.

    Args:
        step: any step; the paper's is `ddpm`.
        matrix: (K, D), where D is how many numbers a sample has.
        seen: (K,), or (B, K) where each sample has its own.
        push: at least 0.

    Raises:
        PieceError: if a shape does not fit or `push` is negative; when it runs, if the denoiser stops the gradient.
    """
    if push < 0:
        raise PieceError(f"push must be at least 0, got {push:g}")
    _check(matrix, seen)

    def wrapped(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        with torch.enable_grad():
            asked = x.detach().requires_grad_()
            _, told = _guess(context.denoiser, asked, now, matrix)
            miss = torch.linalg.vector_norm(seen.to(x) - told, dim=1)
            (slope,) = torch.autograd.grad(miss.sum(), asked)
        return step(x, now, after, prediction, context) - push * slope

    return wrapped


def _check(matrix: Tensor, seen: Tensor) -> None:
    if matrix.ndim != 2 or seen.ndim not in (1, 2) or seen.shape[-1] != len(matrix):
        raise PieceError(
            f"expected matrix (K, D) and seen (K,) or (B, K), got {tuple(matrix.shape)} and {tuple(seen.shape)}"
        )


def _guess(denoiser: Denoiser, x: Tensor, level: Level, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """x0_hat (B, *S) and what the measurement would see of it (B, K), both with the graph back to x."""
    x0 = denoiser(x, level).x0
    if not x0.requires_grad:
        raise PieceError("this denoiser stops gradients, and a measurement needs its derivative in x")
    if x0[0].numel() != matrix.shape[1]:
        raise PieceError(f"matrix {tuple(matrix.shape)} does not fit samples of {x0[0].numel()} numbers")
    return x0, x0.flatten(1) @ matrix.T.to(x0)
