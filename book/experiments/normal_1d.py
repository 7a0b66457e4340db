"""Chapter 1, one normal number: samplers at equal network evaluations, and what the loss says about the samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab import samplers
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.normal_1d import TRUTH
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.denoisers import Denoiser, from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.metrics import floor_of, moments, sample_w2
from diffusion_lab.samplers import Context
from diffusion_lab.samplers.steps import posterior_variance, step_variance
from diffusion_lab.train import Settings, Source, Trainer

COUNT, SEEDS = 10_000, (1, 2, 3)
EVALUATIONS = (5, 10, 20, 50, 100, 250, 1000)
TRAINING = Settings(steps=4000, batch=1024)
"""As long as the shipped network was trained; the chapter's quick run is shorter."""
SNAPSHOTS = (25, 50, 100, 200, 400, 1000, 2000, 4000)


def whole_variance(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
    """The reverse step with the variance that x_after has given x_now: that given x0 too, and what x0 adds to it."""
    pull = after.alpha * step_variance(now, after) / now.sigma**2
    spread = posterior_variance(now, after) + pull**2 * TRUTH.posterior_variance(now)
    mean = now.alpha / after.alpha * (after.sigma / now.sigma) ** 2 * x + pull * prediction.x0
    return mean + spread.sqrt() * context.noise(x)


STEPS: dict[str, samplers.Step] = {
    "beta": samplers.ddpm("beta"),
    "posterior": samplers.ddpm("posterior"),
    "ddim": samplers.ddim(),
    "whole": whole_variance,
}


def distance(x: Tensor) -> float:
    """W2 of the samples' normal fit to the truth."""
    return sample_w2(x, TRUTH.mean, TRUTH.cov)


def draw(denoise: Denoiser, schedule, step: samplers.Step, steps: int, seed: int, count: int = COUNT) -> Tensor:
    """`count` samples (count, 1) after `steps` evaluations of the denoiser."""
    generator = torch.Generator().manual_seed(seed)
    start = samplers.initial_noise(schedule, torch.randn(count, 1, generator=generator))
    return samplers.sample(denoise, schedule, step, start, steps=steps, generator=generator)[0]


def excess_loss(denoise: Denoiser, schedule) -> float:
    """The loss above its floor, without the noise of a loss: the mean of |learned eps - exact eps|^2 on noisy data."""
    generator = torch.Generator().manual_seed(5)
    n = 200_000
    t = schedule.density((torch.arange(n, dtype=torch.float64) + 0.5) / n, schedule)
    x0 = TRUTH.sample(n, generator)
    level = schedule.at(t, like=x0)
    x = level.noisy(x0, torch.randn(x0.shape, generator=generator))
    return float((denoise(x, level).eps - TRUTH.denoise(x, level).eps).square().mean())


def trained(on_step: Callable[[str, int, int], None]) -> tuple[Trainer, list[dict[str, float]]]:
    """A network of the chapter's kind, and how good its average was on the way."""
    chapter = get("normal_1d")
    dataset = chapter.load("auto", None, 0)
    own = assemble(chapter, dataset, build(chapter, dataset, 0), {})
    accelerator = make_accelerator("cpu", "float32")
    trainer = Trainer(own.network, own.loss, own.schedule, Source(data=dataset.train), TRAINING, accelerator)
    found = []

    def look(done: int, loss: float) -> None:
        on_step("training", done, TRAINING.steps)
        if done in SNAPSHOTS:
            denoise = from_network(trainer.average, own.target)
            found.append(
                {
                    "steps": done,
                    "loss": math.fsum(trainer.losses[-max(1, done // 10) :]) / max(1, done // 10),
                    "excess": excess_loss(denoise, own.schedule),
                    "w2": distance(draw(denoise, own.schedule, whole_variance, 100, 1, 20_000)),
                }
            )

    trainer.fit(on_step=look)
    return trainer, found


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """Train once, then sample with every method at every budget."""
    trainer, snapshots = trained(on_step)
    schedule = trainer.schedule
    denoise = from_network(trainer.average.eval(), get("normal_1d").target)
    generator = torch.Generator().manual_seed(9)
    floor = {n: floor_of(distance, lambda n=n: TRUTH.sample(n, generator), 50) for n in (5000, COUNT)}
    rows = []
    for place, evaluations in enumerate(EVALUATIONS):
        row: dict = {"evaluations": evaluations}
        for number, (name, step) in enumerate(STEPS.items()):
            on_step("sampling", place * len(STEPS) + number, len(EVALUATIONS) * len(STEPS))
            drawn = [draw(denoise, schedule, step, evaluations, seed) for seed in SEEDS]
            stds = [float(moments(x).std) for x in drawn]
            row[name] = {
                "w2": math.fsum(distance(x) for x in drawn) / len(drawn),
                "std": math.fsum(stds) / len(stds),
            }
        rows.append(row)
    return {
        "data": "normal distribution N(1.5, 0.5²)",
        "count": COUNT,
        "seeds": len(SEEDS),
        "floor": floor[COUNT],
        "floor_of_5000": floor[5000],
        "samplers": rows,
        "losses": [round(loss, 4) for loss in trainer.losses],
        "loss_floor": _floor(),
        "snapshots": snapshots,
    }


def _floor() -> float:
    """The mean over the thousand levels of the variance of eps given x."""
    from diffusion_lab import schedules, targets

    schedule = schedules.linear()
    level = schedule.at(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    return float((TRUTH.posterior_variance(level) * targets.eps.error_scale(level)).mean())
