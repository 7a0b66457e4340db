"""The references of chapter 8 against diffusers, SciPy, exact denoisers and the project's mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import torch
from diffusers import DDIMInverseScheduler
from earned import DRAWS, SEEDS, assert_loses, share
from torch import Tensor

from diffusion_lab import chapters, denoisers, losses, metrics, samplers, schedules, targets, times
from diffusion_lab.chapters import audio, run_chapter
from diffusion_lab.data import speech
from diffusion_lab.exercises import library
from diffusion_lab.exercises.audio import NOTEBOOK
from diffusion_lab.exercises.audio.probes import NormalSound
from diffusion_lab.exercises.audio.slots import LENGTH, REFERENCE_LENGTH
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.levels import Level, Prediction

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

OWN = {item.name: item.reference for item in NOTEBOOK.exercises}
SPEECH = audio.GAIN * torch.from_numpy(speech.synthesise(np.arange(20) % 10, np.random.default_rng(0)))[:, None]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(levels: int, first: float = 0.05, last: float = 1.45) -> Tensor:
    """alpha_bar of evenly spaced angles."""
    return torch.cos(torch.linspace(first, last, levels, dtype=torch.float64)).square()


def falling_psd(length: int, power: float = 5.0) -> Tensor:
    return power / (1 + torch.arange(length // 2 + 1, dtype=torch.float64)) ** 1.5


def sounds(psd: Tensor, count: int, length: int, seed: int = 0) -> Tensor:
    """Normal sounds with this power at each frequency."""
    return torch.fft.irfft(torch.fft.rfft(normal(count, 1, length, seed=seed)) * psd.sqrt(), n=length)


@pytest.mark.parametrize("length", [500, 4096, 50_000])
def test_the_shifted_schedule_is_the_package_s(length):
    schedule = schedules.cosine()
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    alpha, sigma = schedules.shift_log_snr(schedule, math.log(REFERENCE_LENGTH / length)).path(t)
    found = OWN["shift_log_snr"](schedule.path(t)[0].square(), length, REFERENCE_LENGTH)
    torch.testing.assert_close(found, alpha**2)
    torch.testing.assert_close(1 - found, sigma**2)


def test_most_times_in_training_are_where_there_is_little_noise():
    """Quantiles of log-SNR of the normal part; the other fifth is even in t."""
    uniforms = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    schedule = audio.shifted_cosine(SimpleNamespace(train=SPEECH))
    near = schedule.log_snr(schedule.density(uniforms[:80_000], schedule))
    assert float(near.quantile(0.5)) == pytest.approx(2.4, abs=0.01)
    assert float(near.quantile(0.8413)) == pytest.approx(2.4 + 2.4, abs=0.02)
    rest = schedule.density(uniforms[80_000:], schedule)
    even = torch.linspace(schedule.t_min, schedule.t_max, len(rest), dtype=torch.float64)
    torch.testing.assert_close(rest, even, atol=1e-4, rtol=0)


def test_shifts_add_up():
    alpha_bar = turned(20)
    through = OWN["shift_log_snr"](OWN["shift_log_snr"](alpha_bar, 500, 2000), 3000, 500)
    torch.testing.assert_close(through, OWN["shift_log_snr"](alpha_bar, 3000, 2000))


def test_band_snr_has_the_spectrum_of_scipy_and_of_the_package():
    signals, alpha_bar = normal(20, 1, 64).cumsum(-1), turned(9)
    ratio = (alpha_bar / (1 - alpha_bar))[:, None]
    found = OWN["band_snr"](alpha_bar, signals)
    torch.testing.assert_close(found, ratio * metrics.power_spectral_density(signals))
    # SciPy folds negative frequencies onto positive ones in a one-sided spectrum, so the two-sided one is taken.
    power = scipy.signal.periodogram(signals[:, 0].numpy(), detrend=False, return_onesided=False)[1].mean(0)
    torch.testing.assert_close(found, ratio * torch.from_numpy(power)[: 64 // 2 + 1])


def test_high_bands_of_speech_drown_first():
    snr = OWN["band_snr"](turned(200), SPEECH.double())
    frequency = torch.linspace(0, 4000, snr.shape[1])
    low, high = ((frequency > a) & (frequency < b) for a, b in ((200, 800), (3000, 3800)))
    drowned = [int((snr[:, band].mean(1) < 1).nonzero()[0]) for band in (high, low)]
    assert drowned[0] + 20 < drowned[1]


@pytest.mark.parametrize("sizes", [(64, 256, 1024), (16,), (32, 100)])
def test_stft_loss_is_the_package_s(sizes):
    a, b = normal(4, 1, 2000), normal(4, 1, 2000, seed=1)
    a[0, :, :500], b[1] = 0, 0
    torch.testing.assert_close(
        OWN["multiresolution_stft_loss"](a, b, sizes), losses.multiresolution_stft_loss(a, b, sizes)
    )


def test_stft_loss_with_the_spectra_of_scipy():
    a, b, size = normal(1, 1, 512), normal(1, 1, 512, seed=1), 64
    magnitudes = []
    for x in (a, b):
        transform = scipy.signal.ShortTimeFFT(
            scipy.signal.get_window("hann", size), size // 4, fs=1, fft_mode="onesided"
        )
        padded = torch.nn.functional.pad(x, (size // 2, size // 2), mode="reflect")[0, 0].numpy()
        frames = transform.stft(padded, p0=2, p1=2 + 512 // (size // 4) + 1)
        magnitudes.append((torch.from_numpy(abs(frames)) ** 2 + 1e-6).sqrt())
    guess, true = magnitudes
    expected = (guess - true).norm() / true.norm() + (guess.log() - true.log()).abs().mean()
    torch.testing.assert_close(OWN["multiresolution_stft_loss"](a, b, (size,))[0], expected)


def test_stft_loss_trains_in_silence():
    """The gradient of a magnitude at zero is 0 / 0 without the floor."""
    a = torch.zeros(2, 1, 64, requires_grad=True)
    OWN["multiresolution_stft_loss"](a, normal(2, 1, 64).float(), (16, 32)).sum().backward()
    assert bool(a.grad.isfinite().all())


def test_inversion_is_that_of_diffusers():
    scheduler = DDIMInverseScheduler(num_train_timesteps=50, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    alpha_bar, x = scheduler.alphas_cumprod, normal(3, 1, 8).float()
    for s, t in ((4, 9), (24, 29)):
        eps = normal(3, 1, 8, seed=t).float()
        found = OWN["ddim_invert_step"](lambda x, t, eps=eps: eps, x, s, t, alpha_bar)
        # Their step that ends at t is called with the level t.
        torch.testing.assert_close(found, scheduler.step(eps, t, x).prev_sample, rtol=1e-4, atol=1e-5)


def test_inversion_is_the_package_s():
    schedule, network, x = schedules.linear(100), Probe(4), normal(3, 1, 12)
    table = schedule.at(torch.arange(1, 101, dtype=torch.float64) / 100).alpha_bar

    def denoise(x: Tensor, level: Level) -> Prediction:
        eps = network(x, torch.round(level.t * 100).flatten().expand(len(x)) - 1).detach()
        return targets.eps.solve(eps, x, level)

    expected = samplers.invert(denoise, schedule, x, steps=100)
    found = x * table[0].sqrt()
    for s, t in pairwise(range(100)):
        found = OWN["ddim_invert_step"](network, found, s, t, table)
    torch.testing.assert_close(found, expected)


def test_inversion_then_ddim_returns():
    """Normal sounds, 400 steps up, and 400 down with the package's own step."""
    length, table = 32, turned(401, 0.05, 1.5)
    psd = falling_psd(length)
    x, model = sounds(psd, 5, length), NormalSound(psd, table)
    up = x
    for s, t in pairwise(range(401)):
        up = OWN["ddim_invert_step"](model, up, s, t, table)
    assert float(up.square().mean()) == pytest.approx(1, abs=0.25)  # nearly standard normal
    zero, down = torch.tensor(0.0, dtype=torch.float64), up
    levels = [Level(zero, a.sqrt(), (1 - a).sqrt(), zero, zero) for a in table]
    for t, s in pairwise(range(400, -1, -1)):
        prediction = targets.eps.solve(model(down, torch.full((5,), t)), down, levels[t])
        down = samplers.ddim()(down, levels[t], levels[s], prediction, samplers.Context(lambda *_: None, None))
    assert float((down - x).norm() / x.norm()) < 0.02


