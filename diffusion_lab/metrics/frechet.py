"""Image quality by the features and the opinions of a classifier."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double, as_rows, same_width
from diffusion_lab.metrics.gaussian import gaussian_w2, moments
from diffusion_lab.metrics.mixture import total_variation


def frechet_distance(features1: Tensor, features2: Tensor) -> float:
    """The Fréchet distance between features (N, D) and (M, D): the squared W2 of the normals fitted to them.

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)

    (Heusel et al. 2017, equation 6; it is the FID when the features are Inception's.) The estimate is too high for few
    samples, so compare only scores, and floors, of one sample size. Raises DataError when a set has fewer than D + 1
    samples: its covariance would be singular.
    """
    features1, features2 = as_rows(features1, "features1"), as_rows(features2, "features2")
    same_width(features1, features2, "features1 and features2")
    for name, features in (("features1", features1), ("features2", features2)):
        count, dim = features.shape
        if count < dim + 1:
            raise DataError(
                f"{name} has {count} samples of {dim} features; a covariance needs at least {dim + 1} samples"
            )
    first, second = moments(features1), moments(features2)
    return gaussian_w2(first.mean, first.cov, second.mean, second.cov) ** 2


def class_balance(labels: Tensor, classes: int, weights: Tensor | None = None) -> float:
    """Total variation between the shares of the predicted labels (N,) int64 and `weights` (classes,), by default equal.

    0 when every class has its share, 1 - 1/classes when all samples are of one class. Better lower. Raises DataError
    for labels outside 0..classes-1.
    """
    if labels.ndim != 1 or len(labels) == 0 or labels.is_floating_point():
        raise DataError(f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected integers of shape (N,)")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"labels run from {labels.min()} to {labels.max()}; with {classes} classes, 0 to {classes - 1}")
    shares = torch.bincount(labels.cpu(), minlength=classes).to(torch.float64) / len(labels)
    return total_variation(shares, torch.full_like(shares, 1 / classes) if weights is None else weights)


def confidence(probabilities: Tensor) -> float:
    """The mean of the largest class probability, over predictions (N, classes), in [1/classes, 1].

    Blurred or mixed-up images make a classifier unsure. Compare with the floor, which is that of real images.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0:
        raise DataError(f"probabilities have shape {tuple(probabilities.shape)}; expected (N, classes)")
    if not torch.allclose(probabilities.sum(1), torch.ones_like(probabilities[:, 0]), atol=1e-3):
        raise DataError("the probabilities of a sample must sum to 1 over the classes; were logits given?")
    return float(as_double(probabilities).max(dim=1).values.mean())
