"""Chapter 2, two correlated numbers: targets by schedules, and samplers at equal network evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffusion_lab import betas, open_checkpoint, samplers, schedules
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.normal_2d import TRUTH
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.denoisers import Denoiser, from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.metrics import floor_of, sample_w2
from diffusion_lab.plots import LabFigure
from diffusion_lab.plots.figure import finish, new_figure, styled
from diffusion_lab.plots.plane import AXES, dots, frame, square
from diffusion_lab.plots.style import DATA, FAULT, SAMPLES
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target
from diffusion_lab.train import Settings, Source, Trainer

TRAINING, COUNT, SEEDS = 1500, 10_000, (0, 1, 2)
STEPS = 50
"""DDIM steps with which the trained networks are compared."""
TARGETS = ("eps", "x0", "v")
SCHEDULES: dict[str, Schedule] = {
    "linear": schedules.linear(),
    "cosine from -10": schedules.cosine(),
    "cosine to the end": schedules.from_alpha_bar(betas.cosine_alpha_bar(1000), "cosine to the end"),
}
EVALUATIONS = (5, 10, 20, 50, 100, 200)
SAMPLERS: dict[str, tuple[samplers.Step, int]] = {
    "eta 1": (samplers.ddim(1.0), 1),
    "eta 0.5": (samplers.ddim(0.5), 1),
    "eta 0": (samplers.ddim(), 1),
    "heun": (samplers.heun(), 2),
    "dpmpp_2m": (samplers.dpmpp_2m(), 1),
}
"""Steps, and how many evaluations each of them takes."""


def mean_of(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)


def distance(x: Tensor) -> float:
    """W2 of the samples' normal fit to the truth."""
    return sample_w2(x, TRUTH.mean, TRUTH.cov)


def draw(denoise: Denoiser, schedule: Schedule, step: samplers.Step, steps: int, seed: int) -> Tensor:
    """COUNT samples (COUNT, 2); the same seed starts from the same noise."""
    generator = torch.Generator().manual_seed(100 + seed)
    start = samplers.initial_noise(schedule, torch.randn(COUNT, 2, generator=generator))
    return samplers.sample(denoise, schedule, step, start, steps=steps, generator=generator)[0]


def excess(denoise: Denoiser, target: Target, schedule: Schedule) -> tuple[float, float]:
    """The exact floor of the loss, and what the network's loss is above it, without the noise of a loss."""
    generator = torch.Generator().manual_seed(5)
    n = 100_000
    t = schedule.density((torch.arange(n, dtype=torch.float64) + 0.5) / n, schedule)
    x0 = TRUTH.sample(n, generator)
    level = schedule.at(t, like=x0)
    x = level.noisy(x0, torch.randn(x0.shape, generator=generator))
    exact, learned = (target.of(*predict(x, level), level) for predict in (TRUTH.denoise, denoise))
    fine = schedule.at(t)
    floor = (TRUTH.posterior_variance(fine) * target.error_scale(fine)).mean()
    return float(floor), float((learned - exact).square().mean())


def first_guess(denoise: Denoiser, schedule: Schedule) -> float:
    """How far from the exact one the guess of x0 is where sampling starts: root mean square."""
    start = samplers.initial_noise(schedule, torch.randn(COUNT, 2, generator=torch.Generator().manual_seed(7)))
    level = schedule.at(torch.full((COUNT,), schedule.t_max), like=start)
    exact = TRUTH.denoise(start.double(), schedule.at(torch.tensor(schedule.t_max))).x0
    return float((denoise(start, level).x0 - exact).square().sum(dim=1).mean().sqrt())


