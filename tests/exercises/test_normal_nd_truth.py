"""The reference pieces of chapter 4 against diffusers, SciPy, the package's own mathematics and exact paths."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from diffusion_lab import losses, metrics, samplers, schedules, targets
from diffusion_lab.chapters import get, run_chapter
from diffusion_lab.chapters.normal_nd import TRUTH
from diffusion_lab.exact import Gaussian
from diffusion_lab.exercises.normal_nd import NOTEBOOK
from diffusion_lab.exercises.probes import NormalDenoiser, Probe
from diffusion_lab.levels import Level
from diffusion_lab.samplers import Context

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN = {item.name: item.reference for item in NOTEBOOK.exercises}
SHAPES = [(5, 2), (1, 3), (2, 1, 7), (3, 3), (3, 3, 3, 3)]
KARRAS = schedules.karras()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(dimensions: int, seed: int = 0) -> Tensor:
    mixing = normal(dimensions, dimensions, seed=seed)
    return mixing @ mixing.T / dimensions + 0.05 * torch.eye(dimensions, dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 18, 50])
def test_karras_sigmas_are_those_of_diffusers_and_of_the_package(n: int):
    found = OWN["karras_sigmas"](n, 0.002, 80.0, 7.0)
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(n)
    torch.testing.assert_close(found, scheduler.sigmas.float(), rtol=1e-5, atol=0.0)
    torch.testing.assert_close(found.double(), 80 * KARRAS.times(n), rtol=1e-5, atol=0.0)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_edm_preconditioning_is_that_of_diffusers_and_of_the_package(std: float):
    scheduler = EDMEulerScheduler(sigma_data=std)
    sigmas = torch.logspace(-2, 2, 9, dtype=torch.float64)
    skip, out, scale, noise = OWN["edm_preconditioning"](sigmas, std)
    sample, output = normal(9, 3), normal(9, 3, seed=1)
    for i, sigma in enumerate(sigmas):
        torch.testing.assert_close(scale[i] * sample[i], scheduler.precondition_inputs(sample[i], sigma))
        theirs = scheduler.precondition_outputs(sample[i], output[i], sigma)
        torch.testing.assert_close(skip[i] * sample[i] + out[i] * output[i], theirs)
        torch.testing.assert_close(noise[i], scheduler.precondition_noise(sigma))
    for found, expected in zip((skip, out, scale, noise), targets.edm_preconditioning(sigmas, std), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("std", [0.5, 1.0])
def test_edm_loss_is_the_package_s(shape: tuple[int, ...], std: float):
    """There the network's own target is compared; here the denoised data are, with a weight."""
    x0, noise, sigma = std * normal(*shape), normal(*shape, seed=1), normal(shape[0], seed=2).exp()
    level = Level(*(torch.zeros(shape[0]).double() for _ in range(5)))._replace(alpha=torch.ones(1).double())
    level = Level(*(field.reshape(-1, *[1] * (len(shape) - 1)) for field in level._replace(sigma=sigma)))
    network = Probe(4)
    expected = losses.prediction_loss(targets.edm(std), losses.edm_weight(std))(network, x0, noise, level, {})
    torch.testing.assert_close(OWN["edm_loss"](network, x0, sigma, noise, std), expected)


def test_heun_step_is_the_package_s():
    x = 80 * normal(4, 16)
    now, middle, end = (KARRAS.at(t) for t in KARRAS.times(2))
    for first, second in ((now, middle), (middle, end)):
        context = Context(TRUTH.denoise, None)
        expected = samplers.heun()(x, first, second, TRUTH.denoise(x, first), context)
        denoise = NormalDenoiser(TRUTH.mean, TRUTH.cov)
        found = OWN["heun_step"](denoise, x, float(first.sigma), float(second.sigma))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert not found.requires_grad