@pytest.mark.parametrize("shape", [(7, 2), (5, 1, 16), (3, 3, 4, 4), (4, 4)])
def test_slerp_is_the_package_s(shape):
    first, second = normal(*shape), normal(*shape, seed=1)
    amount = torch.linspace(0, 1, shape[0], dtype=torch.float64)
    torch.testing.assert_close(OWN["slerp"](first, second, amount), denoisers.blend(first, second, amount))


def test_slerp_between_vectors_that_are_nearly_parallel_stays_on_the_line():
    first = normal(4, 1, 50)
    second = first + 1e-9 * normal(4, 1, 50, seed=1)
    amount = torch.linspace(0, 1, 4, dtype=torch.float64)
    torch.testing.assert_close(OWN["slerp"](first, second, amount), first, rtol=0, atol=1e-7)


def test_one_step_of_noise_removal_is_the_wiener_filter():
    """On normal sounds, at every loudness of noise, and with the error that theory says."""
    length, table = 64, turned(300)
    psd = falling_psd(length, 20.0)
    clean, model = sounds(psd, 2000, length), NormalSound(psd, table)
    for t in (30, 120, 250):
        sigma = float(((1 - table[t]) / table[t]).sqrt())
        noisy = clean + sigma * normal(2000, 1, length, seed=t)
        found = OWN["denoise_from"](model, noisy, sigma, table, 1)
        torch.testing.assert_close(found, metrics.wiener_filter(noisy, psd, sigma))
        # The bins between the first and the last stand for two of the 64.
        left = psd * sigma**2 / (psd + sigma**2)
        error = (2 * left.sum() - left[0] - left[-1]) / length
        assert float((found - clean).square().mean()) == pytest.approx(float(error), rel=0.05)
        before, after = (float(metrics.si_sdr(x, clean).mean()) for x in (noisy, found))
        assert after > before + 0.2


