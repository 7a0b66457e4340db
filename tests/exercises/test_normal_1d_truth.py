"""The reference pieces of chapter 1 against diffusers, the package's own mathematics and closed forms."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from diffusion_lab import losses, schedules, targets
from diffusion_lab.chapters import run_chapter
from diffusion_lab.denoisers import from_network
from diffusion_lab.exact import Gaussian
from diffusion_lab.exercises.normal_1d import NOTEBOOK
from diffusion_lab.levels import CLEAN, Level
from diffusion_lab.samplers import Context, ddpm

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN = {item.name: item.reference for item in NOTEBOOK.exercises}
SHAPES = [(5, 1), (1, 3), (2, 1, 7), (3, 3), (3, 3, 3, 3)]
MEAN, STD = 1.5, 0.5


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def table(steps: int = 1000) -> Tensor:
    return OWN["alpha_bar"](OWN["linear_betas"](steps, 1e-4, 0.02))


def level_of(alpha_bar: Tensor) -> Level:
    zero = torch.zeros_like(alpha_bar)
    return Level(zero, alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), zero, zero)


def scheduler(steps: int, **options) -> DDPMScheduler:
    found = DDPMScheduler(num_train_timesteps=steps, beta_schedule="linear", clip_sample=False, **options)
    # Its tables are float32; the formulas are compared, not the rounding.
    found.betas = OWN["linear_betas"](steps, 1e-4, 0.02)
    found.alphas = 1 - found.betas
    found.alphas_cumprod = torch.cumprod(found.alphas, dim=0)
    found.one = torch.tensor(1.0, dtype=torch.float64)
    return found


@pytest.mark.parametrize("steps", [2, 10, 1000])
def test_schedule_is_that_of_diffusers(steps: int):
    theirs = DDPMScheduler(num_train_timesteps=steps, beta_schedule="linear")
    found = OWN["linear_betas"](steps, 1e-4, 0.02)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), theirs.betas, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(table(steps).float(), theirs.alphas_cumprod, rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_q_sample_is_add_noise(shape: tuple[int, ...]):
    x0, noise, t = normal(*shape), normal(*shape, seed=1), torch.arange(shape[0]) * 199
    expected = scheduler(1000).add_noise(x0, noise, t)
    torch.testing.assert_close(OWN["q_sample"](x0, t, noise, table()), expected, rtol=1e-12, atol=1e-12)


def test_optimal_eps_and_score_are_those_of_the_exact_normal():
    truth = Gaussian(torch.tensor([MEAN]).double(), torch.tensor([[STD**2]]).double())
    kept = table()[torch.tensor([0, 3, 250, 700, 999])]
    x, level = 2 * normal(5, 1), level_of(kept.reshape(5, 1))
    torch.testing.assert_close(OWN["optimal_eps"](x, kept, MEAN, STD), truth.denoise(x, level).eps)
    torch.testing.assert_close(OWN["optimal_score"](x, kept, MEAN, STD), truth.score(x, level))


def test_optimal_eps_works_entry_by_entry():
    """Data of D independent entries are a normal distribution with a round covariance."""
    truth = Gaussian(torch.full((4,), MEAN).double(), STD**2 * torch.eye(4).double())
    kept, x = table()[torch.tensor([10, 400, 600, 900])], normal(4, 4)
    level = level_of(kept.reshape(4, 1))
    torch.testing.assert_close(OWN["optimal_eps"](x, kept, MEAN, STD), truth.denoise(x, level).eps)
    images = x.reshape(4, 1, 2, 2)
    torch.testing.assert_close(OWN["optimal_eps"](images, kept, MEAN, STD).flatten(1), truth.denoise(x, level).eps)


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_loss_floor_is_the_posterior_variance_in_the_target_s_units(target: str):
    truth = Gaussian(torch.tensor([MEAN]).double(), torch.tensor([[STD**2]]).double())
    kept = table()[::97]
    level = level_of(kept)
    expected = truth.posterior_variance(level) * targets.TARGETS[target].error_scale(level)
    torch.testing.assert_close(OWN["loss_floor"](kept, STD, target), expected)


def test_the_optimal_guess_reaches_the_floor_and_not_less():
    n = 200_000
    t = torch.arange(n) % 1000
    x0, noise = MEAN + STD * normal(n, 1), normal(n, 1, seed=1)

    def perfect(x: Tensor, t: Tensor) -> Tensor:
        return OWN["optimal_eps"](x, table()[t], MEAN, STD)

    found = OWN["eps_loss"](perfect, x0, t, noise, table()).mean()
    floor = OWN["loss_floor"](table(), STD, "eps").mean()
    assert float(found) == pytest.approx(float(floor), rel=0.02)
    for change in (0.9, 1.1):
        worse = OWN["eps_loss"](lambda x, t, c=change: c * perfect(x, t), x0, t, noise, table()).mean()
        assert worse > found


@pytest.mark.parametrize("shape", SHAPES)
def test_eps_loss_is_the_package_s(shape: tuple[int, ...]):
    x0, noise, t = normal(*shape), normal(*shape, seed=1), torch.arange(shape[0]) * 199
    kept = table()[t].reshape(-1, *[1] * (len(shape) - 1))
    level = level_of(kept)._replace(t=t.double().reshape(kept.shape))

    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x + 0.01 * t.reshape(kept.shape))

    expected = losses.prediction_loss(targets.eps)(network, x0, noise, level, {})
    torch.testing.assert_close(OWN["eps_loss"](network, x0, t, noise, table()), expected)


@pytest.mark.parametrize(("variance", "theirs"), [("posterior", "fixed_small"), ("beta", "fixed_large")])
@pytest.mark.parametrize("t", [0, 1, 17, 39])
def test_ddpm_step_is_that_of_diffusers(variance: str, theirs: str, t: int):
    steps = 40
    x, eps = normal(3, 2, 4), normal(3, 2, 4, seed=1)
    their_step = scheduler(steps, variance_type=theirs).step(eps, t, x, generator=torch.Generator().manual_seed(5))
    # diffusers draws its noise in the dtype of the model's output, and none at t = 0.
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = OWN["ddpm_step"](x, t, eps, OWN["linear_betas"](steps, 1e-4, 0.02), noise, variance)
    torch.testing.assert_close(found, their_step.prev_sample, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ddpm_step_is_the_package_s(variance: str):
    schedule = schedules.linear(40)
    now, after = (schedule.at(torch.tensor(t / 40)) for t in (18, 17))
    x, eps = normal(3, 2), normal(3, 2, seed=1)
    noise = normal(3, 2, seed=2)
    context = Context(lambda *_: None, None)
    context.noise = lambda like: noise
    expected = ddpm(variance)(x, now, after, targets.eps.solve(eps, x, now), context)
    found = OWN["ddpm_step"](x, 17, eps, OWN["linear_betas"](40, 1e-4, 0.02), noise, variance)
    torch.testing.assert_close(found, expected)


def final_std(step) -> float:
    """The exact standard deviation of ancestral samples with the optimal guess: every step is linear in x and noise."""
    betas = OWN["linear_betas"](1000, 1e-4, 0.02)
    kept = OWN["alpha_bar"](betas)
    one, zero, variance = normal(1, 1) * 0 + 1, torch.zeros(1, 1, dtype=torch.float64), 1.0
    for t in reversed(range(1000)):
        of_x = step(one, t, OWN["optimal_eps"](one, kept[t : t + 1], 0.0, STD), betas, zero, "beta")
        of_noise = step(zero, t, zero, betas, one, "beta")
        variance = float(of_x) ** 2 * variance + float(of_noise) ** 2
    return variance**0.5


def test_the_figures_in_the_hint_about_noise_at_the_end():
    step = next(item for item in NOTEBOOK.exercises if item.name == "ddpm_step")
    wrong = next(answer for answer in step.wrong_answers if answer.name == "noise at the end")
    for figure in (final_std(step.reference), final_std(wrong.function)):
        assert f"{figure:.4f}".removeprefix("0") in wrong.hint


def test_the_chapter_runs_on_the_pieces_and_gives_its_own_samples():
    own = run_chapter("normal_1d", budget="smoke", source="bundled", device="cpu", **NOTEBOOK.slots(OWN))
    usual = run_chapter("normal_1d", budget="smoke", source="bundled", device="cpu")
    assert set(own.own_pieces) == {"schedule", "loss", "step"}
    torch.testing.assert_close(own.samples, usual.samples, rtol=0, atol=1e-4)
    assert own.final_loss == pytest.approx(usual.final_loss, rel=1e-5)


def test_a_loss_written_sample_by_sample_fits_the_slot():
    def one_by_one(model, x0, t, noise, alpha_bar):
        pieces = [
            OWN["eps_loss"](model, x0[i : i + 1], t[i : i + 1], noise[i : i + 1], alpha_bar) for i in range(len(t))
        ]
        return torch.cat(pieces)

    network = torch.nn.Linear(1, 1)
    level = schedules.linear().at(torch.tensor([0.2, 0.5, 0.9]), like=torch.zeros(3, 1))
    arguments = (lambda x, t: network(x) + t[:, None], normal(3, 1).float(), normal(3, 1, seed=1).float(), level, {})
    found, expected = (
        NOTEBOOK.slots({**OWN, "eps_loss": f})["loss"](*arguments) for f in (one_by_one, OWN["eps_loss"])
    )
    torch.testing.assert_close(found, expected)


def test_noise_in_the_last_step_shows_in_the_run():
    """The slot hands noise to the last step too, so that a piece that uses it is seen."""
    step = next(item for item in NOTEBOOK.exercises if item.name == "ddpm_step")
    wrong = next(answer for answer in step.wrong_answers if answer.name == "noise of the first step at the end")
    now, end = (
        Level(*(field.float() for field in level)) for level in (schedules.linear().at(torch.tensor(0.001)), CLEAN)
    )
    x = normal(200, 1).float()
    denoise = from_network(lambda x, t: 0 * x, targets.eps)
    results = []
    for function in (step.reference, wrong.function):
        piece = NOTEBOOK.slots({**OWN, "ddpm_step": function})["step"]
        results.append(piece(x, now, end, denoise(x, now), Context(denoise, torch.Generator().manual_seed(0))))
    torch.testing.assert_close(results[0], x / now.alpha)
    assert float((results[1] - results[0]).std()) == pytest.approx(0.01, rel=0.2)  # the square root of 1e-4