def test_heun_step_has_order_two_on_the_chapter_s_normal():
    """Against the package's exact map, from sigma = 10 to 0.1, by the slope between 20 and 160 steps."""
    high, low = (KARRAS.at(torch.tensor(sigma / 80, dtype=torch.float64)) for sigma in (10.0, 0.1))
    start = TRUTH.mean + 10 * normal(5, 16)
    exact, denoise = TRUTH.flow_map(start, high, low), NormalDenoiser(TRUTH.mean, TRUTH.cov)
    errors = {}
    for steps in (20, 160):
        x = start
        for sigma, sigma_next in pairwise(OWN["karras_sigmas"](steps + 1, 0.1, 10.0, 7.0)[:-1].double().tolist()):
            x = OWN["heun_step"](denoise, x, sigma, sigma_next)
        errors[steps] = float((x - exact).square().mean().sqrt())
    # The levels are float32, so the last one is 0.1 up to 1e-8: far below either error.
    assert math.log(errors[20] / errors[160]) / math.log(8) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("dimensions", [1, 2, 5, 16])
def test_gaussian_w2_is_the_package_s_and_scipy_s(dimensions: int):
    mean1, mean2 = normal(dimensions), normal(dimensions, seed=1)
    cov1, cov2 = covariance(dimensions), 2 * covariance(dimensions, seed=1)
    found = float(OWN["gaussian_w2"](mean1, cov1, mean2, cov2))
    assert found == pytest.approx(metrics.gaussian_w2(mean1, cov1, mean2, cov2), rel=1e-9)
    root = sqrtm(cov1.numpy())
    inner = np.trace(sqrtm(root @ cov2.numpy() @ root)).real
    gap = float((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace()) - 2 * inner
    assert found == pytest.approx(gap**0.5, rel=1e-7)
    assert found == pytest.approx(float(OWN["gaussian_w2"](mean2, cov2, mean1, cov1)), rel=1e-9)


def test_gaussian_w2_is_what_it_costs_to_move_samples():
    """The cheapest pairing of six hundred points each: a distance without any formula."""
    mean, cov = torch.tensor([3.0, -1.0]).double(), torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double()
    one, other = normal(600, 2), mean + normal(600, 2, seed=1) @ torch.linalg.cholesky(cov).T
    costs = torch.cdist(one, other).square().numpy()
    rows, columns = linear_sum_assignment(costs)
    found = float(OWN["gaussian_w2"](torch.zeros(2).double(), torch.eye(2).double(), mean, cov))
    assert found == pytest.approx(costs[rows, columns].mean() ** 0.5, rel=0.05)


RHO, SEEN = 0.9, 1.5
PAIR = Gaussian(torch.zeros(2).double(), torch.tensor([[1.0, RHO], [RHO, 1.0]]).double())


def fill_in(step, n: int = 8000) -> tuple[float, float]:
    """Mean and standard deviation of what a run fills in beside the observation: `inpaint_step` after each step."""
    known, mask = torch.tensor([[SEEN, 0.0]]).double().expand(n, 2), torch.tensor([[True, False]]).expand(n, 2)

    def wrapped(x, now, after, prediction, context):
        x = step(x, now, after, prediction, context)
        return OWN["inpaint_step"](x, known, mask, after.alpha_bar.expand(n), context.noise(x))

    generator = torch.Generator().manual_seed(7)
    out, _ = samplers.sample(PAIR.denoise, schedules.cosine(), wrapped, normal(n, 2), steps=100, generator=generator)
    assert torch.equal(out[:, 0], torch.full_like(out[:, 0], SEEN))
    return float(out[:, 1].mean()), float(out[:, 1].std())


def test_replacement_is_not_conditioning():
    """The numbers of the exercise's text: exact 1.35 and .436, .935 and .545 by DDPM, .67 and .65 by DDIM."""
    exact = RHO * SEEN, math.sqrt(1 - RHO**2)
    assert exact == pytest.approx((1.35, 0.436), abs=1e-3)
    assert fill_in(samplers.ddpm()) == pytest.approx((0.935, 0.545), abs=0.03)
    assert fill_in(samplers.ddim()) == pytest.approx((0.67, 0.65), abs=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_inpaint_step_is_the_package_s_replacement(shape: tuple[int, ...]):
    x, known, noise = (normal(*shape, seed=i) for i in range(3))
    mask = normal(*shape, seed=3) > 0
    after = schedules.cosine().at(torch.tensor(0.3))

    class Fixed(Context):
        def noise(self, like: Tensor) -> Tensor:
            return noise

    wrapped = samplers.replacing(lambda x, *_: x, known, mask)
    expected = wrapped(x, after, after, None, Fixed(None, None))
    found = OWN["inpaint_step"](x, known, mask, after.alpha_bar.expand(shape[0]), noise)
    torch.testing.assert_close(found, expected)


def test_slots_are_the_chapter_s_own_method():
    """Target, loss and steps agree with the package's, and the schedule places its steps as it does."""
    slots, chapter = NOTEBOOK.slots(OWN), get("normal_nd")
    schedule, theirs = slots["schedule"], chapter.schedule(None)
    for steps in (1, 2, 40):
        torch.testing.assert_close(schedule.times(steps), theirs.times(steps), rtol=2e-6, atol=0.0)
    x0, eps = normal(6, 16).float(), normal(6, 16, seed=1).float()
    uniforms = torch.linspace(0.01, 0.99, 6, dtype=torch.float64)
    level = theirs.at(schedule.density(uniforms, schedule), like=x0)
    network = Probe(1)
    expected = chapter.loss(chapter.target, theirs, None)(network, x0, eps, level, {})
    torch.testing.assert_close(slots["loss"](network, x0, eps, level, {}), expected, rtol=1e-4, atol=1e-5)

    x = level.noisy(x0, eps)
    for found, wanted in zip(slots["target"].row(level), chapter.target.row(level), strict=True):
        torch.testing.assert_close(found, wanted)
    for found, wanted in zip(
        slots["target"].network_input(x, level), chapter.target.network_input(x, level), strict=True
    ):
        torch.testing.assert_close(found, wanted)

    times = theirs.times(3)
    for places in ((times[0], times[1]), (times[2], times[3])):
        now, after = (Level(*(field.float() for field in theirs.at(t))) for t in places)
        x, ends, evaluations = now.noisy(x0, eps), [], []
        for step in (slots["step"], samplers.heun()):
            context = Context(TRUTH.denoise, None)
            ends.append(step(x, now, after, TRUTH.denoise(x, now), context))
            evaluations.append(context.evaluations)
        torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-3)  # x itself is as large as 200
        assert evaluations[0] == evaluations[1]


def test_a_step_can_tell_the_denoiser_the_level_of_each_sample():
    """The other reading of the exercise: the same end, and no evaluation more."""

    def told_for_each(denoise, x, sigma, sigma_next):
        return OWN["heun_step"](lambda y, s: denoise(y, torch.full((len(y),), s)), x, sigma, sigma_next)

    times = get("normal_nd").schedule(None).times(3)
    now, after = (Level(*(field.float() for field in KARRAS.at(t))) for t in times[:2])
    x, found = (80 * normal(4, 16)).float(), []
    for piece in (OWN["heun_step"], told_for_each):
        context = Context(TRUTH.denoise, None)
        step = NOTEBOOK.slots({**OWN, "heun_step": piece})["step"]
        found.append((step(x, now, after, TRUTH.denoise(x, now), context), context.evaluations))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.slow
def test_a_run_of_own_pieces_is_the_chapter_s_run():
    """The same samples up to rounding, which a hundred steps of training have made larger."""
    own = run_chapter("normal_nd", budget="smoke", source="bundled", device="cpu", **NOTEBOOK.slots(OWN))
    theirs = run_chapter("normal_nd", budget="smoke", source="bundled", device="cpu")
    assert own.final_loss == pytest.approx(theirs.final_loss, rel=1e-4)
    assert own.evaluations == theirs.evaluations
    torch.testing.assert_close(own.samples, theirs.samples, rtol=0.0, atol=1e-3)
    assert set(own.own_pieces) == {"schedule", "target", "loss", "step"}