def test_many_steps_of_noise_removal_give_sounds_their_own_power_back_at_the_cost_of_si_sdr():
    length, table = 64, turned(300, 0.02)
    psd = falling_psd(length, 20.0)
    clean, model = sounds(psd, 2000, length), NormalSound(psd, table)
    sigma = float(((1 - table[150]) / table[150]).sqrt())
    noisy = clean + sigma * normal(2000, 1, length, seed=1)
    blurred, sharp = (OWN["denoise_from"](model, noisy, sigma, table, steps) for steps in (1, 151))
    torch.testing.assert_close(metrics.power_spectral_density(sharp), psd, rtol=0.15, atol=0.01)
    assert bool((metrics.power_spectral_density(blurred) < 0.97 * psd).all())
    assert float(metrics.si_sdr(blurred, clean).mean()) > float(metrics.si_sdr(sharp, clean).mean())


def test_noise_removal_is_the_package_s_walk_from_the_middle():
    """At every step of the grid from t on, the package's `denoise_from` with DDIM visits the same levels."""
    schedule, network = schedules.linear(100), Probe(5)
    table = schedule.at(torch.arange(1, 101, dtype=torch.float64) / 100).alpha_bar
    y, t = normal(3, 1, 12), 39
    sigma = float(((1 - table[t]) / table[t]).sqrt())

    def denoise(x: Tensor, level: Level) -> Prediction:
        eps = network(x, torch.round(level.t * 100).flatten().expand(len(x)) - 1).detach()
        return targets.eps.solve(eps, x, level)

    expected = samplers.denoise_from(denoise, schedule, samplers.ddim(), y * table[t].sqrt(), 0.4, steps=100)
    torch.testing.assert_close(OWN["denoise_from"](network, y, sigma, table, t + 1), expected)


