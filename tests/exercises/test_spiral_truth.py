"""The references of chapter 6 against diffusers, SciPy, closed forms and the project's own mathematics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from scipy.spatial import cKDTree
from scipy.stats import energy_distance as energy_distance_on_a_line
from torch import Tensor

from diffusion_lab import losses, metrics, samplers, schedules, targets
from diffusion_lab.chapters import run_chapter
from diffusion_lab.exact import FiniteSet, Gaussian
from diffusion_lab.exercises.mnist.ema_update import EXERCISE as EMA_UPDATE
from diffusion_lab.exercises.spiral import NOTEBOOK
from diffusion_lab.exercises.spiral.probes import NormalVelocity
from diffusion_lab.levels import Level, Prediction

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN = {exercise.name: exercise.reference for exercise in (*NOTEBOOK.exercises, EMA_UPDATE)}
MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)
COV = torch.tensor([[1.0, 0.8], [0.8, 1.2]], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def level(alpha: float, sigma: float) -> Level:
    return Level(*(torch.tensor(v, dtype=torch.float64) for v in (sigma, alpha, sigma, -1.0, 1.0)))


def times(n: int) -> Tensor:
    return torch.linspace(0.05, 1, n, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(7, 2), (5, 1, 16), (3, 3, 4, 4), (4, 4)])
def test_path_and_loss_are_those_of_the_package(shape: tuple[int, ...]):
    data, noise, t = normal(*shape, seed=1), normal(*shape, seed=2), times(shape[0])
    at = schedules.flow().at(t, like=data)
    torch.testing.assert_close(OWN["flow_path"](noise, data, t), at.noisy(data, noise))

    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x) * t.reshape(-1, *[1] * (x.ndim - 1)).to(x)

    expected = losses.prediction_loss(targets.flow)(network, data, noise, at, {})
    torch.testing.assert_close(OWN["flow_loss"](network, data, noise, t), expected)


def test_the_loss_of_the_exact_field_is_its_floor():
    """Given x, the velocity to normal data has the variance s^2 / ((1 - t)^2 s^2 + t^2) in each direction."""
    count, t = 200_000, 0.3
    values, axes = torch.linalg.eigh(COV)
    data = MEAN + (normal(count, 2, seed=3) * values.sqrt()) @ axes.T
    time = torch.full((count,), t, dtype=torch.float64)
    found = OWN["flow_loss"](NormalVelocity(MEAN, COV), data, normal(count, 2, seed=4), time).mean()
    floor = (values / ((1 - t) ** 2 * values + t**2)).mean()
    torch.testing.assert_close(found, floor, rtol=0.01, atol=0)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 7, 28])
def test_shifted_times_are_those_of_diffusers(steps: int, shift: float):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    torch.testing.assert_close(OWN["shifted_times"](steps, shift), scheduler.sigmas, rtol=1e-5, atol=1e-7)


def test_euler_steps_are_those_of_diffusers():
    """diffusers works in float32."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0.1, 10))
    model = NormalVelocity(MEAN, COV)
    x = theirs = normal(6, 2).float()
    grid = OWN["shifted_times"](10, 3.0).tolist()
    for i, time in enumerate(scheduler.timesteps):
        theirs = scheduler.step(model(theirs, scheduler.sigmas[i]), time, theirs).prev_sample
        x = OWN["euler_ode_step"](model, x, grid[i], grid[i + 1])
    torch.testing.assert_close(x, theirs, rtol=1e-4, atol=1e-5)


def test_euler_carries_a_normal_distribution_to_its_data():
    """The exact flow map, with an error of first order."""
    model, x = NormalVelocity(MEAN, COV), normal(16, 2)
    truth = Gaussian(MEAN, COV).flow_map(x, level(0.0, 1.0), level(1.0, 0.0))
    errors = []
    for steps in (50, 100, 200):
        state = x
        for i in range(steps):
            state = OWN["euler_ode_step"](model, state, 1 - i / steps, 1 - (i + 1) / steps)
        errors.append(float((state - truth).square().mean().sqrt()))
    assert errors[0] / errors[2] == pytest.approx(4, rel=0.05)
    assert errors[2] < 0.01


@pytest.mark.parametrize("steps", [5, 10, 50])
def test_the_multistep_solver_is_that_of_diffusers(steps: int):
    """Their flow sigmas, with the same end: lower_order_final there is the first-order last step. Their solver works in
    the dtype of its sigmas, float32; below sigma = 1, where alpha = 1 - sigma is positive."""
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    model = NormalVelocity(MEAN, COV)
    x = theirs = normal(6, 2).float()
    for time, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        theirs = scheduler.step(model(theirs, sigma), time, theirs).prev_sample
    last = None
    for i, sigma in enumerate(scheduler.sigmas[:-1]):
        rows = scheduler.sigmas[[max(i - 1, 0), i, i + 1]]
        estimate = x - sigma * model(x, sigma)
        x = OWN["dpmpp_2m_step"](estimate, last, x, torch.stack([1 - rows, rows], dim=1))
        last = estimate
    torch.testing.assert_close(x, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 2), (2, 3, 4, 4)])
