"""Thresholds that mean something: a quick run passes them, an untrained network and a wrong sampler do not.

One test a chapter, so that each chapter is trained once, or not at all where its shipped network will do.
`tests/quality` is the slowest part of the tests, and begins first.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffusion_lab import run_chapter
from diffusion_lab.chapters import BEYOND, NAMES, get
from diffusion_lab.chapters.opening import open_checkpoint
from diffusion_lab.chapters.run import build
from diffusion_lab.discrete import DiscreteProcess, draw
from diffusion_lab.samplers.steps import posterior_variance, step_variance, velocity

NEAR_THE_FLOOR = ("normal_1d", "normal_2d", "mixture", "normal_nd", "spiral")
"""Chapters with an exact density: their first score must be within twice what the truth itself scores."""
BY_DAY = ("normal_1d",)
PART_BY_DAY = ("mnist",)
"""Trained at every commit, two kinds of network: a perceptron for points, and a U-Net for images. That passes after two
thirds of its steps already, which asks more of it and takes less time; all of them are taken at night.

Transformers train at night; the shipped one of games is scored by day.
"""
SHIPPED_BY_DAY = ("mixture", "games")
"""Sampled and scored by day as a quick run is, with the shipped network: points in two dimensions, and tokens."""
FEWER = {"normal_1d": 1000, "mixture": 1000, "games": 2000}
"""Samples with which it is tried that nothing wrong passes, and that what is right does: fewer where they take long."""


def variance_for_std(x, now, after, prediction, context):
    """DDPM whose noise is scaled by the variance, not by its root."""
    shrink = now.alpha / after.alpha * (after.sigma / now.sigma) ** 2
    mean = shrink * x + after.alpha * step_variance(now, after) / now.sigma**2 * prediction.x0
    return mean + posterior_variance(now, after) * context.noise(x)


def no_direction(x, now, after, prediction, context):
    """DDIM that forgets the noise that is still there at the next level."""
    return after.alpha * prediction.x0


def half_the_noise(x, now, after, prediction, context):
    """Langevin dynamics with sqrt(step) in the place of sqrt(2 step)."""
    for _ in range(20):
        size = 0.3 * now.sigma**2
        x = x - size * context.predict(x, now).eps / now.sigma + size.sqrt() * context.noise(x)
    return context.predict(x, now).x0 if after.sigma == 0 else x


def sum_of_slopes(x, now, after, prediction, context):
    """Heun's method with the sum of the two slopes in the place of their mean."""
    width, slope = after.t - now.t, velocity(prediction, now)
    trial = x + width * slope
    return trial if after.sigma == 0 else x + width * (slope + velocity(context.predict(trial, after), after))


def growing_exponent(x, now, after, prediction, context):
    """An exponential integrator with e^h in the place of e^-h."""
    if after.sigma == 0:
        return prediction.x0
    h = (after.log_snr - now.log_snr) / 2
    return after.sigma / now.sigma * x + after.alpha * torch.expm1(h).clamp(max=10) * prediction.x0


def most_likely_token(x, now, after, p_x0, context):
    """Unmasking that takes the most likely token in the place of a random one."""
    process = DiscreteProcess("absorbing", p_x0.shape[-1])
    certain = torch.nn.functional.one_hot(p_x0.argmax(dim=-1), p_x0.shape[-1]).to(p_x0)
    return draw(process.posterior(x, certain, now, after), context.uniform(x))


BUGS = {
    "normal_1d": variance_for_std,
    "normal_2d": no_direction,
    "mixture": half_the_noise,
    "normal_nd": sum_of_slopes,
    "mnist": no_direction,
    "spiral": growing_exponent,
    "cifar10": no_direction,
    "audio": no_direction,
    "text": no_direction,
    "games": most_likely_token,
    "heartbeats": no_direction,
    "points": no_direction,
    "satellite": no_direction,
}


def failed(experiment) -> list[str]:
    """The names of the scores that are not past their threshold, on fresh samples."""
    experiment.draw()
    return [f"{s.name} {s.value:.3g}" for s in experiment.chapter.evaluate(experiment) if not s.passed]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n in BY_DAY else pytest.param(n, marks=pytest.mark.nightly) for n in (*NAMES, *BEYOND)]
)
def test_a_quick_run_passes_and_what_is_wrong_does_not(name):
    all_is_well(name, run_chapter(name, budget="quick", source="auto"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PART_BY_DAY)
def test_two_thirds_of_a_quick_run_pass_and_what_is_wrong_does_not(name):
    training = get(name).budgets["quick"].training
    part = replace(training, steps=training.steps * 2 // 3)
    all_is_well(name, run_chapter(name, training=part, budget="quick", source="auto"))


def all_is_well(name, report):
    print(report)
    assert report.passed, str(report)
    near_the_floor(name, report.scores[0])
    trained = of_fewer(name, report.experiment)
    assert name not in FEWER or not failed(trained), "so few samples do not pass"
    nothing_wrong_passes(name, trained)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED_BY_DAY)
def test_a_shipped_network_passes_and_what_is_wrong_does_not(name):
    opened = open_checkpoint(name=name)
    trained = of_fewer(name, replace(opened, budget=opened.chapter.budgets["quick"]))
    trained.draw()
    scores = opened.chapter.evaluate(trained)
    assert all(score.passed for score in scores), scores
    near_the_floor(name, scores[0])
    nothing_wrong_passes(name, trained)


def near_the_floor(name, first):
    if name in NEAR_THE_FLOOR:
        assert first.value <= 2 * first.floor, f"{first.value} is not within twice the floor {first.floor}"


def of_fewer(name, trained):
    budget = trained.budget
    return replace(trained, budget=replace(budget, samples=FEWER.get(name, budget.samples)))


def nothing_wrong_passes(name, trained):
    untrained = build(trained.chapter, trained.dataset, seed=1).to(trained.accelerator.device).eval()
    assert failed(replace(trained, network=untrained)), "an untrained network passes"
    wrong = replace(trained.pieces, step=BUGS[name])
    assert failed(replace(trained, pieces=wrong)), f"a sampler with the bug '{BUGS[name].__name__}' passes"
