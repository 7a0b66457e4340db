"""Did the samples find every mode, in the right proportion, and are they likely under the truth?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double, as_rows, same_shape, same_width


def nearest_mean(means: Tensor) -> Callable[[Tensor], Tensor]:
    """A hard assignment to modes for `mode_weights`: samples (N, *S) -> one-hot (N, K) of the nearest of means (K, *S).

    Fair when the modes are alike and well apart; otherwise use the mixture's own posterior responsibilities.
    """
    centres = as_rows(means, "means")

    def assign(samples: Tensor) -> Tensor:
        rows = as_rows(samples, "samples")
        same_width(rows, centres, "the samples and the means")
        nearest = torch.cdist(rows, centres).argmin(dim=1)
        return torch.nn.functional.one_hot(nearest, len(centres)).to(torch.float64)

    return assign


def mode_weights(samples: Tensor, responsibilities: Callable[[Tensor], Tensor]) -> Tensor:
    """The share (K,) of samples (N, *S) in each of K modes, in float64; it sums to 1.

    `responsibilities` gives (N, K), the probability of each mode for each sample: the posterior of the exact mixture,
    or `nearest_mean(means)`. Over true samples the exact posterior has the mixture's weights as its mean, however much
    the modes overlap. Raises DataError when the result is not (N, K) with rows that sum to 1.
    """
    shares = as_double(responsibilities(samples))
    if shares.ndim != 2 or len(shares) != len(samples):
        raise DataError(f"responsibilities returned {tuple(shares.shape)} for {len(samples)} samples; expected (N, K)")
    if not torch.allclose(shares.sum(1), torch.ones_like(shares[:, 0]), atol=1e-4):
        raise DataError("the responsibilities of a sample must sum to 1 over the modes (axis 1)")
    return shares.mean(0)


def total_variation(p: Tensor, q: Tensor) -> float:
    """The total variation 1/2 sum |p - q| of two distributions (K,) on one finite set, in [0, 1]: the largest
    difference in probability that any event can show. Raises DataError for unequal shapes or if one is no distribution.
    """
    p, q = as_double(p), as_double(q)
    same_shape(p, q, "the two distributions")
    for name, weights in (("first", p), ("second", q)):
        if weights.ndim != 1 or not (weights >= 0).all() or abs(float(weights.sum()) - 1) > 1e-4:
            raise DataError(f"the {name} distribution must have shape (K,), no negative weight, and the sum 1")
    return float((p - q).abs().sum() / 2)


def mean_log_likelihood(samples: Tensor, log_density: Callable[[Tensor], Tensor]) -> float:
    """The mean of the true log-density (N,) over samples (N, *S), in nats a sample.

    Truth against truth gives minus the entropy. More is not better: samples that all sit on the highest peak exceed the
    floor, so compare with it from both sides. Raises DataError when the density's result is not (N,).
    """
    values = log_density(samples)
    if values.shape != (len(samples),):
        raise DataError(f"log_density returned {tuple(values.shape)} for {len(samples)} samples; expected (N,)")
    return float(as_double(values).mean())
