"""Inpainting against exact conditioning of a normal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion_lab import samplers, schedules
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import FiniteSet, Gaussian
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context, replacing, resampling

RHO, SEEN = 0.9, 1.5
TRUTH = Gaussian(torch.zeros(2, dtype=torch.float64), torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=torch.float64))
KNOWN = torch.tensor([[SEEN, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[True, False]])
SCHEDULE = schedules.cosine()
EXACT = (RHO * SEEN, math.sqrt(1 - RHO**2))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fill_in(wrap, steps: int = 100, n: int = 8000) -> tuple[float, float, Tensor]:
    x = torch.randn(n, 2, generator=seeded(1), dtype=torch.float64)
    out = samplers.sample(TRUTH.denoise, SCHEDULE, wrap, x, steps=steps, generator=seeded(2))[0]
    return float(out[:, 1].mean()), float(out[:, 1].std()), out


def replacement_law(steps: int) -> tuple[float, float]:
    """Mean and standard deviation of the filled-in value: a recursion of two by two moments, in numpy.

    The unknown part moves by DDPM's posterior step with E[x0 | x]; the known part is alpha 1.5 + sigma n, n drawn anew.
    """
    grid = SCHEDULE.at(SCHEDULE.times(steps))
    alphas, sigmas = grid.alpha.numpy(), grid.sigma.numpy()
    mean, cov = np.zeros(2), np.eye(2)
    prior = np.array([[1, RHO], [RHO, 1]])
    for i in range(steps):
        a, s, b, r = alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1]
        estimate = a * prior @ np.linalg.inv(a * a * prior + s * s * np.eye(2))
        # q(x_after | x_now, x0) agrees with x_after = b x0 + r n and x_now = (a / b) x_after + noise.
        noise = s * s - (a / b * r) ** 2
        step = (b * noise / s**2) * estimate + (a / b * r * r / s**2) * np.eye(2)
        mean, cov = step @ mean, step @ cov @ step.T + (noise * r * r / s**2) * np.eye(2)
        mean = np.array([b * SEEN, mean[1]])
        cov = np.array([[r * r, 0.0], [0.0, cov[1, 1]]])
    return float(mean[1]), math.sqrt(cov[1, 1])


def test_replacement_is_not_conditioning():
    """Exact conditioning gives 1.35 +- .436; replacement .935 +- .545 in about 100 steps of DDPM.

    The model sees what is known only through noise, drawn anew at each level.
    """
    assert EXACT == pytest.approx((1.35, 0.436), abs=1e-3)
    mean, std, out = fill_in(replacing(samplers.ddpm(), KNOWN, MASK))
    assert (mean, std) == pytest.approx((0.935, 0.545), abs=0.015)
    law = replacement_law(100)
    assert law == pytest.approx((0.935, 0.545), abs=0.005)
    assert mean == pytest.approx(law[0], abs=4 * law[1] / math.sqrt(8000))
    assert std == pytest.approx(law[1], abs=4 * law[1] / math.sqrt(16_000))
    assert torch.equal(out[:, 0], torch.full_like(out[:, 0], SEEN))


def test_resampling_comes_closer_to_conditioning():
    """RePaint: the more often a step is repeated, the nearer."""
    errors = []
    for repeats in (1, 3, 10):
        mean, std, out = fill_in(resampling(samplers.ddpm(), KNOWN, MASK, repeats), n=3000)
        errors.append(abs(mean - EXACT[0]))
        assert torch.equal(out[:, 0], torch.full_like(out[:, 0], SEEN))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert std == pytest.approx(EXACT[1], abs=0.05)  # the posterior variance is a little narrow at 100 steps


def test_one_repeat_is_replacement():
    first = fill_in(replacing(samplers.ddim(), KNOWN, MASK), steps=10, n=20)[2]
    assert torch.equal(first, fill_in(resampling(samplers.ddim(), KNOWN, MASK, 1), steps=10, n=20)[2])


def test_known_values_are_at_the_noise_of_each_level():
    """In between, the known part is alpha known + sigma n: neither clean nor the sampler's own."""
    x = torch.randn(20_000, 2, generator=seeded(1), dtype=torch.float64)
    trail = samplers.sample(
        TRUTH.denoise, SCHEDULE, replacing(samplers.ddim(), KNOWN, MASK), x, steps=4, generator=seeded(2), keep=20_000
    )[1]
    for t, state in zip(trail.times[1:], trail.states[1:], strict=True):
        level = SCHEDULE.at(t)
        assert float(state[:, 0].mean()) == pytest.approx(float(level.alpha) * SEEN, abs=0.03)
        assert float(state[:, 0].std()) == pytest.approx(float(level.sigma), abs=0.03)


