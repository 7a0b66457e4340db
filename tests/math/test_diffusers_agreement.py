"""The samplers, schedules and beta tables against diffusers, for several step counts.

Where the two conventions differ, the docstring says how, and the same levels are given to both. diffusers keeps its
tables in float32; they are replaced by float64 ones where its step does not cast, so that the comparison is of the
formulas and not of rounding. Some of its steps cast x to float32: there the tolerance is that of float32.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr as their_rescale
from torch import Tensor

from diffusion_lab import betas, samplers, schedules, targets, times
from diffusion_lab.denoisers import from_network
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.schedules import Schedule

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SHAPE = (3, 2, 4, 4)
COUNTS = (5, 10, 50)
T = 1000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(SHAPE, generator=seeded(seed), dtype=dtype)


def network(x: Tensor, t: Tensor) -> Tensor:
    """Any smooth function of x and t will do: two samplers that agree, agree on all of them."""
    t = t.reshape(-1, *[1] * (x.ndim - 1)).to(x)
    return torch.tanh(0.7 * x + t) - 0.3 * t * x.roll(1, dims=-1)


def eps_of(x: Tensor, t: float) -> Tensor:
    return network(x, torch.full((len(x),), t, dtype=torch.float64))


def beta_arguments(count: int = T) -> dict:
    return {"num_train_timesteps": count, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


def in_float64(scheduler, count: int = T):
    """Replace the scheduler's float32 tables by float64 ones, made with numpy."""
    table = np.linspace(1e-4, 0.02, count)
    scheduler.betas = torch.from_numpy(table)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.from_numpy(np.cumprod(1 - table))
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def run_theirs(scheduler, x: Tensor, steps: int, count: int = T, **step_arguments) -> list[Tensor]:
    """x after each of their steps; their index i is our time (i + 1) / T."""
    scheduler.set_timesteps(steps)
    states = []
    for index in scheduler.timesteps:
        output = eps_of(x, (float(index) + 1) / count)
        x = scheduler.step(output, index, x, **step_arguments).prev_sample
        states.append(x)
    return states


def run_ours(schedule: Schedule, step, x: Tensor, steps: int, generator=None) -> list[Tensor]:
    denoiser = from_network(network, targets.eps)
    trail = samplers.sample(denoiser, schedule, step, x, steps=steps, generator=generator, keep=len(x))[1]
    return trail.states[1:]


@pytest.mark.parametrize("steps", COUNTS)
def test_ddpm_with_the_posterior_variance(steps: int):
    """fixed_small with trailing spacing. At the last step diffusers still adds noise, of standard deviation 1e-10."""
    scheduler = in_float64(
        DDPMScheduler(**beta_arguments(), variance_type="fixed_small", clip_sample=False, timestep_spacing="trailing")
    )
    theirs = run_theirs(scheduler, noise(), steps, generator=seeded(7))
    ours = run_ours(schedules.linear(), samplers.ddpm("posterior"), noise(), steps, seeded(7))
    assert len(ours) == steps
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("steps", COUNTS)
def test_ddpm_with_the_variance_beta(steps: int):
    """fixed_large. diffusers leaves the noise out where its index is 0, not at the last step: when steps are skipped it
    adds noise of the whole last stride to the finished sample. All states but the last are compared, and the last one
    where no step is skipped."""
    scheduler = in_float64(
        DDPMScheduler(**beta_arguments(), variance_type="fixed_large", clip_sample=False, timestep_spacing="trailing")
    )
    theirs = run_theirs(scheduler, noise(), steps, generator=seeded(7))
    ours = run_ours(schedules.linear(), samplers.ddpm("beta"), noise(), steps, seeded(7))
    for mine, other in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8)
    assert (ours[-1] - theirs[-1]).abs().max() > 0.01