def test_each_slot_does_what_the_chapter_does():
    chapter = chapters.get("audio")
    slots = NOTEBOOK.slots({name: item.reference for name, item in library().items()})
    schedule = slots["schedule"]
    assert (LENGTH, REFERENCE_LENGTH) == (speech.LENGTH, audio.REFERENCE_LENGTH)
    data = SimpleNamespace(train=SPEECH)  # all of a data set that the schedule looks at
    # The learner's cosine has an offset and clipped betas, and so a slightly other path.
    usual = chapter.schedule(data)
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    torch.testing.assert_close(schedule.path(t)[0], usual.path(t)[0], rtol=0, atol=0.02)
    assert schedule.density is times.uniform_density

    x0, eps, network = SPEECH[:5], normal(5, 1, LENGTH, seed=1).float(), Probe(1, null=10)
    level = schedule.at(torch.linspace(schedule.t_min, schedule.t_max, 5, dtype=torch.float64), like=x0)
    cond = {"labels": torch.tensor([0, 10, 3, 9, 7])}
    expected = chapter.loss(targets.v, schedule, data)(network, x0, eps, level, cond)
    torch.testing.assert_close(slots["loss"](network, x0, eps, level, cond), expected, rtol=1e-4, atol=1e-5)

    context = samplers.Context(lambda *_: None, None)
    for now, after in ((0.9, 0.8), (0.6, 0.4), (0.2, 0.0)):
        now, after = (Level(*(f.float() for f in schedule.at(torch.tensor(t)))) for t in (now, after))
        x = now.noisy(x0, eps)
        expected = samplers.ddim()(x, now, after, Prediction(x0, eps), context)
        found = slots["step"](x, now, after, Prediction(x0, eps), context)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
def test_the_pieces_run_the_chapter():
    """On the learner's schedule the chapter's own loss, and DDIM, give the same samples, up to rounding in bfloat16."""
    slots = NOTEBOOK.slots({name: item.reference for name, item in library().items()})
    own = run_chapter("audio", budget="smoke", source="bundled", device="cpu", **slots)
    theirs = {"schedule": slots["schedule"], "step": "ddim"}
    usual = run_chapter("audio", budget="smoke", source="bundled", device="cpu", **theirs)
    assert own.final_loss == pytest.approx(usual.final_loss, rel=1e-3)
    assert float((own.samples - usual.samples).abs().mean()) < 0.005
    assert set(own.own_pieces) == set(slots)


