"""Denoisers made from networks and from one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from diffusion_lab import denoisers, samplers, schedules, targets
from diffusion_lab.exact import Gaussian, Mixture
from diffusion_lab.levels import Level, Prediction

LEVEL = schedules.cosine().at(torch.tensor(0.4))


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(mean: float, std: float) -> Gaussian:
    return Gaussian(torch.tensor([mean], dtype=torch.float64), torch.tensor([[std**2]], dtype=torch.float64))


# Two modes at -1 and 1; the condition says which one.
MODE = gaussian(1.0, 0.5)
BOTH = Mixture(
    torch.tensor([0.5, 0.5], dtype=torch.float64),
    torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
    torch.full((2, 1, 1), 0.25, dtype=torch.float64),
)


@pytest.mark.parametrize(("scale", "kept"), [(0.0, BOTH), (1.0, MODE)])
def test_guidance_at_0_and_1(scale: float, kept):
    x = draws(9, 1)
    guided = denoisers.guided(MODE.denoise, BOTH.denoise, scale)(x, LEVEL)
    for value, expected in zip(guided, kept.denoise(x, LEVEL), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
def test_guidance_agrees_with_x_and_with_the_scores(scale: float):
    """It is the score of p(x) (p(x | c) / p(x))^scale; and alpha x0 + sigma eps is still x."""
    x = draws(9, 1)
    prediction = denoisers.guided(MODE.denoise, BOTH.denoise, scale)(x, LEVEL)
    torch.testing.assert_close(LEVEL.noisy(*prediction), x)
    x = x.requires_grad_()
    density = BOTH.log_density(x, LEVEL) + scale * (MODE.log_density(x, LEVEL) - BOTH.log_density(x, LEVEL))
    (score,) = torch.autograd.grad(density.sum(), x)
    torch.testing.assert_close(prediction.eps, -LEVEL.sigma * score)


@pytest.mark.parametrize(("scale", "mean", "std"), [(1.0, 1.00, 0.50), (4.0, 1.67, 0.29)])
def test_guidance_pushes_past_the_mode_and_narrows(scale: float, mean: float, std: float):
    """Two modes at -1 and 1 of width .5, guided to the one at 1 along the probability-flow ODE.

    The start is the quantiles of a normal instead of draws. The figures hold for the ODE, whatever the path;
    ancestral sampling with the same scale gives 1.28 +- .43. scipy integrates the same flow for comparison.
    """
    schedule = schedules.cosine()
    guided = denoisers.guided(MODE.denoise, BOTH.denoise, scale)
    x = torch.special.ndtri((torch.arange(400, dtype=torch.float64) + 0.5) / 400)[:, None]
    start = samplers.initial_noise(schedule, x)
    out = samplers.sample(guided, schedule, samplers.heun(), start, steps=60)[0]
    assert float(out.mean()) == pytest.approx(mean, abs=0.02)
    assert float(out.std()) == pytest.approx(std, abs=0.01)

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        level = schedule.at(torch.tensor(t, dtype=torch.float64))
        x0, eps = guided(torch.from_numpy(flat)[:, None], level)
        return (level.dalpha * x0 + level.dsigma * eps).flatten().numpy()

    solution = solve_ivp(slope, (schedule.t_max, schedule.t_min), start[::20, 0].numpy(), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(out[::20, 0].numpy(), solution.y[:, -1], atol=5e-3)


@pytest.mark.parametrize(("time", "expected"), [(0.1, 1.0), (0.2, 4.0), (0.5, 4.0), (0.8, 4.0), (0.9, 1.0)])
def test_outside_the_interval_only_the_conditional_model_is_asked(time: float, expected: float):
    asked = []

    def unconditional(x: torch.Tensor, level: Level) -> Prediction:
        asked.append(float(level.t))
        return BOTH.denoise(x, level)

    x, level = draws(9, 1), schedules.cosine().at(torch.tensor(time, dtype=torch.float64))
    found = denoisers.guided(MODE.denoise, unconditional, 4.0, interval=(0.2, 0.8))(x, level)
    for value, other in zip(found, denoisers.guided(MODE.denoise, BOTH.denoise, expected)(x, level), strict=True):
        torch.testing.assert_close(value, other)
    assert asked == ([time] if expected == 4.0 else [])


def test_each_of_a_batch_is_guided_by_its_own_time():
    x, times = draws(4, 1), torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=torch.float64)
    denoise = denoisers.guided(MODE.denoise, BOTH.denoise, 4.0, interval=(0.2, 0.8))
    together = denoise(x, Level(*(value[:, None] for value in schedules.cosine().at(times))))
    for i, time in enumerate(times):
        for value, alone in zip(together, denoise(x[i : i + 1], schedules.cosine().at(time)), strict=True):
            torch.testing.assert_close(value[i : i + 1], alone)


def test_ancestral_sampling_answers_less_to_guidance():
    schedule = schedules.cosine()
    guided = denoisers.guided(MODE.denoise, BOTH.denoise, 4.0)
    out = samplers.sample(
        guided, schedule, samplers.ddpm(), draws(4000, 1), steps=200, generator=torch.Generator().manual_seed(1)
    )[0]
    assert float(out.mean()) == pytest.approx(1.28, abs=0.03)
    assert float(out.std()) == pytest.approx(0.43, abs=0.02)


@pytest.mark.parametrize("shape", [(3, 20), (4, 4, 4), (2, 1, 50), (3, 3, 3, 3)])
def test_dynamic_threshold_is_per_sample(shape: tuple[int, ...]):
    """Each sample by its own percentile (numpy's, of its own values); a calm sample is not touched by a wild one."""
    x0 = draws(*shape)
    x0[0] *= 100
    x0[1] = x0[1].clamp(-0.9, 0.9)
    before = x0.clone()
    out = denoisers.dynamic_threshold(x0, 0.9)
    assert torch.equal(x0, before)
    for sample, result in zip(x0, out, strict=True):
        s = max(1.0, float(np.quantile(sample.abs().numpy(), 0.9)))
        np.testing.assert_allclose(result.numpy(), np.clip(sample.numpy(), -s, s) / s, rtol=1e-12)
    assert torch.equal(out[1], x0[1]) and out.abs().max() <= 1


@pytest.mark.parametrize("change", [denoisers.clip, denoisers.dynamic_threshold], ids=["clip", "threshold"])
def test_with_x0_keeps_x(change):
    """eps is recomputed, so that x = alpha x0 + sigma eps still holds."""
    wide = Gaussian(torch.zeros(2, dtype=torch.float64), 9 * torch.eye(2, dtype=torch.float64))
    x = 4 * draws(6, 2)
    level = schedules.cosine().at(torch.linspace(0.2, 0.8, 6), like=x)
    prediction = denoisers.with_x0(wide.denoise, change)(x, level)
    assert prediction.x0.abs().max() <= 1
    torch.testing.assert_close(prediction.x0, change(wide.denoise(x, level).x0))
    torch.testing.assert_close(level.noisy(*prediction), x)


def test_nearest_rows():
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    x0 = torch.tensor([[[0.2, 0.1], [0.9, -0.3]], [[3.0, 3.0], [0.4, 0.0]]])
    # The row with the largest dot product would be the long one, (5, 5), for nearly all of these.
    expected = vectors[torch.tensor([[0, 1], [2, 0]])]
    assert torch.equal(denoisers.nearest_rows(vectors)(x0), expected)
    assert torch.equal(denoisers.nearest_rows(vectors)(x0[:, 0]), expected[:, 0])  # words alone, (B, D)
    assert denoisers.nearest_rows(vectors)(x0.double()).dtype == torch.float64


class Net(nn.Module):
    """Dropout and a frozen batch norm: both answer differently in training."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout, self.norm = nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)
        self.fails = False
        self.seen = []

    def forward(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        if self.fails:
            raise RuntimeError("the network failed")
        self.seen.append((self.training, self.dropout.training, torch.is_grad_enabled(), cond))
        return self.norm(self.dropout(self.linear(x)))


@pytest.mark.parametrize("fails", [False, True])
def test_from_network_restores_the_mode(fails: bool):
    """Training mode comes back, also after an error, and a frozen part stays frozen."""
    network = Net().train()
    network.norm.eval()
    network.fails = fails
    denoise = denoisers.from_network(network, targets.eps, {"labels": torch.zeros(4)})
    x = draws(4, 2).float()
    level = schedules.cosine().at(torch.tensor(0.4), like=x)
    if fails:
        with pytest.raises(RuntimeError, match="the network failed"):
            denoise(x, level)
    else:
        first, second = denoise(x, level), denoise(x, level)
        assert torch.equal(first.eps, second.eps)  # no dropout
        assert network.seen[0][:3] == (False, False, False)
        assert torch.equal(network.seen[0][3]["labels"], torch.zeros(4))
    assert network.training and network.dropout.training and network.linear.training
    assert not network.norm.training
    assert torch.is_grad_enabled()
    network.eval()
    network.fails = False
    denoise(x, level)
    assert not any(part.training for part in network.modules())


def test_from_network_leaves_no_graph():
    network = Net()
    x = draws(4, 2).float()
    level = schedules.cosine().at(torch.tensor(0.4), like=x)
    prediction = denoisers.from_network(network, targets.v)(x.requires_grad_(), level)
    assert not prediction.x0.requires_grad and not prediction.eps.requires_grad
    out = samplers.sample(denoisers.from_network(network, targets.v), schedules.cosine(), samplers.heun(), x, steps=3)[
        0
    ]
    assert not out.requires_grad and out.grad_fn is None
    assert prediction.x0.shape == x.shape and all(weight.grad is None for weight in network.parameters())


def test_self_conditioning_carries_the_last_estimate():
    """Zeros at first, then its own last x0; a new batch size starts again."""
    seen = []

    def network(x: Tensor, t: Tensor, last: Tensor, labels: Tensor) -> Tensor:
        seen.append(last)
        return x + 0.1 * last + labels[:, None]

    x = draws(3, 2)
    denoise = denoisers.self_conditioned(network, targets.x0, {"labels": torch.arange(3).double()})
    outputs = [denoise(x, LEVEL).x0 for _ in range(3)]
    assert torch.equal(seen[0], torch.zeros_like(x))
    assert torch.equal(seen[1], outputs[0]) and torch.equal(seen[2], outputs[1])
    other = denoisers.self_conditioned(lambda x, t, last: seen.append(last) or x, targets.x0)
    other(x, LEVEL)
    other(x[:2], LEVEL)
    assert torch.equal(seen[-1], torch.zeros(2, 2))


@pytest.mark.parametrize("shape", [(4, 4000), (3, 1, 4000), (2, 3, 40, 40), (3, 3, 3)])
def test_blend(shape: tuple[int, ...]):
    """Both ends exactly, unit norm kept, and equal angles for equal amounts (Shoemake 1985)."""
    first, second = draws(*shape, seed=1), draws(*shape, seed=2)
    one = first.flatten(1) / first.flatten(1).norm(dim=1, keepdim=True)
    two = second.flatten(1) / second.flatten(1).norm(dim=1, keepdim=True)
    one, two = one.reshape(shape), two.reshape(shape)
    torch.testing.assert_close(denoisers.blend(one, two, torch.tensor(0.0)), one)
    torch.testing.assert_close(denoisers.blend(one, two, torch.tensor(1.0)), two)
    whole = torch.acos((one * two).flatten(1).sum(dim=1))
    for amount in (0.25, 0.5, 0.8):
        mixed = denoisers.blend(one, two, torch.tensor(amount))
        torch.testing.assert_close(mixed.flatten(1).norm(dim=1), torch.ones(shape[0], dtype=torch.float64))
        torch.testing.assert_close(torch.acos((one * mixed).flatten(1).sum(dim=1)), amount * whole)


def test_blend_takes_an_amount_for_each_sample():
    first, second = draws(4, 4, 4, seed=1), draws(4, 4, 4, seed=2)
    amounts = torch.tensor([0.0, 0.3, 0.6, 1.0])
    together = denoisers.blend(first, second, amounts)
    for i, amount in enumerate(amounts):
        torch.testing.assert_close(together[i : i + 1], denoisers.blend(first[i : i + 1], second[i : i + 1], amount))


def test_a_straight_line_between_noises_shrinks():
    """Why the blend is spherical: half way, normal noise of the right size against one too small by sqrt(2)."""
    first, second = draws(2, 10_000, seed=1), draws(2, 10_000, seed=2)
    assert float(denoisers.blend(first, second, torch.tensor(0.5)).std()) == pytest.approx(1, abs=0.02)
    assert float(((first + second) / 2).std()) == pytest.approx(1 / math.sqrt(2), abs=0.02)


def test_blend_of_equal_noises_is_that_noise():
    first = draws(2, 5).float()
    torch.testing.assert_close(denoisers.blend(first, first.clone(), torch.tensor(0.5)), first, rtol=1e-3, atol=1e-3)


def test_a_denoiser_for_a_sampler_may_be_any_function():
    """No class is needed: the posterior mean of a single point."""

    def point(x: Tensor, level: Level) -> Prediction:
        x0 = torch.full_like(x, 2.5)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    out = samplers.sample(point, schedules.flow(), samplers.euler(), draws(3, 2), steps=4)[0]
    torch.testing.assert_close(out, torch.full((3, 2), 2.5, dtype=torch.float64))
