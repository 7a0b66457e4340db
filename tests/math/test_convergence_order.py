"""The measured order of every deterministic sampler, with the exact probability-flow map of a normal as the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_lab import samplers, schedules, times
from diffusion_lab.exact import Gaussian
from diffusion_lab.levels import CLEAN
from diffusion_lab.samplers import invert

TRUTH = Gaussian(
    torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([[1.0, 0.8], [0.8, 1.2]], dtype=torch.float64)
)
# Grids that are smooth in log-SNR, where the expansion of the error in 1 / steps holds from few steps on.
SCHEDULES = {
    "karras": schedules.karras(),
    "geometric": schedules.geometric(sigma_min=0.002, sigma_max=20.0),
    "cosine, log-SNR": replace(schedules.cosine(), spacing=times.log_snr_spacing),
    "cosine, karras": replace(schedules.cosine(), spacing=times.karras_spacing()),
    "sigmoid, log-SNR": replace(schedules.sigmoid(), spacing=times.log_snr_spacing),
}
ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpmpp_2m": 2}
STEPS = (40, 80, 160)


def noise(n: int = 16) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def slope(errors: list[float]) -> float:
    return -float(np.polyfit(np.log(STEPS), np.log(errors), 1)[0])


@pytest.mark.parametrize("schedule", list(SCHEDULES.values()), ids=list(SCHEDULES))
@pytest.mark.parametrize("name", list(ORDERS))
def test_order(name: str, schedule):
    start = samplers.initial_noise(schedule, noise())
    truth = TRUTH.flow_map(start, schedule.at(torch.tensor(schedule.t_max)), CLEAN)
    errors = []
    for steps in STEPS:
        x, trail = samplers.sample(TRUTH.denoise, schedule, samplers.STEPS[name](), start, steps=steps)
        errors.append(float((x - truth).square().mean().sqrt()))
        assert trail.evaluations == (2 * steps - 1 if name == "heun" else steps)
    assert abs(slope(errors) - ORDERS[name]) < (0.1 if ORDERS[name] == 1 else 0.25)
    assert errors[-1] < (0.03 if ORDERS[name] == 1 else 1e-3)


def test_equal_steps_on_the_straight_path():
    """Equal steps of t, where Heun keeps its order; the flow path is the one on which Euler and DDIM are one rule."""
    schedule = schedules.flow()
    start = noise()
    truth = TRUTH.flow_map(start, schedule.at(torch.tensor(1.0)), CLEAN)
    results = {name: [] for name in ("euler", "ddim", "heun")}
    for name, errors in results.items():
        for steps in STEPS:
            x = samplers.sample(TRUTH.denoise, schedule, samplers.STEPS[name](), start, steps=steps)[0]
            errors.append(float((x - truth).square().mean().sqrt()))
    np.testing.assert_allclose(results["euler"], results["ddim"], rtol=1e-9)
    assert abs(slope(results["euler"]) - 1) < 0.1
    assert abs(slope(results["heun"]) - 2) < 0.1


def test_at_equal_cost_the_second_order_steps_are_better():
    """The cost of a sampler is its evaluations: 2M at 40 beats Heun at 39 and DDIM at 40."""
    schedule = SCHEDULES["cosine, log-SNR"]
    start = samplers.initial_noise(schedule, noise())
    truth = TRUTH.flow_map(start, schedule.at(torch.tensor(schedule.t_max)), CLEAN)
    error = {}
    for name, steps in (("ddim", 40), ("heun", 20), ("dpmpp_2m", 40)):
        x, trail = samplers.sample(TRUTH.denoise, schedule, samplers.STEPS[name](), start, steps=steps)
        assert trail.evaluations <= 40
        error[name] = float((x - truth).square().mean().sqrt())
    assert error["dpmpp_2m"] < error["heun"] < error["ddim"]


@pytest.mark.parametrize("schedule", [SCHEDULES["karras"], SCHEDULES["cosine, log-SNR"]], ids=["karras", "cosine"])
def test_inversion_and_back_is_a_round_trip_of_first_order(schedule):
    """DDIM up and DDIM down each err by 1 / steps; the noise found is the one that the exact flow gives."""
    x0 = TRUTH.sample(8, torch.Generator().manual_seed(3)).double()
    # From t_min, where the data are taken to be, to t_max.
    cleanest, noisiest = (schedule.at(torch.tensor(t)) for t in (schedule.t_min, schedule.t_max))
    exact = TRUTH.flow_map(x0 * cleanest.alpha, cleanest, noisiest)
    encoding, trip = [], []
    for steps in STEPS:
        encoded = invert(TRUTH.denoise, schedule, x0, steps=steps)
        back = samplers.sample(TRUTH.denoise, schedule, samplers.ddim(), encoded, steps=steps)[0]
        encoding.append(float(((encoded - exact) / noisiest.sigma).square().mean().sqrt()))
        trip.append(float((back - x0).square().mean().sqrt()))
    assert abs(slope(encoding) - 1) < 0.15
    assert abs(slope(trip) - 1) < 0.15
    assert trip[-1] < 0.05


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_inversion_in_few_steps_ends_at_the_noisiest_level(steps: int):
    """Data without spread are mapped exactly by any number of steps: x = alpha x0 + sigma eps with the same eps."""
    schedule = schedules.cosine().limit_log_snr(-6.0, 3.0)  # where alpha at t_min is .98, so that it matters
    point = Gaussian(torch.zeros(2, dtype=torch.float64), 1e-12 * torch.eye(2, dtype=torch.float64))
    x0 = torch.tensor([[1e-3, -2e-3]], dtype=torch.float64)
    first, last = schedule.at(torch.tensor(schedule.t_min)), schedule.at(torch.tensor(schedule.t_max))
    encoded = invert(point.denoise, schedule, x0, steps=steps)
    torch.testing.assert_close(encoded, first.alpha * x0 / first.sigma * last.sigma, rtol=1e-4, atol=0)
