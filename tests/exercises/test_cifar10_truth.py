"""The references of chapter 7 against diffusers, SciPy, closed forms and the project's mathematics."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import scipy.linalg
import torch
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr as theirs_rescaled
from diffusers.training_utils import compute_snr
from torch import Tensor

from diffusion_lab import betas, denoisers, losses, metrics, samplers, schedules, targets
from diffusion_lab.chapters import get, run_chapter
from diffusion_lab.exact import Gaussian
from diffusion_lab.exercises import library
from diffusion_lab.exercises.cifar10 import NOTEBOOK
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.levels import Level, Prediction

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

OWN = {item.name: item.reference for item in NOTEBOOK.exercises}
SHAPES = [(7, 2), (5, 1, 16), (3, 3, 4, 4), (4, 4)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_rescaled_schedule_is_that_of_diffusers():
    linear = betas.linear_betas(1000)
    kept = torch.cumprod(1 - theirs_rescaled(linear), dim=0)
    found = OWN["rescale_zero_terminal_snr"](torch.cumprod(1 - linear, dim=0))
    torch.testing.assert_close(found, kept, rtol=1e-9, atol=1e-15)
    assert float(found[-1]) == 0


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_min_snr_weight_is_the_package_s(target):
    schedule = schedules.linear()
    level = schedule.at(torch.linspace(0.01, 0.99, 50, dtype=torch.float64))
    expected = losses.min_snr_weight(5.0)(level, targets.TARGETS[target])
    torch.testing.assert_close(OWN["min_snr_weight"](level.alpha_bar, 5.0, target), expected)


def test_snr_is_that_of_diffusers():
    """Where SNR is below gamma, the weight of x0 is SNR itself."""
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    t = torch.arange(0, 1000, 37)
    found = OWN["min_snr_weight"](scheduler.alphas_cumprod[t], 1e9, "x0")
    torch.testing.assert_close(found, compute_snr(scheduler, t), rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_loss_is_the_package_s(shape):
    schedule = schedules.zero_terminal_linear()
    x0, noise, network = normal(*shape), normal(*shape, seed=1), Probe(3)
    level = schedule.at(torch.linspace(0.1, 1, len(x0), dtype=torch.float64), like=x0)
    expected = losses.prediction_loss(targets.v, losses.min_snr_weight(5.0))(network, x0, noise, level, {})
    kept, times = level.alpha_bar.flatten(), level.t.flatten()
    weight = OWN["min_snr_weight"](kept, 5.0, "v")
    found = OWN["weighted_loss"](lambda x, t: network(x, times[t]), x0, torch.arange(len(x0)), noise, kept, weight)
    torch.testing.assert_close(found, expected)


def test_v_of_the_weighted_loss_is_that_of_diffusers():
    """A network that says the v of diffusers has no loss, at the level of pure noise as well."""
    scheduler = DDIMScheduler(num_train_timesteps=100, rescale_betas_zero_snr=True)
    x0, noise, t = normal(5, 3, 4, 4).float(), normal(5, 3, 4, 4, seed=1).float(), torch.tensor([0, 20, 50, 80, 99])
    v = scheduler.get_velocity(x0, noise, t)
    found = OWN["weighted_loss"](lambda x, t: v, x0, t, noise, scheduler.alphas_cumprod, torch.ones(100))
    torch.testing.assert_close(found, torch.zeros(5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0.7, 0.995])
def test_dynamic_threshold_is_that_of_diffusers(shape, p):
    x0 = 2 * normal(*shape)
    scheduler = DDIMScheduler(thresholding=True, dynamic_thresholding_ratio=p, sample_max_value=1e9)
    found = OWN["dynamic_threshold"](x0, p)
    torch.testing.assert_close(found, scheduler._threshold_sample(x0.reshape(len(x0), -1, 1)).reshape(x0.shape))
    torch.testing.assert_close(found, denoisers.dynamic_threshold(x0, p))


def test_a_jump_is_a_step_up_and_a_ddim_step_down():
    """The way up is that of RePaint in the package, and the way down is its DDIM on its prediction from v."""
    table = torch.cos(torch.linspace(0.1, math.pi / 2, 12, dtype=torch.float64)).square()
    table[-1] = 0
    x, noise, network = normal(3, 1, 6), normal(3, 1, 6, seed=1), Probe(2)
    zero = torch.tensor(0.0, dtype=torch.float64)
    for s, t in ((2, 3), (4, 9), (6, 11)):
        clean, noisy = (Level(zero, table[i].sqrt(), (1 - table[i]).sqrt(), zero, zero) for i in (s, t))
        up = noisy.alpha / clean.alpha * x + samplers.steps.step_variance(noisy, clean).sqrt() * noise
        prediction = targets.v.solve(network(up, torch.full((3,), t)).detach(), up, noisy)
        expected = samplers.ddim()(up, noisy, clean, prediction, samplers.Context(lambda *_: None, None))
        torch.testing.assert_close(OWN["repaint_jump"](network, x, s, t, table, noise), expected)


def test_jumps_keep_the_distribution():
    """With the exact v of a normal distribution, many small jumps leave samples of a level samples of it."""
    truth = Gaussian(torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.6], [0.6, 0.5]]))
    table = torch.cos(torch.linspace(0.3, 1.2, 91, dtype=torch.float64)).square()
    zero = torch.tensor(0.0, dtype=torch.float64)

    def level(i: int) -> Level:
        return Level(zero, table[i].sqrt(), (1 - table[i]).sqrt(), zero, zero)

    def network(x: Tensor, t: Tensor) -> Tensor:
        here = level(int(t[0]))
        prediction = truth.denoise(x, here)
        return targets.v.of(prediction.x0, prediction.eps, here)

    mean = level(40).alpha * truth.mean.double()
    cov = table[40] * truth.cov.double() + (1 - table[40]) * torch.eye(2, dtype=torch.float64)
    x = mean + normal(20_000, 2) @ torch.linalg.cholesky(cov).T
    for jump in range(20):
        x = OWN["repaint_jump"](network, x, 40, 42, table, normal(20_000, 2, seed=jump + 1))
    assert metrics.gaussian_w2(x.mean(0), torch.cov(x.T), mean, cov) < 0.03


def test_frechet_distance_is_the_package_s():
    one, other = normal(40, 6) @ normal(6, 6, seed=1), normal(50, 6, seed=2) @ normal(6, 6, seed=3) + 1
    found = OWN["frechet_distance"](one, other)
    assert float(found) == pytest.approx(metrics.frechet_distance(one, other), rel=1e-9)


def test_frechet_distance_with_scipy_s_root_of_a_matrix():
    one, other = normal(40, 6) @ normal(6, 6, seed=1), normal(50, 6, seed=2) @ normal(6, 6, seed=3) + 1
    cov1, cov2 = torch.cov(one.T).numpy(), torch.cov(other.T).numpy()
    root = scipy.linalg.sqrtm(cov1 @ cov2)
    expected = float((one.mean(0) - other.mean(0)).square().sum()) + (cov1 + cov2 - 2 * root.real).trace()
    assert float(OWN["frechet_distance"](one, other)) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_drawn_normals_nears_the_closed_form_and_is_too_high_for_few_samples():
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)

    def found(rows: int) -> float:
        return float(OWN["frechet_distance"](normal(rows, 3), normal(rows, 3, seed=1) * scale + 1))

    true = 3 + float((scale - 1).square().sum())
    assert found(200_000) == pytest.approx(true, rel=0.01)
    few = [float(OWN["frechet_distance"](normal(4, 3, seed=i), normal(4, 3, seed=i + 99))) for i in range(20)]
    assert min(few) > 0.2  # two draws from one distribution, whose distance is 0
    assert math.isnan(float(OWN["frechet_distance"](normal(3, 3), normal(50, 3))))


def test_each_slot_does_what_the_chapter_does():
    slots = NOTEBOOK.slots({name: item.reference for name, item in library().items()})
    schedule, usual = slots["schedule"], schedules.zero_terminal_linear()
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(schedule.path(t)[0], usual.path(t)[0], rtol=1e-4, atol=1e-7)

    x0, eps, network = normal(5, 3, 4, 4).float(), normal(5, 3, 4, 4, seed=1).float(), Probe(1, null=10)
    level = usual.at(torch.tensor([0.001, 0.3, 0.6, 0.9, 1.0]), like=x0)
    cond = {"labels": torch.tensor([0, 10, 3, 9, 7])}
    expected = losses.prediction_loss(targets.v, losses.min_snr_weight(5.0))(network, x0, eps, level, cond)
    torch.testing.assert_close(slots["loss"](network, x0, eps, level, cond), expected, rtol=1e-4, atol=1e-6)

    context = samplers.Context(lambda *_: None, None)
    for now, after in ((1.0, 0.8), (0.6, 0.4), (0.2, 0.0)):
        now, after = (Level(*(f.float() for f in usual.at(torch.tensor(t)))) for t in (now, after))
        x = now.noisy(x0, eps)
        expected = samplers.ddim()(x, now, after, Prediction(x0, eps), context)
        found = slots["step"](x, now, after, Prediction(x0, eps), context)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
def test_the_pieces_run_the_chapter():
    """The chapter's method, with DDIM: samples differ by rounding, in bfloat16 where it is used."""
    slots = NOTEBOOK.slots({name: item.reference for name, item in library().items()})
    own = run_chapter("cifar10", budget="smoke", source="bundled", device="cpu", **slots)
    usual = run_chapter("cifar10", budget="smoke", source="bundled", device="cpu", step="ddim")
    assert own.final_loss == pytest.approx(usual.final_loss, rel=1e-3)
    assert float((own.samples - usual.samples).abs().mean()) < 0.005
    assert set(own.own_pieces) == set(slots)


@pytest.mark.parametrize(("source", "log_snr", "share"), [("real", 1.2, 0.85), ("bundled", -1.4, 0.7)])
def test_images_are_trained_most_where_they_take_shape(source: str, log_snr: float, share: float):
    """Quantiles of log-SNR in training against those of its normal part; every noisiest level still comes up."""
    uniforms = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    whole = schedules.zero_terminal_linear()
    ours = get("cifar10").schedule(SimpleNamespace(source=source))
    drawn = ours.density(uniforms, ours)
    # Steps of a thousandth are wide where there is hardly any noise.
    normal = ours.log_snr(drawn[: int(share * len(drawn))])
    assert float(normal.quantile(0.5)) == pytest.approx(log_snr, abs=0.02)
    assert float(normal.quantile(0.8413)) == pytest.approx(log_snr + 2.4, abs=0.05)
    assert torch.isin(drawn, torch.arange(1, 1001, dtype=torch.float64) / 1000).all()
    rest = drawn[int(share * len(drawn)) :]
    assert float(rest.max()) == 1.0 and float(rest.mean()) == pytest.approx(0.5, abs=0.01)
    torch.testing.assert_close(ours.at(uniforms).alpha, whole.at(uniforms).alpha)
