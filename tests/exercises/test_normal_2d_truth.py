"""The reference pieces of chapter 2 against diffusers, SciPy, the package's own mathematics and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from scipy.stats import multivariate_normal
from torch import Tensor

from diffusion_lab import losses, schedules, targets
from diffusion_lab.chapters import run_chapter
from diffusion_lab.exact import Gaussian
from diffusion_lab.exercises import normal_1d
from diffusion_lab.exercises.normal_2d import NOTEBOOK
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context, ddim

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN = {item.name: item.reference for item in (*normal_1d.NOTEBOOK.exercises, *NOTEBOOK.exercises)}
SHAPES = [(5, 2), (1, 3), (2, 1, 7), (3, 3), (3, 3, 3, 3)]
KINDS = ("eps", "x0", "v")
TRUTH = Gaussian(torch.tensor([1.0, -0.5]).double(), torch.tensor([[1.0, 0.72], [0.72, 0.64]]).double())


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def level_of(alpha_bar: Tensor) -> Level:
    zero = torch.zeros_like(alpha_bar)
    return Level(zero, alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), zero, zero)


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_cosine_alpha_bar_is_that_of_diffusers(steps: int):
    theirs = DDPMScheduler(num_train_timesteps=steps, beta_schedule="squaredcos_cap_v2")
    found = OWN["cosine_alpha_bar"](steps, 0.008, 0.999)
    betas = 1 - found / torch.cat([torch.ones(1).double(), found[:-1]])
    torch.testing.assert_close(betas, theirs.betas.double(), rtol=1e-5, atol=1e-7)
    assert float(betas[-1]) == pytest.approx(0.999)
    assert found.dtype == torch.float64


def test_cosine_alpha_bar_without_offset_and_clip_is_the_square_of_a_cosine():
    found = OWN["cosine_alpha_bar"](6, 0.0, 1.0)
    expected = [math.cos(math.radians(15 * k)) ** 2 for k in range(1, 7)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("source", "target"), list(product(KINDS, KINDS)))
def test_convert_is_the_package_s(shape: tuple[int, ...], source: str, target: str):
    kept = torch.linspace(0.02, 0.99, shape[0], dtype=torch.float64)
    said, x = normal(*shape), normal(*shape, seed=1)
    level = level_of(kept.reshape(-1, *[1] * (len(shape) - 1)))
    expected = targets.convert(said, x, level, targets.TARGETS[source], targets.TARGETS[target])
    torch.testing.assert_close(OWN["convert"](said, x, kept, source, target), expected)


def test_convert_to_v_is_the_velocity_of_diffusers():
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    x0, eps, t = normal(4, 3), normal(4, 3, seed=1), torch.tensor([1, 300, 700, 990])
    kept = scheduler.alphas_cumprod.double()[t]
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    x = scheduler.add_noise(x0, eps, t)
    expected = scheduler.get_velocity(x0, eps, t)
    torch.testing.assert_close(OWN["convert"](x0, x, kept, "x0", "v"), expected)
    torch.testing.assert_close(OWN["convert"](expected, x, kept, "v", "eps"), eps)


@pytest.mark.parametrize("shape", SHAPES)
def test_v_loss_is_the_package_s(shape: tuple[int, ...]):
    x0, noise, t = normal(*shape), normal(*shape, seed=1), torch.arange(shape[0]) * 199
    table = OWN["cosine_alpha_bar"](1000, 0.008, 0.999)
    kept = table[t].reshape(-1, *[1] * (len(shape) - 1))
    level = level_of(kept)._replace(t=t.double().reshape(kept.shape))

    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x + 0.01 * t.reshape(kept.shape))

    expected = losses.prediction_loss(targets.v)(network, x0, noise, level, {})
    torch.testing.assert_close(OWN["v_loss"](network, x0, t, noise, table), expected)


def test_score_2d_is_the_slope_of_scipy_s_density():
    kept, x, small = torch.tensor([0.9, 0.5, 0.05]).double(), normal(3, 2), 1e-4
    found = OWN["score_2d"](x, kept, TRUTH.mean, TRUTH.cov)
    for i, share in enumerate(kept.tolist()):
        cov = share * TRUTH.cov + (1 - share) * torch.eye(2).double()
        density = multivariate_normal((share**0.5 * TRUTH.mean).numpy(), cov.numpy())
        for axis in range(2):
            shift = small * torch.eye(2).double()[axis]
            slope = (density.logpdf((x[i] + shift).numpy()) - density.logpdf((x[i] - shift).numpy())) / (2 * small)
            assert float(found[i, axis]) == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_score_2d_is_that_of_the_exact_normal():
    kept, x = torch.linspace(0.01, 0.99, 6, dtype=torch.float64), normal(6, 2)
    found = OWN["score_2d"](x, kept, TRUTH.mean, TRUTH.cov)
    torch.testing.assert_close(found, TRUTH.score(x, level_of(kept.reshape(6, 1))))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("t", [999, 499, 99])
def test_ddim_step_is_that_of_diffusers(eta: float, t: int):
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="linear", clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(10)
    x, eps, noise = (normal(3, 2, 4, seed=seed) for seed in range(3))
    expected = scheduler.step(eps, t, x, eta=eta, variance_noise=noise if eta else None).prev_sample
    now = scheduler.alphas_cumprod[t]
    after = scheduler.alphas_cumprod[t - 100] if t >= 100 else scheduler.final_alpha_cumprod
    torch.testing.assert_close(OWN["ddim_step"](x, now, after, eps, eta, noise), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_step_is_the_package_s(eta: float):
    now, after = (torch.tensor(value, dtype=torch.float64) for value in (0.2, 0.7))
    x, eps, noise = (normal(3, 2, seed=seed) for seed in range(3))
    context = Context(lambda *_: None, None)
    context.noise = lambda like: noise
    prediction = Prediction(OWN["convert"](eps, x, now.expand(3), "eps", "x0"), eps)
    expected = ddim(eta)(x, level_of(now), level_of(after), prediction, context)
    torch.testing.assert_close(OWN["ddim_step"](x, now, after, eps, eta, noise), expected)


def test_eta_1_is_ancestral_sampling():
    betas = OWN["linear_betas"](30, 0.001, 0.2)
    kept = OWN["alpha_bar"](betas)
    x, eps, noise = (normal(3, 2, seed=seed) for seed in range(3))
    for t in (1, 14, 29):
        found = OWN["ddim_step"](x, kept[t], kept[t - 1], eps, 1.0, noise)
        torch.testing.assert_close(found, OWN["ddpm_step"](x, t, eps, betas, noise, "posterior"))


def test_ddim_steps_tend_to_the_exact_probability_flow_at_first_order():
    table = OWN["cosine_alpha_bar"](1024, 0.008, 0.999)[:-64]
    x = normal(50, 2)
    truth = TRUTH.flow_map(x, level_of(table[-1]), level_of(table[0]))
    errors = []
    for steps in (15, 31, 63):
        places = torch.linspace(len(table) - 1, 0, steps + 1).round().long()
        now = x
        for t, s in pairwise(places.tolist()):
            score = OWN["score_2d"](now, table[t].expand(50), TRUTH.mean, TRUTH.cov)
            eps = -(1 - table[t]).sqrt() * score
            now = OWN["ddim_step"](now, table[t], table[s], eps, 0.0, torch.zeros_like(now))
        errors.append(float((now - truth).square().mean().sqrt()))
    orders = [math.log(a / b) / math.log(2) for a, b in pairwise(errors)]
    assert orders == pytest.approx([1, 1], abs=0.15)


def test_the_chapter_runs_on_the_pieces_and_gives_the_same_samples():
    """The chapter's own schedule is continuous; on the learner's, its own target, loss and step give the same samples.

    They agree to 1e-3 only. At the noisiest level alpha is 5e-5, and the step finds x0 from eps, which divides float32
    rounding by it; the chapter's own step takes x0 from v.
    """
    slots = NOTEBOOK.slots(OWN)
    own = run_chapter("normal_2d", budget="smoke", source="bundled", device="cpu", **slots)
    usual = run_chapter("normal_2d", budget="smoke", source="bundled", device="cpu", schedule=slots["schedule"])
    assert set(own.own_pieces) == {"schedule", "target", "loss", "step"}
    torch.testing.assert_close(own.samples, usual.samples, rtol=0, atol=1e-3)
    assert own.final_loss == pytest.approx(usual.final_loss, rel=1e-5)


def test_the_learner_s_schedule_is_close_to_the_chapter_s():
    own, usual = schedules.from_alpha_bar(OWN["cosine_alpha_bar"](1000, 0.008, 0.999)), schedules.cosine()
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    torch.testing.assert_close(own.path(t)[0], usual.path(t)[0], rtol=0, atol=0.02)