@pytest.mark.parametrize(("ours", "theirs"), [("posterior", "fixed_small"), ("beta", "fixed_large")])
def test_ddpm_at_every_discrete_time(ours: str, theirs: str):
    """All T steps, the whole way to the clean sample, where the conventions are the same."""
    count = 40
    arguments = {"variance_type": theirs, "clip_sample": False, "timestep_spacing": "trailing"}
    scheduler = in_float64(DDPMScheduler(**beta_arguments(count), **arguments), count)
    expected = run_theirs(scheduler, noise(), count, count, generator=seeded(3))[-1]
    actual = run_ours(schedules.linear(count), samplers.ddpm(ours), noise(), count, seeded(3))[-1]
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("steps", COUNTS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(steps: int, eta: float):
    """set_alpha_to_one: the level after the last is clean data, as on every path here. Both draw at every step."""
    arguments = {"clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "trailing"}
    scheduler = in_float64(DDIMScheduler(**beta_arguments(), **arguments))
    theirs = run_theirs(scheduler, noise(), steps, eta=eta, generator=seeded(5))
    ours = run_ours(schedules.linear(), samplers.ddim(eta), noise(), steps, seeded(5))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8)


def bounded_denoiser(x: Tensor, level: Level) -> Prediction:
    """An estimate of x0 that is bounded at every level, so that float32 loses nothing."""
    scaled = x / torch.sqrt(level.alpha**2 + level.sigma**2)
    x0 = torch.tanh(scaled + scaled.roll(1, dims=-1) * torch.exp(-level.sigma))
    return Prediction(x0, (x - level.alpha * x0) / level.sigma)


@pytest.mark.parametrize("steps", COUNTS)
def test_dpm_solver_multistep(steps: int):
    """2M, midpoint, a clean final level, which diffusers reaches by a step of first order as we do. Its step casts x to
    float32, so both are given estimates of x0: with eps, (x - sigma eps) / alpha at alpha = .006 loses two digits."""
    schedule = schedules.linear()
    scheduler = in_float64(
        DPMSolverMultistepScheduler(
            **beta_arguments(), prediction_type="sample", final_sigmas_type="zero", timestep_spacing="trailing"
        )
    )
    scheduler.set_timesteps(steps)
    x = noise(dtype=torch.float32)
    for index in scheduler.timesteps:
        x0 = bounded_denoiser(x.double(), schedule.at((index + 1).double() / T)).x0
        x = scheduler.step(x0.float(), index, x).prev_sample
    start = noise(dtype=torch.float32).double()
    ours = samplers.sample(bounded_denoiser, schedule, samplers.dpmpp_2m(), start, steps=steps)[0]
    torch.testing.assert_close(ours.float(), x, rtol=1e-5, atol=1e-5)


SIGMA_MIN, SIGMA_MAX, SIGMA_DATA = 0.002, 80.0, 0.5


def edm_network(x: Tensor, c_noise: Tensor) -> Tensor:
    """F of EDM: x at unit variance, c_noise = log(sigma) / 4."""
    c_noise = c_noise.reshape(-1, *[1] * (x.ndim - 1)).to(x)
    return torch.tanh(x + c_noise) + 0.2 * x.roll(1, dims=-1)


def run_edm(scheduler, x: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    scheduler.set_timesteps(steps)
    for time, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        assert float(time) == pytest.approx(math.log(float(sigma)) / 4, abs=1e-6)
        output = edm_network(scheduler.scale_model_input(x, time), time.expand(len(x)))
        x = scheduler.step(output.to(dtype), time, x).prev_sample
    return x


@pytest.mark.parametrize("steps", COUNTS)
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(EDMEulerScheduler, samplers.euler), (EDMDPMSolverMultistepScheduler, samplers.dpmpp_2m)],
    ids=["Euler", "2M"],
)
def test_edm(theirs, ours, steps: int):
    """The whole of EDM at once: Karras spacing, input and output scaling and the step. diffusers makes its levels in
    float32 and its Euler step casts x to float32."""
    scheduler = theirs(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, sigma_data=SIGMA_DATA, rho=7.0)
    start = SIGMA_MAX * noise(dtype=torch.float32)
    expected = run_edm(scheduler, start, steps, torch.float32)
    denoiser = from_network(edm_network, targets.edm(SIGMA_DATA))
    schedule = schedules.karras(SIGMA_MIN, SIGMA_MAX)
    torch.testing.assert_close(schedule.at(schedule.times(steps)).sigma.float(), scheduler.sigmas, rtol=1e-5, atol=0)
    actual = samplers.sample(denoiser, schedule, ours(), start.double(), steps=steps)[0]
    torch.testing.assert_close(actual.float(), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("steps", COUNTS)
@pytest.mark.parametrize(
    ("theirs", "ours"), [(HeunDiscreteScheduler, samplers.heun), (EulerDiscreteScheduler, samplers.euler)]
)
def test_euler_and_heun_in_sigma(theirs, ours, steps: int):
    """diffusers solves dx/dsigma for x / alpha at its own sigmas, in float32; ours runs at these sigmas with alpha = 1.
    Heun's scheduler is asked twice for each step and once for the last."""
    scheduler = theirs(**beta_arguments(), prediction_type="epsilon", use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.double().unique_consecutive()
    schedule = schedules.karras(float(sigmas[-2]), float(sigmas[0]))
    start = sigmas[0] * noise()

    def denoiser(x: Tensor, level: Level) -> Prediction:
        eps = torch.tanh(x / torch.sqrt(1 + level.sigma**2) + level.sigma / 10)
        return Prediction(x - level.sigma * eps, eps)

    x = start
    for i, time in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(x, time)
        level = schedule.at(scheduler.sigmas[i].double() / sigmas[0])
        x = scheduler.step(denoiser(x, level).eps, time, x).prev_sample
    grid = sigmas / sigmas[0]
    assert len(grid) == steps + 1
    actual, trail = samplers.sample(denoiser, schedule, ours(), start, times=grid)
    torch.testing.assert_close(actual, x.double(), rtol=1e-5, atol=1e-5)
    assert trail.evaluations == len(scheduler.timesteps)


@pytest.mark.parametrize("steps", COUNTS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching(steps: int, shift: float):
    """diffusers' own default ends at sigma = 1 / T before the final 0; the pipelines of SD3 and Flux pass
    linspace(1, 1 / steps), which is our spacing. Its step casts x to float32."""
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=T, shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    grid = times.shifted_spacing(shift)(steps, schedules.flow())
    torch.testing.assert_close(grid.float(), scheduler.sigmas[:-1], rtol=1e-6, atol=0)

    x = noise(dtype=torch.float32)
    for time, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        x = scheduler.step(eps_of(x, float(sigma)), time, x).prev_sample

    start = noise(dtype=torch.float32).double()
    grid = torch.cat([grid, torch.zeros(1, dtype=torch.float64)])
    denoiser = from_network(network, targets.flow)
    for step in (samplers.euler(), samplers.ddim()):
        actual = samplers.sample(denoiser, schedules.flow(), step, start, times=grid)[0]
        torch.testing.assert_close(actual.float(), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", COUNTS)
def test_a_shifted_flow_path_is_shifted_times_on_the_straight_one(steps: int):
    """`flow(shift)` with equal steps visits diffusers' shifted sigmas. DDIM depends on the levels alone and gives the
    same samples; Euler in t is another rule there, for sigma is no longer linear in t."""
    shift = 3.0
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=T, shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    schedule = schedules.flow(shift)
    torch.testing.assert_close(schedule.at(schedule.times(steps)).sigma.float(), scheduler.sigmas, rtol=1e-6, atol=0)

    def denoiser(x: Tensor, level: Level) -> Prediction:
        velocity = eps_of(x, float(level.sigma))
        return Prediction(x - level.sigma * velocity, x + level.alpha * velocity)

    x = noise(dtype=torch.float32)
    for time, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        x = scheduler.step(eps_of(x, float(sigma)), time, x).prev_sample
    start = noise(dtype=torch.float32).double()
    actual = samplers.sample(denoiser, schedule, samplers.ddim(), start, steps=steps)[0]
    torch.testing.assert_close(actual.float(), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_linear_betas(count: int):
    theirs = DDPMScheduler(**beta_arguments(count))
    torch.testing.assert_close(betas.linear_betas(count).float(), theirs.betas, rtol=1e-5, atol=1e-8)
    alpha_bar = betas.alpha_bar_from_betas(betas.linear_betas(count))
    torch.testing.assert_close(alpha_bar.float(), theirs.alphas_cumprod, rtol=1e-4, atol=0)


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_cosine_alpha_bar(count: int):
    theirs = DDPMScheduler(num_train_timesteps=count, beta_schedule="squaredcos_cap_v2").betas.double()
    ours = betas.betas_from_alpha_bar(betas.cosine_alpha_bar(count))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert ours[-1] == pytest.approx(0.999)


def test_rescale_to_zero_terminal_snr():
    """diffusers takes and returns betas, ours alpha_bar; its last beta is 1."""
    table = betas.linear_betas(T)
    theirs = torch.cumprod(1 - their_rescale(table), dim=0)
    ours = betas.rescale_zero_terminal_snr(betas.alpha_bar_from_betas(table))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_forward_process_and_v():
    """add_noise and get_velocity of DDPMScheduler at the first, a middle and the last discrete time."""
    scheduler = in_float64(DDPMScheduler(**beta_arguments()))
    index = torch.tensor([0, 500, T - 1])
    x0, eps = noise(1), noise(2)
    level = schedules.linear().at((index + 1) / T, like=x0)
    torch.testing.assert_close(level.noisy(x0, eps), scheduler.add_noise(x0, eps, index), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(
        targets.v.of(x0, eps, level), scheduler.get_velocity(x0, eps, index), rtol=1e-7, atol=1e-7
    )