@pytest.mark.parametrize("wrap", [replacing, resampling])
def test_all_or_nothing_known(wrap):
    known = torch.tensor([[7.0, 8.0]], dtype=torch.float64)
    x = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    everything = wrap(samplers.ddpm(), known, torch.tensor([[True, True]]))
    out = samplers.sample(TRUTH.denoise, SCHEDULE, everything, x, steps=5, generator=seeded())[0]
    assert torch.equal(out, known.expand(6, 2))
    nothing = wrap(samplers.ddim(), known, torch.tensor([[False, False]]))
    out = samplers.sample(TRUTH.denoise, SCHEDULE, nothing, x, steps=5, generator=seeded())[0]
    plain = samplers.sample(TRUTH.denoise, SCHEDULE, samplers.ddim(), x, steps=5)[0]
    assert torch.equal(out, plain) == (wrap is replacing)  # resampling still goes up and down
    assert out.isfinite().all()


@pytest.mark.parametrize("name", ["ddpm", "ddim", "euler", "heun", "dpmpp_2m"])
@pytest.mark.parametrize("wrap", [replacing, resampling])
def test_any_step_can_be_wrapped(name: str, wrap):
    """Images with half of the pixels known, B == C == H == W."""
    generator = seeded(3)
    known = torch.randn(4, 4, 4, 4, generator=generator, dtype=torch.float64)
    mask = torch.rand(4, 4, 4, 4, generator=generator) < 0.5
    truth = FiniteSet(torch.randn(5, 4, 4, 4, generator=generator, dtype=torch.float64), std=0.2)
    x = torch.randn(4, 4, 4, 4, generator=generator, dtype=torch.float64)
    kept = known.clone()
    out = samplers.sample(
        truth.denoise, SCHEDULE, wrap(samplers.STEPS[name](), known, mask), x, steps=6, generator=generator
    )[0]
    assert out.isfinite().all()
    torch.testing.assert_close(out[mask], known[mask])
    assert torch.equal(known, kept)


def test_what_is_outside_the_mask_is_ignored():
    spoiled = torch.tensor([[SEEN, 1e6]], dtype=torch.float64)
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    outs = [
        samplers.sample(
            TRUTH.denoise, SCHEDULE, replacing(samplers.ddpm(), known, MASK), x, steps=5, generator=seeded(1)
        )[0]
        for known in (KNOWN, spoiled)
    ]
    assert torch.equal(*outs)


def test_resampling_goes_up_by_the_forward_process():
    """From x_after back to x_now: the law is that of the forward chain, whatever the path.

    Where a step returns alpha_after x0 + sigma_after n for data at one point, x_now must be alpha_now x0 + sigma_now n.
    """
    for schedule in (schedules.cosine(), schedules.karras(), schedules.flow()):
        now, after = (schedule.at(torch.tensor(t)) for t in (0.6, 0.3))
        seen = []

        def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context, seen=seen) -> Tensor:
            seen.append(x)
            return after.noisy(torch.full_like(x, 2.0), context.noise(x))

        x = torch.zeros(40_000, 1, dtype=torch.float64)
        nothing = torch.tensor([[False]])
        context = Context(lambda x, level: Prediction(x, x), seeded(4))
        resampling(step, x, nothing, repeats=2)(x, now, after, Prediction(x, x), context)
        assert float(seen[1].mean()) == pytest.approx(2 * float(now.alpha), abs=5 * float(now.sigma) / 200)
        assert float(seen[1].std()) == pytest.approx(float(now.sigma), rel=0.02)
        assert context.evaluations == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replacing(samplers.ddim(), KNOWN, MASK.float()), "boolean"),
        (lambda: resampling(samplers.ddim(), KNOWN, MASK, 0), "repeats"),
    ],
)
def test_what_is_refused(make, words: str):
    with pytest.raises(PieceError, match=words):
        make()
