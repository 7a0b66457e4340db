"""Distances and moments for data whose true distribution is a normal one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double, as_rows


class Moments(NamedTuple):
    """The first four moments of a sample, in float64."""

    mean: Tensor
    """(D,)"""
    cov: Tensor
    """(D, D), divided by N - 1."""
    skewness: Tensor
    """(D,), third central moment over std^3; 0 for a normal. NaN where a coordinate is constant."""
    excess_kurtosis: Tensor
    """(D,), fourth central moment over variance^2, less 3; 0 for a normal. NaN where a coordinate is constant."""

    @property
    def std(self) -> Tensor:
        """(D,), the square root of the diagonal of `cov`."""
        return self.cov.diagonal().sqrt()


def moments(samples: Tensor) -> Moments:
    """Mean, covariance, skewness and excess kurtosis of samples (N, *S), flattened to (N, D). Needs N >= 2.

    Skewness and kurtosis are the plain moment ratios, which divide by N (biased in small samples, as in textbooks).
    """
    rows = as_rows(samples, "samples", at_least=2)
    mean = rows.mean(0)
    centred = rows - mean
    variance = centred.square().mean(0)
    return Moments(
        mean=mean,
        cov=centred.T @ centred / (len(rows) - 1),
        skewness=centred.pow(3).mean(0) / variance.pow(1.5),
        excess_kurtosis=centred.pow(4).mean(0) / variance.square() - 3,
    )


def matrix_sqrt(cov: Tensor) -> Tensor:
    """The symmetric square root (D, D) of a positive semi-definite matrix, by its eigenvectors.

    A general matrix square root (Schur) of a product of covariances can come out complex by rounding; this one cannot.
    Raises DataError when the matrix is not symmetric, or has an eigenvalue that is negative beyond rounding.
    """
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise DataError(f"a covariance has shape (D, D), and this one has {tuple(cov.shape)}")
    scale = float(cov.abs().max())
    # Float32 input is symmetric, and positive semi-definite, only to its own rounding: some 1e-7 for each of D terms.
    tolerance = 1e-6 * scale * len(cov)
    if not torch.allclose(cov, cov.T, rtol=0, atol=tolerance):
        raise DataError(
            f"the covariance is not symmetric: it differs from its transpose by {(cov - cov.T).abs().max():.3g}"
        )
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    if values.min() < -tolerance:
        raise DataError(
            f"the covariance has the negative eigenvalue {values.min():.3g}; were standard deviations given?"
        )
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def gaussian_w2(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """The 2-Wasserstein distance between two normal distributions, in the unit of the data. Not its square.

        W2^2 = |mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1^1/2 cov2 cov1^1/2)^1/2)

    (Dowson & Landau 1982). Means are (D,) and covariances (D, D); for D = 1 plain numbers also serve, and
    the covariance is then the variance. Raises DataError when the shapes disagree or a covariance is not one.
    """
    mean1, cov1 = _as_normal(mean1, cov1, "first")
    mean2, cov2 = _as_normal(mean2, cov2, "second")
    if mean1.shape != mean2.shape:
        raise DataError(
            f"the two normals have {len(mean1)} and {len(mean2)} dimensions; they must have the same number"
        )
    # tr (cov1^1/2 cov2 cov1^1/2)^1/2 is the sum of the singular values of cov1^1/2 cov2^1/2. Taken this way it never
    # squares the matrix, which would lose half the digits of its small eigenvalues.
    overlap = torch.linalg.svdvals(matrix_sqrt(cov1) @ matrix_sqrt(cov2)).sum()
    spread = cov1.trace() + cov2.trace() - 2 * overlap
    # For equal normals the spread is rounding error, of either sign.
    return float(((mean1 - mean2).square().sum() + spread.clamp(min=0)).sqrt())


def sample_w2(samples: Tensor, mean: Tensor, cov: Tensor) -> float:
    """W2 between the normal fitted to samples (N, *S) and the exact one, in the unit of the data. Needs N >= 2.

    It compares two moments only: samples that are not normal but have the right mean and covariance score 0, so report
    `moments` beside it. Its floor grows with D and falls as 1 / sqrt(N).
    """
    fitted = moments(samples)
    return gaussian_w2(fitted.mean, fitted.cov, mean, cov)


def _as_normal(mean: Tensor, cov: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) in float64, where both may be plain numbers for D = 1."""
    mean = as_double(torch.as_tensor(mean))
    cov = as_double(torch.as_tensor(cov))
    if mean.numel() == 1 and cov.numel() == 1:
        mean, cov = mean.reshape(1), cov.reshape(1, 1)
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
        raise DataError(
            f"the {name} normal has a mean of shape {tuple(mean.shape)} and a covariance of shape {tuple(cov.shape)}; "
            "expected (D,) and (D, D)"
        )
    if not (mean.isfinite().all() and cov.isfinite().all()):
        raise DataError(f"the {name} normal has a mean or covariance that is not finite")
    return mean, cov
