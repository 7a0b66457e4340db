"""Mode weights, total variation and log-likelihood against torch.distributions and hand counts."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import mean_log_likelihood, mode_weights, nearest_mean, total_variation

WEIGHTS = torch.tensor([0.2, 0.5, 0.3])
MEANS = torch.tensor([-1.0, 0.5, 2.0])
STDS = torch.tensor([0.5, 1.0, 0.7])


def overlapping_samples(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mode = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return MEANS[mode] + STDS[mode] * torch.randn(count, generator=generator)


def posterior(samples: torch.Tensor) -> torch.Tensor:
    return (Normal(MEANS, STDS).log_prob(samples[:, None]) + WEIGHTS.log()).softmax(dim=1)


def test_exact_responsibilities_recover_the_weights_of_overlapping_modes():
    found = mode_weights(overlapping_samples(40_000), posterior)
    torch.testing.assert_close(found, WEIGHTS.double(), atol=0.01, rtol=0)
    # The nearest mean cannot: the modes overlap and are of different width.
    nearest = mode_weights(overlapping_samples(40_000), nearest_mean(MEANS))
    assert total_variation(nearest, WEIGHTS) > 0.05


def test_nearest_mean_counts_points():
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    samples = torch.tensor([[1.0, 1.0], [9.0, 1.0], [8.0, -3.0], [0.0, 100.0]])
    assert mode_weights(samples, nearest_mean(means)).tolist() == [0.25, 0.5, 0.25]


def test_total_variation_is_the_largest_difference_of_any_event():
    p, q = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.25, 0.25, 0.25, 0.25])
    events = [torch.tensor([bool(i >> k & 1) for k in range(4)]) for i in range(16)]
    expected = max(abs(float(p[e].sum() - q[e].sum())) for e in events)
    assert total_variation(p, q) == pytest.approx(expected)
    assert total_variation(p, p) == 0
    assert total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 1


def test_mean_log_likelihood_of_truth_is_minus_the_entropy():
    mixture = MixtureSameFamily(Categorical(WEIGHTS), Normal(MEANS, STDS))
    grid = torch.linspace(-8, 10, 20_001)
    log_p = mixture.log_prob(grid)
    minus_entropy = float(torch.trapezoid(log_p.exp() * log_p, grid))
    assert mean_log_likelihood(overlapping_samples(40_000), mixture.log_prob) == pytest.approx(minus_entropy, abs=0.02)


def test_refusals():
    samples = torch.zeros(5)
    with pytest.raises(DataError, match=r"expected \(N, K\)"):
        mode_weights(samples, lambda x: posterior(x).T)
    with pytest.raises(DataError, match="axis 1"):
        mode_weights(samples, lambda x: posterior(x).softmax(dim=0))
    with pytest.raises(DataError, match="1 and 3 values"):
        mode_weights(samples, nearest_mean(torch.zeros(2, 3)))
    with pytest.raises(DataError, match="the sum 1"):
        total_variation(WEIGHTS, 2 * WEIGHTS)
    with pytest.raises(DataError, match="shapes"):
        total_variation(WEIGHTS, torch.tensor([0.5, 0.5]))
    with pytest.raises(DataError, match=r"expected \(N,\)"):
        mean_log_likelihood(samples, lambda x: x[:, None])