def test_the_multistep_solver_is_that_of_the_package(shape: tuple[int, ...]):
    """All steps of a run that starts in pure noise, where alpha is 0, and ends at the data."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        x0 = torch.tanh(x + level.sigma)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    schedule, start = schedules.flow(), normal(*shape)
    states = samplers.sample(denoise, schedule, samplers.dpmpp_2m(), start, steps=8, keep=99)[1].states
    rows = schedule.at(schedule.times(8))
    table = torch.stack([rows.alpha, rows.sigma], dim=1)
    x, last = start, None
    for i in range(8):
        estimate = torch.tanh(x + table[i, 1])
        x = OWN["dpmpp_2m_step"](estimate, last, x, table[[max(i - 1, 0), i, i + 1]])
        last = estimate
        torch.testing.assert_close(x, states[i + 1], rtol=1e-10, atol=1e-10)


def test_score_of_the_exact_velocity():
    """The score of a normal distribution in closed form, and that of a finite set of points."""
    x, t = normal(9, 2), times(9)
    at = schedules.flow().at(t, like=x)
    velocity = NormalVelocity(MEAN, COV)(x, t)
    torch.testing.assert_close(OWN["velocity_to_score"](velocity, x, t), Gaussian(MEAN, COV).score(x, at))
    points = FiniteSet(normal(12, 2, seed=5))
    prediction = points.denoise(x, at)
    torch.testing.assert_close(OWN["velocity_to_score"](prediction.eps - prediction.x0, x, t), points.score(x, at))


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
def test_ideal_denoiser_is_the_exact_one_of_a_finite_set(shape: tuple[int, ...]):
    x, data = normal(6, *shape, seed=6), normal(20, *shape, seed=7)
    sigma = 0.5 + times(6)
    for one in (sigma, 0.7):
        spread = torch.as_tensor(one, dtype=torch.float64).reshape(-1, *[1] * len(shape))
        at = Level(spread, torch.ones_like(spread), spread, spread, spread)
        if one is not sigma:
            at = Level(*(f.reshape(()) for f in at))
        torch.testing.assert_close(OWN["ideal_denoiser"](x, one, data), FiniteSet(data).denoise(x, at).x0)


def test_the_ideal_denoiser_draws_training_points():
    """Memorisation, seen with three pieces at once: a sampler on the exact denoiser ends on the training points."""
    train = normal(40, 2, seed=8)
    sigmas = torch.cat([torch.logspace(1, -3, 60, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    x, last = 10 * normal(100, 2, seed=9), None
    for i in range(60):
        rows = sigmas[[max(i - 1, 0), i, i + 1]]
        estimate = OWN["ideal_denoiser"](x, float(sigmas[i]), train)
        x = OWN["dpmpp_2m_step"](estimate, last, x, torch.stack([torch.ones_like(rows), rows], dim=1))
        last = estimate
    distance, index = OWN["nearest_train"](x, train)
    assert float(distance.quantile(0.95)) < 1e-3
    assert len(index.unique()) > 20


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
def test_nearest_train_is_that_of_a_tree(shape: tuple[int, ...]):
    samples, train = normal(30, *shape, seed=10), normal(50, *shape, seed=11)
    distance, index = OWN["nearest_train"](samples, train)
    wanted, rows = cKDTree(train.flatten(1).numpy()).query(samples.flatten(1).numpy())
    torch.testing.assert_close(distance, torch.from_numpy(wanted))
    assert index.tolist() == rows.tolist()


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
def test_energy_distance_is_that_of_the_package(shape: tuple[int, ...]):
    a, b = normal(40, *shape, seed=12), 1.2 * normal(25, *shape, seed=13) + 0.1
    assert float(OWN["energy_distance"](a, b)) == pytest.approx(metrics.energy_distance(a, b), rel=1e-6)


def test_energy_distance_on_a_line_is_that_of_scipy():
    """SciPy takes the root of the same expression of distribution functions."""
    a, b = normal(30, 1, seed=14), normal(17, 1, seed=15) - 0.4
    wanted = energy_distance_on_a_line(a.flatten().numpy(), b.flatten().numpy())
    assert float(OWN["energy_distance"](a, b)) == pytest.approx(wanted, rel=1e-9)


def test_energy_distance_of_two_normal_distributions():
    """For normal distributions on a line with means m apart, E|X - Y| is that of a folded normal distribution."""
    a, b = normal(3000, 1, seed=16), normal(3000, 1, seed=17) + 2

    def folded(m: float) -> float:
        return 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)

    wanted = math.sqrt(2 * folded(2) - 2 * folded(0))
    assert float(OWN["energy_distance"](a, b)) == pytest.approx(wanted, rel=0.05)


def test_rates_of_the_path_in_the_slot():
    """Values, rates and times of the schedule made of the pieces are those of the straight path."""
    own, ours = NOTEBOOK.slots(OWN)["schedule"], schedules.flow()
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for found, expected in zip(own.at(t), ours.at(t), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(own.times(20), ours.times(20), rtol=1e-6, atol=1e-7)


def test_loss_and_step_in_their_slots():
    """On a small batch, and over a walk from pure noise to the data, the loss and the step are the chapter's own."""
    pieces, schedule = NOTEBOOK.slots(OWN), schedules.flow()
    data, noise = normal(9, 2, seed=18), normal(9, 2, seed=19)
    at = schedule.at(times(9), like=data)

    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x) * t.reshape(-1, 1).to(x)

    found, expected = (f(network, data, noise, at, {}) for f in (pieces["loss"], losses.prediction_loss(targets.flow)))
    torch.testing.assert_close(found, expected)
    denoise = FiniteSet(data).denoise
    found, expected = (
        samplers.sample(denoise, schedule, step, noise, steps=12)[0] for step in (pieces["step"], samplers.dpmpp_2m())
    )
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_run_with_the_references_is_the_chapters_own():
    """The same method by the same arithmetic, up to the order of operations in float32 over 100 training steps."""
    arguments = {"budget": "smoke", "source": "bundled", "device": "cpu"}
    own = run_chapter("spiral", **arguments, **NOTEBOOK.slots(OWN))
    default = run_chapter("spiral", **arguments)
    assert set(own.own_pieces) == {"schedule", "loss", "step", "average"}
    torch.testing.assert_close(own.samples, default.samples, rtol=0, atol=1e-4)
    assert own.final_loss == pytest.approx(default.final_loss, rel=1e-4)