def train(target: str, schedule: Schedule, seed: int) -> tuple[Denoiser, Target, float]:
    """A network trained for TRAINING steps, as a denoiser, what it says, and its mean loss over the last tenth."""
    chapter = get("normal_2d")
    dataset = chapter.load("auto", None, seed)
    own = assemble(chapter, dataset, build(chapter, dataset, seed), {"target": target, "schedule": schedule})
    settings = Settings(steps=TRAINING, batch=1024)
    source = Source(data=dataset.train)
    trainer = Trainer(own.network, own.loss, schedule, source, settings, make_accelerator("cpu", "float32"), seed)
    network, last = trainer.fit(), TRAINING // 10
    return from_network(network, own.target), own.target, math.fsum(trainer.losses[-last:]) / last


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """All pairs of target and schedule, then all samplers on the shipped network."""
    cells, kept = [], {}
    for place, (name, schedule) in enumerate(SCHEDULES.items()):
        for number, target in enumerate(TARGETS):
            found = []
            for seed in SEEDS:
                done = (place * len(TARGETS) + number) * len(SEEDS) + seed
                on_step("training", done, len(SCHEDULES) * len(TARGETS) * len(SEEDS))
                denoise, own, loss = train(target, schedule, seed)
                x = draw(denoise, schedule, samplers.ddim(), STEPS, seed)
                floor, above = excess(denoise, own, schedule)
                first = first_guess(denoise, schedule)
                found.append({"loss": loss, "w2": distance(x), "floor": floor, "excess": above, "first": first})
                kept.setdefault((name, target), x)
            cells.append(
                {
                    "schedule": name,
                    "target": target,
                    "log_snr": schedule.log_snr_range()[0],
                    **{key: mean_of(f[key] for f in found) for key in ("loss", "floor", "excess", "first")},
                    "w2": [f["w2"] for f in found],
                }
            )
        exact = [draw(TRUTH.denoise, schedule, samplers.ddim(), STEPS, seed) for seed in SEEDS]
        cells.append({"schedule": name, "target": "exact", "w2": [distance(x) for x in exact]})
    lab = open_checkpoint(name="normal_2d")
    rows = []
    for place, evaluations in enumerate(EVALUATIONS):
        on_step("sampling", place, len(EVALUATIONS))
        row: dict = {"evaluations": evaluations}
        for name, (step, cost) in SAMPLERS.items():
            drawn = [draw(lab.denoiser(), lab.pieces.schedule, step, evaluations // cost, s) for s in SEEDS]
            row[name] = mean_of(distance(x) for x in drawn)
        rows.append(row)
    generator = torch.Generator().manual_seed(9)
    return {
        "data": "2D normal distribution, correlation 0.9",
        "training_steps": TRAINING,
        "sample_steps": STEPS,
        "count": COUNT,
        "seeds": len(SEEDS),
        "floor": floor_of(distance, lambda: TRUTH.sample(COUNT, generator), 50),
        "targets": cells,
        "samplers": rows,
        "pictures": {"broken": broken(kept["cosine to the end", "eps"], kept["cosine to the end", "v"])},
    }


@styled
def broken(eps: Tensor, v: Tensor) -> LabFigure:
    """Samples of an eps and of a v network that were trained and run on the same schedule without a floor."""
    figure = new_figure(7, 4)
    panels = figure.subplots(1, 2)
    data = TRUTH.sample(1000, torch.Generator().manual_seed(3))
    told = []
    cases = ((eps, FAULT, "eps: WRONG", square(eps, data)), (v, SAMPLES, "v, seen closely", square(data)))
    for ax, (x, colour, name, limits) in zip(panels, cases, strict=True):
        dots(ax, x, colour, alpha=0.35)
        dots(ax, data, DATA, alpha=0.35)
        ax.set_title(f"{name}\nW2 {distance(x):.3g}")
        frame(ax, limits, AXES)
        told.append(
            f"{name}: mean ({x[:, 0].mean():.2f}, {x[:, 1].mean():.2f}), standard deviations "
            f"{x[:, 0].std():.2f} and {x[:, 1].std():.2f}, W2 {distance(x):.3g}"
        )
    return finish(
        figure,
        "The same schedule, two targets",
        "Two scatter plots of samples, each with blue points of the truth, an ellipse around (1, -0.5). "
        f"{'; '.join(told)}. The samples of v cover the truth. Those of eps lie so far from it that the truth is a "
        "small spot in their panel.",
    )
