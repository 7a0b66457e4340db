"""The reference pieces of chapter 3 against the package's own mathematics, SciPy, diffusers and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal
from torch import Tensor, nn

from diffusion_lab import losses, targets
from diffusion_lab.chapters import get, run_chapter
from diffusion_lab.chapters.mixture import TRUTH
from diffusion_lab.exact import Mixture
from diffusion_lab.exercises.mixture import NOTEBOOK
from diffusion_lab.exercises.mixture.responsibilities import far_away
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import Draw
from diffusion_lab.grading.judge import LocalCaller, check, told
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context, annealed_langevin
from diffusion_lab.samplers.steps import langevin_update

OWN = {item.name: item.reference for item in NOTEBOOK.exercises}
SHAPES = [(5, 2), (1, 3), (2, 1, 7), (3, 3), (3, 3, 3, 3)]
LEVELS = [1.0, 0.9, 0.4, 1e-3, 0.0]
MIXTURE = (TRUTH.weights.double() / TRUTH.weights.double().sum(), TRUTH.means.double(), TRUTH.covs.double())


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def level_of(alpha_bar: float) -> Level:
    kept, zero = torch.tensor(alpha_bar, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    return Level(zero, kept.sqrt(), (1 - kept).sqrt(), zero, zero)


@pytest.mark.parametrize("n", [2, 10, 500])
def test_geometric_sigmas_are_those_of_numpy_and_of_the_package(n: int):
    found = OWN["geometric_sigmas"](n, 15.0, 0.02)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), np.geomspace(15.0, 0.02, n), rtol=1e-5)
    schedule = get("mixture").schedule(None)
    torch.testing.assert_close(found.double(), 15 * schedule.times(n)[:-1], rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_dsm_loss_is_the_package_s(shape: tuple[int, ...]):
    model, x0, noise = Probe(3), normal(*shape), normal(*shape, seed=1)
    sigma = normal(shape[0], seed=2).exp()
    expected = losses.denoising_score_matching_loss(model, x0, noise, sigma)
    torch.testing.assert_close(OWN["dsm_loss"](model, x0, sigma, noise), expected)


class Linear(nn.Module):
    """A score that is a line: slope x."""

    def __init__(self, slope: float):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.slope * x


def test_the_best_line_by_dsm_loss_is_the_score():
    """Data of variance v and noise sigma: the line that minimises the loss is the score, slope -1 / (v + sigma^2)."""
    variance, sigma, n = 1.7, 0.6, 200_000
    x0, noise = variance**0.5 * normal(n, 1), normal(n, 1, seed=1)
    model = Linear(0.0)
    # The loss is a parabola in the slope: its derivative at 0 and 1 says where it is lowest.
    slopes = []
    for value in (0.0, 1.0):
        model.slope.data.fill_(value)
        loss = OWN["dsm_loss"](model, x0, torch.full((n,), sigma, dtype=torch.float64), noise).mean()
        slopes.append(float(torch.autograd.grad(loss, model.slope)[0]))
    best = -slopes[0] / (slopes[1] - slopes[0])
    assert best == pytest.approx(-1 / (variance + sigma**2), rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_langevin_step_is_the_package_s(shape: tuple[int, ...]):
    x, score, noise = (normal(*shape, seed=i) for i in range(3))
    torch.testing.assert_close(OWN["langevin_step"](x, score, 0.07, noise), langevin_update(x, score, 0.07, noise))


def test_a_long_walk_ends_in_the_density():
    """Many small steps on a standard normal, started far off: a Kolmogorov-Smirnov test finds nothing."""
    x, generator = torch.full((4000,), 3.0, dtype=torch.float64), torch.Generator().manual_seed(0)
    for _ in range(300):
        x = OWN["langevin_step"](x, -x, 0.02, torch.randn(4000, generator=generator, dtype=torch.float64))
    assert kstest(x.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_responsibilities_are_bayes_rule_with_scipy_s_densities(alpha_bar: float):
    weights, means, covs = (value.numpy() for value in MIXTURE)
    x = 2 * normal(20, 2)
    joint = np.stack(
        [
            w * multivariate_normal(alpha_bar**0.5 * m, alpha_bar * c + (1 - alpha_bar) * np.eye(2)).pdf(x.numpy())
            for w, m, c in zip(weights, means, covs, strict=True)
        ],
        axis=1,
    )
    found = OWN["responsibilities"](x, torch.full((20,), alpha_bar, dtype=torch.float64), *MIXTURE)
    np.testing.assert_allclose(found.numpy(), joint / joint.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_responsibilities_and_score_are_the_package_s(alpha_bar: float):
    exact, level = Mixture(*MIXTURE), level_of(alpha_bar)
    x, kept = torch.cat([normal(20, 2), 1000 * normal(5, 2)]), torch.full((25,), alpha_bar, dtype=torch.float64)
    torch.testing.assert_close(OWN["responsibilities"](x, kept, *MIXTURE), exact.responsibilities(x, level))
    torch.testing.assert_close(OWN["gmm_score"](x, kept, *MIXTURE), exact.score(x, level))


def test_each_sample_has_its_own_level():
    x, kept = normal(5, 2), torch.tensor(LEVELS, dtype=torch.float64)
    for name in ("responsibilities", "gmm_score"):
        whole = OWN[name](x, kept, *MIXTURE)
        rows = [OWN[name](x[i : i + 1], kept[i : i + 1], *MIXTURE) for i in range(5)]
        torch.testing.assert_close(whole, torch.cat(rows))


@pytest.mark.parametrize("alpha_bar", LEVELS[:-1])
def test_tweedie_of_the_exact_score_is_the_posterior_mean(alpha_bar: float):
    exact, level = Mixture(*MIXTURE), level_of(alpha_bar)
    x, kept = normal(20, 2), torch.full((20,), alpha_bar, dtype=torch.float64)
    found = OWN["tweedie"](x, kept, OWN["gmm_score"](x, kept, *MIXTURE))
    torch.testing.assert_close(found, exact.denoise(x, level).x0, rtol=1e-9, atol=1e-9)


def test_tweedie_is_the_mean_of_the_data_that_fit():
    """Data drawn, noised and kept where x is near a place: their mean is Tweedie's, without any formula."""
    kept, n = 0.5, 400_000
    exact = Mixture(*MIXTURE)
    x0 = exact.sample(n, torch.Generator().manual_seed(0)).double()
    x = math.sqrt(kept) * x0 + math.sqrt(1 - kept) * normal(n, 2)
    place = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    near = (x - place).norm(dim=1) < 0.1
    level = torch.tensor([kept], dtype=torch.float64)
    found = OWN["tweedie"](place, level, OWN["gmm_score"](place, level, *MIXTURE))
    torch.testing.assert_close(found[0], x0[near].mean(dim=0), rtol=0.0, atol=5 * float(x0[near].std()) / 50)