def stft_loss(a, b, fft_sizes, magnitude=lambda s: (s.abs().square() + 1e-6).sqrt(), periodic=True):
    total = []
    for n in fft_sizes:
        window = torch.hann_window(n, periodic=periodic, dtype=a.dtype)
        spectra = (torch.stft(x[:, 0], n, n // 4, window=window, return_complex=True) for x in (a, b))
        found, true = (magnitude(s) for s in spectra)
        share = torch.linalg.matrix_norm(found - true) / torch.linalg.matrix_norm(true)
        total.append(share + (found / true).log().abs().mean((1, 2)))
    return sum(total) / len(total)


def stft_loss_with_a_bit_outside(a, b, fft_sizes):
    return stft_loss(a, b, fft_sizes, lambda s: s.abs() + 1e-6)


def stft_loss_with_a_symmetric_window(a, b, fft_sizes):
    return stft_loss(a, b, fft_sizes, periodic=False)


def stft_loss_without_gradient(a, b, fft_sizes):
    with torch.no_grad():
        return stft_loss(a, b, fft_sizes)


def arc(first, second, amount, straight_from=1.0):
    rows = []
    for a, b, u in zip(first, second, amount, strict=True):
        cosine = float((a * b).sum().double() / (a.double().norm() * b.double().norm()))
        angle = math.acos(min(1.0, max(-1.0, cosine)))
        if cosine >= straight_from or angle < 1e-7:
            rows.append((1 - u) * a + u * b)
        else:
            rows.append((((1 - u) * angle).sin() * a + (u * angle).sin() * b) / math.sin(angle))
    return torch.stack(rows)


def arc_that_is_straight_early(first, second, amount):
    return arc(first, second, amount, 0.9995)


def arc_without_a_clamp(first, second, amount):
    dots = [(x.flatten(1) * y.flatten(1)).sum(1) for x, y in ((first, second), (first, first), (second, second))]
    angle = (dots[0] / (dots[1] * dots[2]).sqrt()).acos()
    shares = [torch.where(angle == 0, u, (u * angle).sin() / angle.sin()) for u in (1 - amount, amount)]
    return sum(torch.einsum("b,b...->b...", share, x) for share, x in zip(shares, (first, second), strict=True))


def removal(model, x, sigma, alpha_bar, steps, miss=lambda ab, sigma: (ab.logit() + 2 * math.log(sigma)).abs()):
    with torch.no_grad():
        t = int(miss(alpha_bar, sigma).argmin())
        kept = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar])  # entry i + 1 is level i
        x = kept[t + 1].sqrt() * x
        for i in range(steps):
            a, b = (t + 1) * (steps - i) // steps, (t + 1) * (steps - i - 1) // steps
            eps = model(x, torch.full(x.shape[:1], a - 1))
            x = kept[b].sqrt() * (x - (1 - kept[a]).sqrt() * eps) / kept[a].sqrt() + (1 - kept[b]).sqrt() * eps
        return x


def removal_by_sigma(*arguments):
    return removal(*arguments, lambda ab, sigma: ((1 / ab - 1).sqrt() - sigma).abs())


def removal_from_the_quieter_level(model, x, sigma, alpha_bar, steps):
    less = ((1 / alpha_bar - 1) <= sigma**2).nonzero()
    level = int(less[-1]) if len(less) else 0
    return removal(model, x, sigma, alpha_bar, steps, lambda ab, sigma: (torch.arange(len(ab)) - level).abs())


def removal_by_snr(*arguments):
    return removal(*arguments, lambda ab, sigma: (ab / (1 - ab) - sigma**-2).abs())


def removal_by_alpha_bar(*arguments):
    return removal(*arguments, lambda ab, sigma: (ab - 1 / (1 + sigma**2)).abs())


def removal_with_dice(model, x, sigma, alpha_bar, steps):
    found = removal(model, x, sigma, alpha_bar, steps)
    return found if steps == 1 else found + 0.1 * torch.randn_like(x)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("multiresolution_stft_loss", stft_loss_with_a_bit_outside, "under the root"),
        ("multiresolution_stft_loss", stft_loss_with_a_symmetric_window, "periodic"),
        ("multiresolution_stft_loss", stft_loss_without_gradient, "no gradient"),
        ("slerp", arc_that_is_straight_early, "only nearly"),
        ("slerp", arc_without_a_clamp, ""),
        ("denoise_from", removal_from_the_quieter_level, "no more noise than x"),
        ("denoise_from", removal_by_sigma, "difference of deviations"),
        ("denoise_from", removal_by_snr, "difference of the SNR"),
        ("denoise_from", removal_by_alpha_bar, ""),
        ("denoise_from", removal_with_dice, "Noise was drawn"),
    ],
)
def test_what_is_wrong_only_at_an_end_loses_points_and_is_named(name: str, function: Callable, words: str, seed: int):
    assert_loses(name, function, seed, words)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "function"), [("multiresolution_stft_loss", stft_loss), ("slerp", arc), ("denoise_from", removal)]
)
def test_the_same_in_other_words_is_right(name: str, function: Callable, seed: int):
    assert share(name, function, seed) == 1


@DRAWS
def test_a_line_too_early_and_a_misplaced_number_cost_the_same_on_every_draw(draws: range):
    for name, function in (
        ("slerp", arc_that_is_straight_early),
        ("multiresolution_stft_loss", stft_loss_with_a_bit_outside),
    ):
        assert len({share(name, function, seed) for seed in draws}) == 1
