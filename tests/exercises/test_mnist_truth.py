"""The references of chapter 5 against diffusers, torch's averages, exact posteriors and the project's mathematics."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffusion_lab import betas, chapters, denoisers, losses, samplers, schedules, targets, times, train
from diffusion_lab.chapters import run_chapter
from diffusion_lab.exact import Gaussian, Mixture
from diffusion_lab.exercises.mnist import NOTEBOOK
from diffusion_lab.exercises.normal_2d.cosine_alpha_bar import EXERCISE as COSINE_ALPHA_BAR
from diffusion_lab.exercises.normal_2d.ddim_step import EXERCISE as DDIM_STEP
from diffusion_lab.levels import expand
from diffusion_lab.networks import build_network

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN = {item.name: item.reference for item in (*NOTEBOOK.exercises, COSINE_ALPHA_BAR, DDIM_STEP)}
SHAPES = [(7, 2), (5, 1, 16), (3, 3, 4, 4), (4, 4)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 5, 7, 25, 37, 50, 1000])
def test_strided_times_are_the_trailing_ones_of_diffusers(steps: int):
    scheduler = DDIMScheduler(num_train_timesteps=1000, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert OWN["strided_times"](1000, steps).tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize(("dim", "max_period"), [(4, 10_000.0), (16, 500.0), (128, 10_000.0)])
def test_the_embedding_is_that_of_diffusers(dim: int, max_period: float):
    t = torch.tensor([0.0, 1.0, 2.5, 40.0, 999.0])
    theirs = get_timestep_embedding(t, dim, downscale_freq_shift=1, max_period=max_period)
    torch.testing.assert_close(OWN["timestep_embedding"](t, dim, max_period), theirs, atol=2e-4, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_extract_lines_up_with_the_data(shape: tuple[int, ...]):
    values, x = uniform(20), normal(*shape)
    t = torch.arange(shape[0]) * 2
    found = OWN["extract"](values, t, x)
    assert torch.equal(found, expand(values[t], x))
    assert (found * x).shape == x.shape


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_is_that_of_the_package_at_discrete_times(shape: tuple[int, ...]):
    """The package's discrete density turns the same uniforms into the same steps."""
    schedule = schedules.from_alpha_bar(betas.cosine_alpha_bar(50))
    images, noise, u = uniform(*shape, seed=1), normal(*shape, seed=2), uniform(shape[0], seed=3)
    level = schedule.at(times.discrete_density(50)(u, schedule), like=images)

    def network(x: Tensor, t: Tensor, labels: None = None) -> Tensor:
        return torch.tanh(x) + expand(t, x)

    def by_steps(x: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.int64
        return network(x, (t + 1) / 50)

    expected = losses.prediction_loss(targets.v)(network, images * 2 - 1, noise, level, {})
    found = OWN["simple_loss"](by_steps, images, u, noise, betas.cosine_alpha_bar(50))
    torch.testing.assert_close(found, expected)


def test_labels_are_dropped_with_their_probability():
    labels, u = torch.arange(100_000) % 10, uniform(100_000, seed=4)
    found = OWN["drop_labels"](labels, 0.1, 10, u)
    assert float((found == 10).double().mean()) == pytest.approx(0.1, abs=0.004)
    assert torch.equal(found[found != 10], labels[found != 10])
    # Each class loses its share.
    kept = torch.bincount(found, minlength=11)[:10]
    assert int(kept.min()) > 8_850 and int(kept.max()) < 9_150


def test_the_average_is_that_of_torch():
    """torch averages the counters too; here they are copied."""
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    own = copy.deepcopy(online)
    theirs = AveragedModel(online, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(online)  # the first update is a copy
    optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
    for _ in range(5):
        online(torch.randn(16, 3)).square().mean().backward()
        optimizer.step()
        own.load_state_dict(OWN["ema_update"](own, online, 0.9))
        theirs.update_parameters(online)
    for name, value in own.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, theirs.module.state_dict()[name], atol=1e-6, rtol=1e-5)
        else:
            assert int(value) == 5


@pytest.mark.parametrize(("scale", "mean", "std"), [(1.0, 1.0, 0.5), (4.0, 1.67, 0.29)])
def test_guidance_of_two_modes(scale: float, mean: float, std: float):
    """Samples of the upper of two exact modes, drawn with the package's own sampler."""
    upper = Gaussian(torch.tensor([1.0]).double(), torch.tensor([[0.25]]).double())
    modes = torch.tensor([[-1.0], [1.0]]).double()
    both = Mixture(torch.tensor([0.5, 0.5]).double(), modes, torch.full((2, 1, 1), 0.25).double())
    denoise = denoisers.guided(upper.denoise, both.denoise, scale, OWN["guided_eps"])
    schedule = schedules.cosine()
    start = samplers.initial_noise(schedule, normal(8_000, 1, seed=5))
    samples, _ = samplers.sample(denoise, schedule, samplers.heun(), start, steps=40)
    assert float(samples.mean()) == pytest.approx(mean, abs=0.03)
    assert float(samples.std()) == pytest.approx(std, abs=0.03)


def test_guidance_is_the_rule_of_the_package():
    guesses = normal(2, 5, 1, 4, 4)
    level = schedules.cosine().at(torch.tensor(0.4), like=guesses[0])
    pair = [lambda x, level, eps=eps: denoisers.Prediction(x, eps) for eps in guesses]
    expected = denoisers.guided(*pair, 2.5)(guesses[0], level).eps
    torch.testing.assert_close(OWN["guided_eps"](*guesses, 2.5), expected)


def test_denoised_digits_are_the_mean_of_those_that_fit():
    """With the exact v of 40 pictures the answer is their mean, weighted by how well each fits, in pixels in [0, 1]."""
    digits = uniform(40, 1, 6, 6, seed=7).round()
    alpha_bar = betas.cosine_alpha_bar(100)
    t = torch.tensor([5, 30, 60, 85])
    sigma = torch.sqrt(1 / alpha_bar[t] - 1) / 2
    noisy = digits[:4] + expand(sigma, digits) * normal(4, *digits.shape[1:], seed=6)

    def network(x: Tensor, t: Tensor) -> Tensor:
        alpha, noise = expand(alpha_bar[t].sqrt(), x), expand((1 - alpha_bar[t]).sqrt(), x)
        far = (x[:, None] - alpha[:, None] * (2 * digits - 1)).flatten(2).square().sum(dim=2)
        x0 = torch.einsum("bn,n...->b...", torch.softmax(-far / (2 * noise.flatten(1) ** 2), dim=1), 2 * digits - 1)
        return (alpha * x - x0) / noise

    distance = (noisy[:, None] - digits).flatten(2).square().sum(dim=2)
    weights = torch.softmax(-distance / (2 * sigma[:, None] ** 2), dim=1)
    expected = (weights @ digits.flatten(1)).reshape(noisy.shape)
    found = OWN["denoise_digits"](network, noisy, sigma, alpha_bar)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_each_slot_does_what_the_chapter_does():
    slots, chapter = NOTEBOOK.slots(OWN), chapters.get("mnist")
    schedule = slots["schedule"]
    torch.testing.assert_close(schedule.times(25), schedules.from_alpha_bar(betas.cosine_alpha_bar(1000)).times(25))

    x0, eps = normal(6, 1, 28, 28, seed=8).tanh().float(), normal(6, 1, 28, 28, seed=9).float()
    network = build_network((1, 28, 28), classes=10, seed=0, **chapter.network)
    level = schedule.at(torch.linspace(0.01, 1, 6), like=x0)
    cond = {"labels": torch.tensor([0, 10, 3, 9, 10, 7])}
    expected = losses.prediction_loss(targets.v)(network, x0, eps, level, cond)
    torch.testing.assert_close(slots["loss"](slots["network"], x0, eps, level, cond), expected, rtol=1e-4, atol=1e-5)

    x = level.noisy(x0, eps)
    for found, wanted in zip(slots["target"].solve(eps, x, level), targets.v.solve(eps, x, level), strict=True):
        torch.testing.assert_close(found, wanted)
    now, after = (schedule.at(torch.tensor(t), like=x0) for t in (0.5, 0.3))
    context, prediction = samplers.Context(lambda *_: None, None), targets.v.solve(eps, x, now)
    expected = samplers.ddim()(x, now, after, prediction, context)
    torch.testing.assert_close(slots["step"](x, now, after, prediction, context), expected, rtol=1e-4, atol=1e-5)

    average, online = (build_network((1, 28, 28), classes=10, seed=seed, **chapter.network) for seed in (1, 2))
    theirs = copy.deepcopy(average)
    slots["average"](average, online, 0.7)
    train.ema_update(theirs, online, 0.7)
    for found, wanted in zip(average.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
def test_the_pieces_run_the_chapter():
    """The chapter's method, with DDIM on the same levels: samples differ by rounding, in bfloat16 where it is used."""
    own = run_chapter("mnist", budget="smoke", source="bundled", device="cpu", **NOTEBOOK.slots(OWN))
    schedule = schedules.from_alpha_bar(betas.cosine_alpha_bar(1000))
    theirs = run_chapter("mnist", budget="smoke", source="bundled", device="cpu", schedule=schedule, step="ddim")
    assert float((own.samples - theirs.samples).abs().mean()) < 0.005
    assert own.final_loss == pytest.approx(theirs.final_loss, rel=1e-3)
    assert set(own.own_pieces) == {"schedule", "target", "loss", "step", "network", "guide", "drop_labels", "average"}
