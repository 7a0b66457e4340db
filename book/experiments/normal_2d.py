"""Chapter 2, two correlated numbers: targets by schedules, and samplers at equal network evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

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
from diffusion_lab.plots.plane import AXES, dots, frame
from diffusion_lab.plots.style import DATA, EXACT, FAULT, SAMPLES
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Source, Trainer

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


def distance(x: Tensor) -> float:
    """W2 of the samples' normal fit to the truth."""
    return sample_w2(x, TRUTH.mean, TRUTH.cov)


def draw(denoise: Denoiser, schedule: Schedule, step: samplers.Step, steps: int, seed: int) -> Tensor:
    """COUNT samples (COUNT, 2); the same seed starts from the same noise."""
    generator = torch.Generator().manual_seed(100 + seed)
    start = samplers.initial_noise(schedule, torch.randn(COUNT, 2, generator=generator))
    return samplers.sample(denoise, schedule, step, start, steps=steps, generator=generator)[0]


def train(target: str, schedule: Schedule, seed: int) -> tuple[Denoiser, float]:
    """A network trained for TRAINING steps, as a denoiser, and its mean loss over the last tenth."""
    chapter = get("normal_2d")
    dataset = chapter.load("auto", None, seed)
    own = assemble(chapter, dataset, build(chapter, dataset, seed), {"target": target, "schedule": schedule})
    settings = replace(chapter.budgets["quick"].training, steps=TRAINING)
    source = Source(data=dataset.train)
    trainer = Trainer(own.network, own.loss, schedule, source, settings, make_accelerator("cpu", "float32"), seed)
    network, last = trainer.fit(), TRAINING // 10
    return from_network(network, own.target), math.fsum(trainer.losses[-last:]) / last


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """All pairs of target and schedule, then all samplers on the shipped network."""
    cells, kept = [], {}
    for place, (name, schedule) in enumerate(SCHEDULES.items()):
        for number, target in enumerate(TARGETS):
            found = []
            for seed in SEEDS:
                done = (place * len(TARGETS) + number) * len(SEEDS) + seed
                on_step("training", done, len(SCHEDULES) * len(TARGETS) * len(SEEDS))
                denoise, loss = train(target, schedule, seed)
                x = draw(denoise, schedule, samplers.ddim(), STEPS, seed)
                found.append({"loss": loss, "w2": distance(x)})
                kept.setdefault((name, target), x)
            cells.append(
                {
                    "schedule": name,
                    "target": target,
                    "log_snr": schedule.log_snr_range()[0],
                    "loss": math.fsum(f["loss"] for f in found) / len(found),
                    "w2": [f["w2"] for f in found],
                }
            )
    lab = open_checkpoint(name="normal_2d")
    rows = []
    for place, evaluations in enumerate(EVALUATIONS):
        on_step("sampling", place, len(EVALUATIONS))
        row: dict = {"evaluations": evaluations}
        for name, (step, cost) in SAMPLERS.items():
            drawn = [draw(lab.denoiser(), lab.pieces.schedule, step, evaluations // cost, s) for s in SEEDS]
            row[name] = math.fsum(distance(x) for x in drawn) / len(drawn)
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
    limits = ((-4, 6), (-5.5, 4.5))
    told = []
    for ax, x, colour, name in zip(panels, (eps, v), (FAULT, SAMPLES), ("eps: WRONG", "v"), strict=True):
        dots(ax, TRUTH.sample(1000, torch.Generator().manual_seed(3)), DATA, alpha=0.25)
        dots(ax, x, colour)
        low, high = torch.tensor(limits).T
        outside = int(((x < low) | (x > high)).any(dim=1).sum())
        ax.set_title(f"{name}, W2 {distance(x):.3g}")
        frame(ax, limits, AXES, left=ax is panels[0])
        told.append(
            f"{name}: mean ({x[:, 0].mean():.2f}, {x[:, 1].mean():.2f}), W2 {distance(x):.3g}, {outside} outside"
        )
    panels[0].plot([], [], "o", color=EXACT)
    return finish(
        figure,
        "The same schedule, two targets",
        f"Two scatter plots of {len(eps)} samples over points of the truth, a thin tilted ellipse around (1, -0.5). "
        f"{'; '.join(told)} the panel.",
    )