def test_slots_are_the_chapter_s_own_method():
    """Loss and steps agree with the package's; the schedule places times as it does, in training and in sampling."""
    slots, chapter = NOTEBOOK.slots(OWN), get("mixture")
    schedule, theirs = slots["schedule"], chapter.schedule(None)
    uniforms = torch.linspace(0, 0.9999, 777, dtype=torch.float64)
    torch.testing.assert_close(
        schedule.density(uniforms, schedule), theirs.density(uniforms, theirs), rtol=2e-6, atol=0.0
    )
    for steps in (1, 2, 50):
        torch.testing.assert_close(schedule.times(steps), theirs.times(steps), rtol=2e-6, atol=0.0)

    x0, eps = normal(6, 2).float(), normal(6, 2, seed=1).float()
    level = theirs.at(theirs.density(uniforms[::111][:6], theirs), like=x0)
    network = Probe(1)
    expected = losses.prediction_loss(targets.score)(network, x0, eps, level, {})
    torch.testing.assert_close(slots["loss"](network, x0, eps, level, {}), expected, rtol=1e-4, atol=1e-5)

    def denoiser(x: Tensor, level: Level) -> Prediction:
        return TRUTH.denoise(x, level)

    times = theirs.times(3)
    for now, after in ((times[0], times[1]), (times[2], times[3])):
        now, after = (Level(*(field.float() for field in theirs.at(t))) for t in (now, after))
        x = now.noisy(x0, eps)
        ends = [
            step(x, now, after, denoiser(x, now), Context(denoiser, torch.Generator().manual_seed(0)))
            for step in (slots["step"], annealed_langevin(repeats=20, step_size=0.3))
        ]
        torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_run_of_own_pieces_is_the_chapter_s_run():
    """The same samples up to rounding, which a hundred steps of training and 120 of the walk have made larger."""
    own = run_chapter("mixture", budget="smoke", source="bundled", device="cpu", **NOTEBOOK.slots(OWN))
    theirs = run_chapter("mixture", budget="smoke", source="bundled", device="cpu")
    assert own.final_loss == pytest.approx(theirs.final_loss, rel=1e-4)
    torch.testing.assert_close(own.samples, theirs.samples, rtol=0.0, atol=1e-3)
    assert set(own.own_pieces) == {"schedule", "loss", "step"}


@pytest.mark.parametrize(("name", "seed"), [("gmm_score", 128), ("responsibilities", 292)])
def test_no_point_far_away_lies_between_two_modes(name: str, seed: int):
    """On this seed one did: in float32 each right answer had shares of its own, and one of them lost its points."""
    (item,) = (item for item in NOTEBOOK.exercises if item.name == name)
    verdicts = [check(item, LocalCaller(answer.function), seed) for answer in item.right_answers]
    assert all(verdict.passed for verdict in verdicts), [told(verdict) for verdict in verdicts]
    for other in range(350, 382):
        x, kept, weights, means, covs = (value.numpy() for value in far_away(Draw(other, name)))
        for point, level in zip(x, kept, strict=True):
            logs = [
                math.log(weight)
                + multivariate_normal(level**0.5 * mean, level * cov + (1 - level) * np.eye(2)).logpdf(point)
                for weight, mean, cov in zip(weights, means, covs, strict=True)
            ]
            assert sorted(logs)[-1] - sorted(logs)[-2] > 25
